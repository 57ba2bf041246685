"""Where an application may go for its installations, licences and links; and whose capacity carries it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.unit.scheduling.network import FEN, NODE, row

from tidegrid.rating.book import Supply
from tidegrid.rating.rates import Rates
from tidegrid.scheduling import software
from tidegrid.scheduling.objective import PRESETS
from tidegrid.scheduling.placement import Refusal, Request, decide
from tidegrid.scheduling.snapshot import PartitionRow, Snapshot
from tidegrid.scheduling.software import AppRow, Pool, Standing
from tidegrid.scheduling.weighing import UNVERIFIED_FACTOR

TWO = (row("east/cpu"), row("west/cpu"))


def net(*rows: PartitionRow, apps: dict[str, AppRow] | None = None, installed: Any = None, **more: Any) -> Snapshot:
    return Snapshot.build(0, rows, installed or {}, lambda names: software.table(names, apps, **more))


def ask(app: str = "lmp", cores: int = 4, wall: int = 600, id: int = 1, **changes: Any) -> Request:
    return Request(**{"id": id, "app": app, "need": (cores * 1000, 1024, 0), "wall_s": wall, **changes})


def place(snapshot: Snapshot, *requests: Request) -> list[str | None]:
    return [None if d.best is None else d.best.name for d in decide(requests or (ask(),), snapshot)]


def app(tested: bool = True, strict: bool = False, **standing: Standing) -> dict[str, AppRow]:
    return {"lmp": AppRow({f"{c}/cpu": s for c, s in standing.items()}, tested=tested, strict=strict)}


def test_a_verified_place_is_preferred_and_a_much_better_one_still_wins() -> None:
    verified = app(west=Standing.VERIFIED)
    assert place(net(*TWO)) == ["east/cpu"]
    assert place(net(*TWO, apps=verified)) == ["west/cpu"]
    dear = row("west/cpu", sell=Rates(60 * FEN))
    assert place(net(TWO[0], dear, apps=verified)) == ["east/cpu"]


def test_where_it_is_required_only_verified_places_are_taken_and_the_others_say_why() -> None:
    snapshot = net(*TWO, apps=app(strict=True, west=Standing.TUNED))
    decision = decide([ask()], snapshot)[0]
    assert decision.best is not None and decision.best.name == "west/cpu"
    assert decision.refusals == {Refusal.NOT_VERIFIED: 1}
    assert "1 have the application, and its acceptance tests have not passed there" in "\n".join(decision.text)
    assert "  the application is verified and tuned there" in decision.text
    assert place(net(*TWO, apps=app(strict=True))) == [None]


@pytest.mark.parametrize("strict", [False, True])
def test_a_place_that_failed_its_test_or_was_withdrawn_gets_trials_only(strict: bool) -> None:
    for standing, why in ((Standing.FAILED, Refusal.NOT_VERIFIED), (Standing.WITHDRAWN, Refusal.NOT_INSTALLED)):
        snapshot = net(row("east/cpu"), apps=app(strict=strict, east=standing))
        decision = decide([ask()], snapshot)[0]
        assert decision.best is None and decision.refusals == {why: 1}
        assert place(snapshot, ask(trial=True)) == ["east/cpu"]


def test_a_trial_goes_nowhere_where_the_application_is_not() -> None:
    snapshot = net(*TWO, apps=app(), installed={"lmp": ["west"]})
    assert place(snapshot, ask(trial=True)) == ["west/cpu"]


def test_an_application_without_tests_is_not_held_against_any_place() -> None:
    snapshot = net(*TWO, apps=app(tested=False, west=Standing.VERIFIED))
    best = decide([ask()], snapshot)[0].best
    assert best is not None and best.name == "east/cpu" and best.terms["factor"] == 1.0


def test_the_terms_of_a_score_add_up_to_it() -> None:
    rows = (row("east/cpu", free=(0, 0, 0), running=[(900, NODE)], speed=1.3), row("west/cpu", staging_s=7.0))
    snapshot = net(*rows, apps=app(west=Standing.VERIFIED))
    for objective in PRESETS:
        for c in decide([ask(objective=objective, input_bytes=10**9)], snapshot)[0].candidates:
            t = dict(c.terms)
            assert t.pop("factor") == (UNVERIFIED_FACTOR if c.cluster == "east" else 1.0)
            assert sum(t.values()) * c.terms["factor"] == pytest.approx(c.score, rel=1e-5, abs=2)


def pool(name: str, total: int, used: int = 0, at: tuple[str, ...] = ("east/cpu", "west/cpu"), feature: str = "mech") -> Pool:
    return Pool(name, feature, total, used, at)


WANTS = {"licences": (("mech", 2),)}


def test_licences_are_used_up_within_a_batch_and_what_is_left_without_waits() -> None:
    snapshot = net(*TWO, pools=[pool("mech", 5)])
    decisions = decide([ask(id=i, **WANTS) for i in range(3)], snapshot)
    assert [d.licences for d in decisions] == [(("mech", 2),), (("mech", 2),), ()]
    assert decisions[2].refusals == {Refusal.LICENCE: 2}
    assert decisions[2].why_not() == "none of 2 partitions can take it: 2 have no licence free for it now"
    assert "  takes of licences: 2 of mech" in decisions[0].text
    assert place(snapshot, ask()) == ["east/cpu"]  # who needs none is not held up


def test_more_licences_than_there_are_is_another_answer_than_none_free() -> None:
    assert decide([ask(**WANTS)], net(*TWO, pools=[pool("mech", 5, used=4)]))[0].refusals == {Refusal.LICENCE: 2}
    assert decide([ask(**WANTS)], net(*TWO, pools=[pool("mech", 1)]))[0].refusals == {Refusal.NO_LICENCE: 2}
    assert decide([ask(**WANTS)], net(*TWO))[0].refusals == {Refusal.NO_LICENCE: 2}


def test_a_sites_own_licences_are_taken_before_those_of_the_network() -> None:
    snapshot = net(row("east/cpu", cost=Rates(0)), row("west/cpu"), pools=[pool("all", 9), pool("east-only", 2, at=("east/cpu",))])
    taken = [d.licences for d in decide([ask(id=i, cores=2, **WANTS) for i in range(2)], snapshot)]
    assert taken == [(("east-only", 2),), (("all", 2),)]
    only_east = net(*TWO, pools=[pool("east-only", 2, at=("east/cpu",))])
    assert decide([ask(**WANTS)], only_east)[0].refusals == {Refusal.NO_LICENCE: 1}


def test_two_kinds_of_licence_are_both_needed() -> None:
    both = {"licences": (("mech", 1), ("solver", 1))}
    snapshot = net(*TWO, pools=[pool("mech", 5), pool("solver", 1, feature="solver")])
    decisions = decide([ask(id=i, **both) for i in range(2)], snapshot)
    assert decisions[0].licences == (("mech", 1), ("solver", 1)) and decisions[1].refusals == {Refusal.LICENCE: 2}


def test_what_needs_a_link_between_nodes_goes_where_there_is_one() -> None:
    snapshot = net(*TWO, linked=[False, True])
    assert place(snapshot, ask(linked=True)) == ["west/cpu"]
    assert decide([ask(linked=True)], net(*TWO))[0].refusals == {Refusal.NOT_LINKED: 2}


# Owned first in its trough: at equal service to the user the operator's marginal cost decides -------------------------------


def owned_and_bought(**changes: Any) -> Snapshot:
    """Two partitions that sell at one price; the owned one costs 0.01 a core-hour to use, the bought one 0.05."""
    bought = row("a-bought/cpu", cost=Rates(5 * FEN), supply=Supply.PURCHASED)
    return net(bought, row("b-owned/cpu", cost=Rates(1 * FEN), **changes))


@pytest.mark.parametrize("objective", sorted(PRESETS))
def test_at_equal_service_the_owned_capacity_is_taken_under_every_preset(objective: str) -> None:
    assert place(owned_and_bought(), ask(objective=objective)) == ["b-owned/cpu"]


def test_owned_capacity_fills_in_its_trough_and_the_crest_is_bought() -> None:
    names = place(owned_and_bought(), *(ask(id=i, wall=7200) for i in range(4)))
    assert names == ["b-owned/cpu", "b-owned/cpu", "a-bought/cpu", "a-bought/cpu"]


@pytest.mark.parametrize("objective", sorted(PRESETS))
def test_nobody_waits_longer_for_owned_capacity_than_the_preset_pays_for(objective: str) -> None:
    """The owned partition is busy for a while: a job waits for it at most as long as what it saves is worth in time."""
    o = PRESETS[objective]
    request = ask(objective=objective, wall=3600)
    free = decide([request], owned_and_bought())[0]
    bought = next(c for c in free.candidates if c.supply == "purchased")
    owned = next(c for c in free.candidates if c.supply == "co_built")
    saved = o.cost * (bought.cost - owned.cost)
    per_s = o.time * 1e6 / 3600 * (0.5 + o.risk * 0.5)  # of the wait by the estimates
    limit = saved / per_s
    for wait, expected in ((int(limit * 0.9), "b-owned/cpu"), (int(limit * 1.1) + 2, "a-bought/cpu")):
        busy = owned_and_bought(free=(0, 0, 0), running=[(wait, NODE)]) if wait else owned_and_bought()
        assert place(busy, request) == [expected], (objective, wait, limit)


def test_cards_are_nan_where_nothing_was_measured() -> None:
    snapshot = net(*TWO, cards={"east/cpu": (58.2, 116.0, 400.0, 28.4, 90.0, 156.0, 3.6, 8.0)})
    assert snapshot.software.card[0].tolist()[:2] == [58.2, 116.0]
    assert np.isnan(snapshot.software.card[1]).all()
