"""Prices are exact: against Decimal, rounded once, and never guessed."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal, localcontext

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegrid.domain.errors import InvalidInput, NotFound
from tidegrid.rating.book import Line, PriceBook, Supply
from tidegrid.rating.rate import rate, rate_millicores
from tidegrid.rating.rates import Rates, format_price, parse_rates

prices = st.integers(0, 10**11)
rates_ = st.builds(Rates, prices, prices, prices)
elapsed = st.integers(0, 400 * 86_400_000)
counts = st.integers(0, 1_000_000)


def exact(elapsed_ms, cores, gpus, memory_mib, r):
    """Micro-yuan as a Decimal, unrounded to 80 digits."""
    per_hour = (
        cores * Decimal(r.core_hour) + gpus * Decimal(r.gpu_hour) + Decimal(memory_mib) / 1024 * r.memory_gib_hour
    )
    return Decimal(elapsed_ms) * per_hour / Decimal(3_600_000) / 100


@settings(max_examples=500)
@given(elapsed, counts, counts, counts, rates_)
def test_a_price_is_the_decimal_price_rounded_half_up_once(ms, cores, gpus, mib, r):
    with localcontext() as context:
        context.prec = 80
        want = exact(ms, cores, gpus, mib, r).quantize(Decimal(1), rounding=ROUND_HALF_UP)
    assert rate(ms, cores, gpus, mib, r) == int(want)


def test_half_a_micro_yuan_is_rounded_up():
    assert rate(1_800_000, 1, 0, 0, Rates(100)) == 1  # half an hour at 1 micro-yuan an hour
    assert rate(1_799_999, 1, 0, 0, Rates(100)) == 0


def test_resources_are_summed_before_rounding():
    assert rate(1_440_000, 1, 1, 0, Rates(100, 100)) == 1  # twice 0.4: rounding each would give 0


def test_a_core_hour_at_six_fen():
    assert rate(3_600_000, 1, 0, 0, parse_rates({"core_hour": "0.06"})) == 60_000
    assert rate(3_600_000, 0, 0, 512, parse_rates({"core_hour": 0, "memory_gib_hour": "0.01"})) == 5_000
    assert rate_millicores(3_600_000, 500, 0, 0, parse_rates({"core_hour": "0.06"})) == 30_000


@given(elapsed, elapsed, counts, rates_)
def test_cutting_a_run_changes_its_price_by_at_most_one_rounding(a, b, cores, r):
    assert abs(rate(a, cores, 0, 0, r) + rate(b, cores, 0, 0, r) - rate(a + b, cores, 0, 0, r)) <= 1


@given(elapsed, elapsed, counts, counts, rates_)
def test_longer_never_costs_less(a, b, cores, mib, r):
    low, high = sorted((a, b))
    assert rate(low, cores, 1, mib, r) <= rate(high, cores, 1, mib, r)


def test_negative_use_is_refused():
    with pytest.raises(InvalidInput) as error:
        rate(-1, 1, 0, 0, Rates(1))
    assert error.value.code == "usage.negative"


def test_rates_name_what_is_wrong():
    with pytest.raises(InvalidInput) as error:
        parse_rates({"gpu_hour": "1"}, "east/cpu.sell")
    assert error.value.code == "price.missing" and "east/cpu.sell" in error.value.message
    for bad in ({"core_hour": "-1"}, {"core_hour": "1", "coffee": "2"}):
        with pytest.raises(InvalidInput) as error:
            parse_rates(bad)
        assert error.value.code == "price.malformed"
    with pytest.raises(InvalidInput) as error:
        parse_rates({"core_hour": "0.000000001"})
    assert error.value.code == "money.malformed"


@given(prices)
def test_a_price_reads_back_as_written(price):
    assert parse_rates({"core_hour": format_price(price)}).core_hour == price


def book(**changes):
    lines = {"east/cpu": Line(Rates(6_000_000), Rates(1_000_000)), "west/gpu": Line(Rates(1, 2, 3), Rates(4, 5, 6), Supply.PURCHASED)}  # fmt: skip
    return PriceBook({**lines, **changes})


def test_a_missing_price_is_an_error_and_never_nothing():
    with pytest.raises(NotFound) as error:
        book().sell("east/gpu")
    assert error.value.code == "price.missing" and error.value.details["partition"] == "east/gpu"


def test_equal_books_have_equal_hashes_whatever_their_order():
    one = book()
    other = PriceBook(dict(reversed(list(one.lines.items()))))
    assert one.hash == other.hash and one.to_json() == other.to_json()
    assert book(**{"east/cpu": Line(Rates(6_000_001), Rates(1_000_000))}).hash != one.hash
    assert PriceBook(one.lines, "EUR").hash != one.hash


def test_a_book_survives_its_text():
    again = PriceBook.from_json(book().to_json())
    assert again == book() and again.supply("west/gpu") is Supply.PURCHASED and again.cost("west/gpu") == Rates(4, 5, 6)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema":2,"currency":"CNY","lines":{}}', '{"schema":1,"currency":"CNY","lines":{"a/b":{}}}'])  # fmt: skip
def test_what_is_no_book_is_refused(text):
    with pytest.raises(InvalidInput) as error:
        PriceBook.from_json(text)
    assert error.value.code == "price.malformed"


def test_a_book_cannot_be_changed():
    with pytest.raises(TypeError):
        book().lines["x/y"] = None  # type: ignore[index]
