"""The Standard Workload Format: what is read, and what is refused with its line."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegrid.domain.errors import InvalidInput
from tidegrid.simulation.traces import convention_k, read_swf, tokens, write_swf
from tidegrid.simulation.traces.trace import COLUMNS, build

HEAD = b"""; Version: 2.2
; Computer: A small one
;MaxProcs:  64 (batch partition; 128 total)
; MaxNodes: -1
; UnixStartTime: 1000
; Queue:  1  fast
; Note: cleaned
;       in two lines
"""
GOOD = b"1 10 5 100 4 98.50 -1 4 200 -1 1 3 2 1 1 -1 -1 -1\n"


def row(**cells: object) -> bytes:
    names = "job submit wait run allocated cpu used_memory requested estimate memory status user group application queue partition preceding think"
    values = dict(zip(names.split(), b"1 10 5 100 4 98.50 -1 4 200 -1 1 3 2 1 1 -1 -1 -1".decode().split(), strict=True))
    values.update({name: str(value) for name, value in cells.items()})
    return " ".join(values.values()).encode() + b"\n"


def refused(data: bytes, **how: object) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        read_swf(data, **how)
    return caught.value


def test_header_and_columns_are_read():
    trace = read_swf(HEAD + GOOD)
    assert (trace.header.processors, trace.header.nodes, trace.header.start, trace.header.computer) == (64, None, 1000, "A small one")
    assert trace.labels == {"queue": {1: "fast"}}
    assert "in two lines" in trace.header.notes
    assert [int(x[0]) for x in (trace.submit, trace.wait, trace.run, trace.allocated, trace.requested, trace.estimate, trace.user)] \
        == [10, 5, 100, 4, 4, 200, 3]  # fmt: skip
    assert trace.cpu[0] == 98.5


@pytest.mark.parametrize("form", [
    lambda d: gzip.compress(d), lambda d: gzip.compress(d[:300]) + gzip.compress(d[300:]), lambda d: d.replace(b"\n", b"\r\n"),
    lambda d: d.rstrip(b"\n"), lambda d: b"\xef\xbb\xbf" + d, lambda d: d.replace(b"98.50", b"98.50\t"), lambda d: d + b"\n\n",
    lambda d: d.replace(b"; Note: cleaned", b"; Note: cleaned by \xe5ke"), lambda d: d + b"; a comment at the end\n",
])  # fmt: skip
def test_the_same_jobs_however_the_file_is_packed(form):
    rows = b"".join(row(job=i, submit=10 * i, run=i) for i in range(1, 40))
    trace = read_swf(form(HEAD + rows))
    assert trace.run.tolist() == list(range(1, 40)) and trace.header.processors == 64 and not trace.repairs


def test_a_comment_between_jobs_does_not_shift_line_numbers():
    error = refused(HEAD + GOOD + b"; about the next\n" + GOOD + row(run="x"))
    assert error.code == "trace.number" and error.details["line"] == 12 and "column 4 (run) is 'x'" in error.message


@pytest.mark.parametrize(("bad", "code", "says"), [
    (row(submit=-7), "trace.negative", "submit is -7"),
    (row(submit=-1), "trace.negative", "submit is -1"),
    (row(run=-20), "trace.negative", "run is -20"),
    (row(requested=65), "trace.too_wide", "65 processors on a machine of 64"),
    (row(run="NaN"), "trace.number", "'NaN'"),
    (row(run="1e5"), "trace.number", "'1e5'"),
    (row(run="--5"), "trace.number", "'--5'"),
    (row(run="-"), "trace.number", "'-'"),
    (row(cpu="1.2.3"), "trace.number", "'1.2.3'"),
    (row(cpu="1.-2"), "trace.number", "'1.-2'"),
    (row(submit="9999999999999999999"), "trace.number", "9999999999999999999"),
    (GOOD.rstrip() + b" 7\n", "trace.columns", "19 columns"),
    (b"1 10 5\n", "trace.columns", "3 columns"),
])  # fmt: skip
def test_a_bad_line_is_refused_with_its_number_and_repaired_only_when_asked(bad, code, says):
    data = HEAD + GOOD + bad + GOOD
    error = refused(data)
    assert error.code == code and error.details["line"] == 10 and says in error.message and error.message.startswith("line 10: ")
    trace = read_swf(data, repair=True)
    assert trace.repairs == {code.removeprefix("trace."): 1}
    assert trace.submit[[0, -1]].tolist() == [10, 10] and trace.run[[0, -1]].tolist() == [100, 100]


def test_a_time_that_cannot_be_is_made_unknown_and_a_line_without_a_submit_time_is_dropped():
    trace = read_swf(HEAD + GOOD + row(run=-20) + row(wait=-9, submit=3) + row(submit=-5), repair=True)
    assert trace.run.tolist() == [100, -1, 100] and trace.wait.tolist() == [5, 5, -1] and trace.repairs == {"negative": 3}


def test_a_log_cut_short_is_told_from_one_with_a_bad_line():
    error = refused(HEAD + GOOD + GOOD[:20])
    assert error.code == "trace.truncated" and error.details["line"] == 10
    assert read_swf(HEAD + GOOD + GOOD[:20], repair=True).repairs == {"truncated": 1}


def test_a_long_log_is_read_in_pieces_and_still_names_the_line():
    rows = [row(job=i, submit=i, run=i % 1000, cpu=f"{i}.25") for i in range(1, 30_001)]
    trace = read_swf(HEAD + b"".join(rows))
    assert trace.submit.tolist() == list(range(1, 30_001)) and trace.cpu[-1] == 30_000.25
    for at, bad, code in ((20_000, row(run="?"), "number"), (25_000, row(run=-5), "negative"), (29_999, b"1 2\n", "columns")):
        error = refused(HEAD + b"".join([*rows[:at], b"\n", bad, *rows[at + 1 :]]))
        assert error.code == f"trace.{code}" and error.details["line"] == 8 + at + 2


def test_gzip_cut_short_is_refused_and_what_there_is_can_be_kept():
    rows = b"".join(row(job=i, submit=i * 7919 % 10007, run=i * 31 % 997) for i in range(1, 3000))
    whole = gzip.compress(HEAD + rows)
    error = refused(whole[: len(whole) // 2])
    assert error.code == "trace.truncated" and error.details["line"] > 100
    kept = read_swf(whole[: len(whole) // 2], repair=True)
    assert 100 < len(kept) < 2999 and kept.repairs["truncated"] >= 1
    assert kept.run.tolist() == [i * 31 % 997 for i in range(1, len(kept) + 1)]


@pytest.mark.parametrize(("data", "code"), [
    (b"", "trace.empty"), (b"  \n\n", "trace.empty"), (HEAD, "trace.empty"), (b"\x7fELF\0\0\1" * 50, "trace.binary"),
    (HEAD + GOOD + b"\0\0\0", "trace.binary"), (b"\x1f\x8b\x08" + b"junk" * 20, "trace.damaged"), (b"hello world\n", "trace.columns"),
    (gzip.compress(HEAD + GOOD * 50)[:-8] + b"\0" * 8, "trace.damaged"),
])  # fmt: skip
def test_what_is_no_log_is_refused(data, code):
    assert refused(data).code == code


def test_the_machine_given_stands_for_a_header_that_says_none():
    data = row(requested=9)
    assert len(read_swf(data)) == 1
    assert refused(data, processors=8).code == "trace.too_wide"


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(-(10**18) + 1, 10**18 - 1), min_size=3, max_size=3), min_size=1, max_size=30))
def test_words_are_read_as_python_reads_them(numbers):
    table = tokens.split("\n".join(" ".join(map(str, line)) for line in numbers).encode())
    value, bad = tokens.integers(table, table.begin, table.end)
    assert not bad.any() and value.tolist() == [n for line in numbers for n in line]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text("0123456789+-.eEnNaA_x", min_size=1, max_size=22), min_size=1, max_size=20))
def test_no_word_is_taken_for_a_number_that_is_none(words):
    table = tokens.split(" ".join(words).encode())
    value, bad = tokens.integers(table, table.begin, table.end)
    for word, v, b in zip(words, value.tolist(), bad.tolist(), strict=True):
        digits = word[1:] if word[0] in "+-" else word
        assert b == (not (digits.isdigit() and len(digits) <= 18))
        assert b or v == int(word)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text("0123456789+-.x", min_size=1, max_size=2), min_size=1, max_size=20))
def test_short_words_are_read_by_the_same_rule(words):
    table = tokens.split(" ".join(words).encode())
    value, bad = tokens.integers(table, table.begin, table.end)
    for word, v, b in zip(words, value.tolist(), bad.tolist(), strict=True):
        assert b == (not word.removeprefix("-" if word[0] == "-" else "+").isdigit()) and (b or v == int(word))


@given(st.lists(st.decimals(-1_000_000, 10_000_000, places=3), min_size=1, max_size=20))
def test_decimals_are_read_as_python_reads_them(numbers):
    table = tokens.split(" ".join(f"{n:f}" for n in numbers).encode())
    value, bad = tokens.decimals(table, table.begin, table.end)
    assert not bad.any()
    np.testing.assert_allclose(value, [float(n) for n in numbers], rtol=1e-12)


def test_convention_k_takes_requested_else_allocated_and_the_run_time_where_there_is_no_estimate():
    trace = read_swf(
        row(submit=50, requested=-1, allocated=2, estimate=-1, run=9)
        + row(submit=20, requested=8, allocated=4, run=300, estimate=200)
        + row(submit=20, requested=0, allocated=0)
        + row(submit=30, requested=65)
        + row(submit=40, run=-1)
        + row(submit=50, requested=64, run=1, job=9)
    )
    k = convention_k(trace, 64)
    assert k.submit.tolist() == [0, 30, 30] and k.processors.tolist() == [8, 2, 64]
    assert k.run.tolist() == [200, 9, 1] and k.estimate.tolist() == [200, 9, 200] and k.header.processors == 64
    assert convention_k(trace, 64, cut=False).run.tolist() == [300, 9, 1]


TRACES = os.environ.get("TIDEGRID_TRACES")


@pytest.mark.skipif(not TRACES, reason="TIDEGRID_TRACES names no directory of logs")
@pytest.mark.parametrize(("name", "jobs", "usable", "processors"), [
    ("KTH-SP2-1996-2.1-cln", 28476, 28475, 100), ("SDSC-SP2-1998-4.2-cln", 59715, 54044, 128), ("CTC-SP2-1996-3.1-cln", 77222, 77222, 338),
    ("NASA-iPSC-1993-3.1-cln", 18239, 18239, 128), ("OSC-Clust-2000-3.1-cln", 36097, 36097, 178), ("lublin_256", 10000, 10000, 256),
])  # fmt: skip
def test_archive_logs_have_the_jobs_they_say(name, jobs, usable, processors):
    trace = read_swf((Path(TRACES) / "swf" / f"{name}.swf.gz").read_bytes())
    k = convention_k(trace)
    assert (len(trace), len(k), k.header.processors) == (jobs, usable, processors)


def same(a, b) -> bool:
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in COLUMNS)


def test_what_is_written_reads_back_the_same():
    trace = read_swf(HEAD + row(cpu="0.30000000000000004") + row(submit=4) + row(run=-1, queue=1))
    again = read_swf(write_swf(trace))
    assert same(trace, again) and again.labels == trace.labels and again.header.start == 1000 and again.header.processors == 64
    assert again.header.computer == "A small one"
    assert write_swf(again) == write_swf(read_swf(write_swf(again)))


def test_gpus_travel_in_further_columns_that_the_header_names():
    trace = build([1, 2], [10, 20], requested=[4, 8], gpus=[1, 0], gpu_milli=[460, 0], gpu_type=[0, -1], labels={"gpu_type": {0: "V100 32GB"}})
    text = write_swf(trace)
    assert b"; Columns: gpus gpu_milli gpu_type\n" in text
    again = read_swf(text)
    assert same(trace, again) and again.labels == trace.labels


@pytest.mark.skipif(not TRACES, reason="TIDEGRID_TRACES names no directory of logs")
def test_an_archive_log_reads_back_the_same_after_writing():
    trace = read_swf((Path(TRACES) / "swf" / "KTH-SP2-1996-2.1-cln.swf.gz").read_bytes())
    again = read_swf(write_swf(trace))
    assert same(trace, again) and again.header.start == trace.header.start


@pytest.mark.skipif(not TRACES, reason="TIDEGRID_TRACES names no directory of logs")
def test_the_log_with_end_times_that_were_never_written_is_refused_and_repaired():
    data = (Path(TRACES) / "swf" / "wagap-2013.swf.gz").read_bytes()
    error = refused(data)
    assert error.code == "trace.negative" and error.details["line"] == 4186
    trace = read_swf(data, repair=True)
    assert len(trace) == 17900 and trace.repairs["negative"] == len(error.details["problems"]) > 0
    assert "zewura" in trace.labels["partition"].values() and "q_1d" in trace.labels["queue"].values()
