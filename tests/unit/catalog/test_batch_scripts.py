"""Scripts written for sbatch become jobs, or are refused by their lines."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.parts.batch_scripts import CASES, Case

from tidegrid import apps
from tidegrid.catalog import batch_values as values
from tidegrid.catalog.batch_job import Known, Mapped, Place, translate
from tidegrid.catalog.batch_words import read, split
from tidegrid.domain.errors import InvalidInput

KNOWN = Known(
    places={"north/cpu": Place(128, 257_024), "east/cpu": Place(64, 191_488), "north/gpu": Place(64, 515_072, 4)},
    projects=frozenset({"default", "cfd"}),
    now_s=2_000_000_000 - 86_400 * 100,
)


def made(case: Case) -> Mapped:
    ignore = [o.removeprefix("--ignore-") for o in case.options if o.startswith("--ignore-")]
    options = [o for o in case.options if not o.startswith("--ignore-")]
    return translate(
        case.text, KNOWN, name="" if "wrap" in case.name else "run.sh", options=options, environment=case.environment,
        variables={"HOME_DIR": "/home/me"}, ignore=ignore,
    )  # fmt: skip


def at(body: Any, path: str) -> Any:
    for step in path.split("."):
        body = body.get(step) if isinstance(body, dict) else None
    return body


@pytest.mark.parametrize("case", [c for c in CASES if not c.refused], ids=lambda c: c.name)
def test_a_script_is_mapped(case: Case) -> None:
    found = made(case)
    assert {k: at(found.body, k) for k in case.wanted} == case.wanted
    for line, words in case.remarks:
        assert any(r.line == line and words in r.text for r in found.remarks), (line, words, found.remarks)
    application = next(a for a in apps.documents() if a.id == "sbatch")
    application.render(application.validate(found.body["params"]))


@pytest.mark.parametrize("case", [c for c in CASES if c.refused], ids=lambda c: c.name)
def test_a_script_is_refused_by_its_lines(case: Case) -> None:
    with pytest.raises(InvalidInput) as e:
        made(case)
    problems = e.value.details.get("problems") or [{"line": e.value.details.get("line", 0), "path": "", "message": e.value.message}]
    for line, words in case.refused:
        assert any(p["line"] == line and words in f"{p['path']} {p['message']}" for p in problems), (line, words, problems)
    assert len(problems) == len(case.refused), problems


def test_there_are_enough_scripts() -> None:
    assert len(CASES) >= 40 and len({c.name for c in CASES}) == len(CASES)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5", 300), ("5:30", 330), ("1:00:00", 3600), ("2-0", 172_800), ("1-2:30", 95_400), ("1-02:30:15", 95_415), ("0:45", 45),
     ("90", 5400), ("0", -1), ("00:00:00", -1), ("infinite", -1), ("UNLIMITED", -1), ("-1", -1)],
)  # fmt: skip
def test_times_in_every_form(text: str, seconds: int) -> None:
    assert values.minutes(text) == seconds


@pytest.mark.parametrize("text", ["", "a", "1:2:3:4", "1-", "-5", "1-1:1:1:1", "1.5", "１０"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ValueError, match="no time"):
        values.minutes(text)


@pytest.mark.parametrize(
    ("text", "utc"),
    [("now+1hour", 1_700_003_600), ("now+30", 1_700_000_030), ("16:00", 1_700_035_200), ("2023-11-15", 1_699_977_600),
     ("2023-11-16T08:00:30", 1_700_092_830), ("tomorrow", 1_700_064_000), ("noon", 1_700_020_800), ("4:00pm", 1_700_035_200),
     ("111623", 1_700_064_000), ("01/02", 1_704_124_800)],
)  # fmt: skip
def test_beginnings(text: str, utc: int) -> None:
    """It is 2023-11-15 06:13:20 in China."""
    assert values.moment(text, 1_700_000_000, 8 * 3600) == utc


def test_a_deadline_and_a_beginning_are_told_as_unix_times() -> None:
    found = translate("#!/bin/sh\n#SBATCH --deadline=2023-11-16T08:00:30 --begin=now+1hour -t 5\ntrue\n", KNOWN)
    local = replace(KNOWN, now_s=1_700_000_000, offset_s=8 * 3600)
    assert translate("#!/bin/sh\n#SBATCH --deadline=2023-11-16T08:00:30 -t 5\ntrue\n", local).deadline_s == 1_700_092_830
    assert found.deadline_s and not found.body.get("deadline")


def test_words_are_split_as_sbatch_does() -> None:
    assert split(''' -J "a b"'c' --x=1\\ 2 --q="#no" #yes "''', 1) == ("-J", "a bc", "--x=1 2", "--q=#no")


def test_a_file_name_keeps_what_only_the_job_knows() -> None:
    assert values.file_name("%x-%%-%j_%4a.%u", {"x": "a/b", "u": "me"}) == ("a_b-%-%j_%4a.me", False)
    assert values.file_name("../up/%j.o", {}) == ("%j.o", True)


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=200), st.lists(st.text(max_size=20), max_size=4))
def test_any_text_is_a_job_or_a_clear_refusal(text: str, options: list[str]) -> None:
    for script in (text, "#!/bin/sh\n#SBATCH " + text):
        try:
            translate(script, KNOWN, options=options)
        except InvalidInput as e:
            assert e.exit_status == 2 and e.message


def test_a_script_without_directives_is_read_to_its_first_command() -> None:
    assert read("#!/bin/sh\n\n  # note\necho\n#SBATCH -N 2\n").late == (5,)
