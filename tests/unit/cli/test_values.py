"""What people type."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegrid.cli import show, values
from tidegrid.domain.errors import InvalidInput


@pytest.mark.parametrize(
    ("text", "mib"), [("512", 512), ("512M", 512), ("4G", 4096), ("4GiB", 4096), ("1.5g", 1536), ("1T", 1 << 20), ("1K", 1)]
)
def test_memory(text: str, mib: int) -> None:
    assert values.memory(text) == mib


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("5m", 300), ("1h30m", 5400), ("2d", 172_800), ("01:30:00", 5400), ("1-00:00:01", 86_401), ("05:00", 300)],
)
def test_durations(text: str, seconds: int) -> None:
    assert values.duration(text) == seconds


@pytest.mark.parametrize("text", ["", "x", "-1", "1x", "1:2:3:4", "m", "1h-", "٣m"])
def test_what_is_no_duration_is_told(text: str) -> None:
    if text == "٣m":  # digits of other scripts are digits
        assert values.duration(text) == 180
        return
    with pytest.raises(InvalidInput):
        values.duration(text)


@given(st.text())
def test_any_text_is_a_value_or_a_clear_error(text: str) -> None:
    for parse in (values.memory, values.duration, values.array):
        try:
            parse(text)
        except InvalidInput as error:
            assert error.exit_status == 2


def test_parameters_by_the_applications_schema() -> None:
    schema = {"properties": {"t": {"type": "string"}, "n": {"type": "integer"}, "l": {"type": "array"}}}
    typed = values.params(["t=12", "n=12", "l=[1, 2]", "free=true", "word=abc", "at=@@x", "nan=NaN"], schema)
    assert typed == {"t": "12", "n": 12, "l": [1, 2], "free": True, "word": "abc", "at": "@x", "nan": "NaN"}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "-"), (0, "0s"), (1.25, "1.2s"), (59.6, "1m00s"), (90, "1m30s"), (3600, "1h00m"), (90_000, "1d01h")],
)
def test_spans_are_short(seconds: float | None, text: str) -> None:
    assert show.seconds(seconds) == text


def test_every_problem_is_shown_with_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    problems = [{"line": 3, "path": "clusters.a", "message": "is no name"}, {"line": 9, "path": "", "message": "is twice"}]
    show.console.cache_clear()
    show.error("network.invalid", "2 problems", "mend them", {"problems": problems})
    show.console.cache_clear()
    assert capsys.readouterr().err.splitlines() == [
        "error: 2 problems  [network.invalid]", "  - line 3: clusters.a: is no name", "  - line 9: is twice", "hint: mend them",
    ]  # fmt: skip


def test_points_to_come_are_moments_or_spans_from_now() -> None:
    assert values.ahead("") is None and values.yuan(" ") is None
    assert values.ahead("2026-12-01T08:00Z") == datetime(2026, 12, 1, 8, tzinfo=UTC).astimezone().isoformat()
    in_six_hours = datetime.fromisoformat(str(values.ahead("6h")))
    assert timedelta(0) <= in_six_hours - datetime.now(UTC) - timedelta(hours=5, minutes=59) <= timedelta(minutes=1)
    with pytest.raises(InvalidInput, match="6h for in six hours"):
        values.ahead("soon")
    assert values.yuan("12.5") == "12.50"
    for far in ("9999999d", "9999-12-31T23:59:59-20:00"):
        with pytest.raises(InvalidInput):
            values.ahead(far)
    with pytest.raises(InvalidInput):
        values.yuan("1e999999")
