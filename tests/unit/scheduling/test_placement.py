"""Where a job goes, and why: statements about `decide`, `offers` and `explain_text`."""

from __future__ import annotations

import numpy as np
import pytest
from tests.unit.scheduling.network import FEN, NODE, network, row

from tidegrid.domain.errors import InvalidInput
from tidegrid.domain.job import Constraints, Resources
from tidegrid.rating.book import Supply
from tidegrid.rating.rate import rate
from tidegrid.rating.rates import Rates
from tidegrid.scheduling.objective import Objective
from tidegrid.scheduling.placement import Refusal, Request, decide, explain_text, offers
from tidegrid.scheduling.runtime import Prediction, predict
from tidegrid.scheduling.snapshot import Health, Snapshot, need_of
from tidegrid.scheduling.weighing import MISSED

FULL = [(3600, NODE)]  # one job on the whole node for an hour
BUSY = {"free": (0, 0, 0), "running": FULL}


def ask(id=1, cores=4, wall=600, **changes):
    return Request(**{"id": id, "app": "app", "need": (cores * 1000, 1024, 0), "wall_s": wall, **changes})


def place(snapshot, **changes):
    return decide([ask(**changes)], snapshot)[0]


def test_terms_are_those_of_the_request_and_the_partition():
    best = place(network(row(speed=2.0, staging_s=5.0, bandwidth=1e6)), wall=1000, input_bytes=10_000_000).best
    assert (best.name, best.region, best.supply) == ("east/cpu", "east", "co_built")
    assert (best.start_now, best.wait_p50, best.wait_p90, best.staging_s) == (1.0, 0.0, 0.0, 15.0)
    assert (best.run_p50, best.run_p90) == (250.0, 500.0)  # half the wall time and all of it, at twice the speed
    assert best.price == rate(250_000, 4, 0, 1024, Rates(6 * FEN)) and best.cost == rate(
        250_000, 4, 0, 1024, Rates(FEN)
    )
    assert best.hold == rate(1_000_000, 4, 0, 1024, Rates(6 * FEN))
    seconds = 250 + 15
    assert best.score == pytest.approx(best.price + best.cost + 5e6 / 3600 * seconds, abs=2)


def test_need_is_counted_in_the_kinds_of_the_snapshot():
    assert need_of(Resources(cores=2, memory_mib=512, gpus=1)) == (2000, 512, 1)
    assert need_of(Resources(cores=2, memory_mib=512, gpus=1, nodes=3)) == (6000, 1536, 3)


def test_several_nodes_each_hold_their_share():
    two = row("a/two", capacity=(16_000, 32_768, 0), free=(16_000, 32_768, 0))
    snapshot = network(two, row("b/one"))
    spread = decide([ask(cores=12, nodes=2)], snapshot)[0]
    assert spread.best.name == "a/two" and spread.refusals == {Refusal.TOO_LARGE: 1}
    assert decide([ask(cores=12)], snapshot)[0].refusals == {Refusal.TOO_LARGE: 2}  # on one node
    assert decide([ask(cores=6, nodes=3)], snapshot)[0].refusals == {Refusal.TOO_LARGE: 2}  # there are not three
    assert spread.best.price == rate(300_000, 12, 0, 1024, Rates(6 * FEN))


def test_whole_nodes_are_paid_for_whole():
    wide = (32_000, 65_536, 4)
    prices = {"sell": Rates(6 * FEN, 10 * FEN), "cost": Rates(FEN, FEN)}
    snapshot = network(row("a/small", **prices), row("b/wide", capacity=wide, free=wide, largest=wide, **prices))
    alone, shared = decide([ask(cores=2, exclusive=True), ask(id=2, cores=2)], snapshot)
    by_name = {c.name: c for c in alone.candidates}
    assert by_name["a/small"].need == (8000, 1024, 0) and by_name["b/wide"].need == (32_000, 1024, 4)
    assert by_name["a/small"].price == rate(300_000, 8, 0, 1024, Rates(6 * FEN))
    assert by_name["b/wide"].hold == rate(600_000, 32, 4, 1024, Rates(6 * FEN, 10 * FEN))
    assert alone.best.name == "a/small" and by_name["b/wide"].score > by_name["a/small"].score
    assert shared.best.need == (2000, 1024, 0)


def test_every_reason_is_counted_where_it_holds():
    snapshot = network(
        row("arm/cpu", arch="aarch64"),
        row("far/cpu", region="mars"),
        row("small/cpu", largest=(1000, 16384, 0)),
        row("short/cpu", max_wall_s=60),
        row("silent/cpu", health=Health.UNHEALTHY),
        row("drained/cpu", health=Health.DRAINED),
        row("bare/cpu"),
        row("free/cpu", sell=None),
        row("left/cpu"),
        row("both/cpu", arch="aarch64", health=Health.DRAINED),
        app=["arm", "far", "small", "short", "silent", "drained", "free", "left", "both"],
    )
    regions = tuple(n for n in snapshot.regions if n != "mars")
    decision = place(snapshot, constraints=Constraints(arch=("x86_64",), regions=regions, exclude=("left/cpu",)))
    assert decision.best is None and decision.feasible == 0
    assert decision.refusals == {
        Refusal.ARCH: 2,
        Refusal.REGION: 1,
        Refusal.EXCLUDED: 1,
        Refusal.NOT_INSTALLED: 1,
        Refusal.TOO_LARGE: 1,
        Refusal.TOO_LONG: 1,
        Refusal.UNHEALTHY: 1,
        Refusal.DRAINED: 2,
        Refusal.NO_PRICE: 1,
    }
    assert "none of 10 partitions" in decision.why_not() and "2 have another architecture" in decision.why_not()


def test_a_gpu_type_must_match():
    gpu = (8000, 16384, 4)
    snapshot = network(
        row(), row("a/gpu", gpu_type="a100", capacity=gpu, free=gpu, largest=gpu), row("b/gpu", gpu_type="v100", capacity=gpu, free=gpu, largest=gpu)
    )  # fmt: skip
    decision = place(snapshot, need=(1000, 1024, 1), gpu_type="a100")
    assert decision.best.name == "a/gpu" and decision.refusals == {Refusal.TOO_LARGE: 1, Refusal.GPU_TYPE: 2}
    assert place(snapshot, need=(1000, 1024, 1), gpu_type="h100").refusals[Refusal.GPU_TYPE] == 3


def test_a_cluster_that_refused_is_not_asked_again():
    assert place(network(row(), row("west/cpu", sell=Rates(9 * FEN))), excluded=("east",)).best.name == "west/cpu"


def test_money_and_time_limits_refuse_only_what_was_feasible_and_offers_ignore_the_balance():
    snapshot = network(
        row(sell=Rates(6 * FEN)), row("dear/cpu", sell=Rates(60 * FEN)), row("off/cpu", health=Health.DRAINED)
    )
    cheap = rate(600_000, 4, 0, 1024, Rates(6 * FEN))
    assert place(snapshot, balance=cheap).refusals == {Refusal.DRAINED: 1, Refusal.BALANCE: 1}
    assert place(snapshot, balance=cheap).best.name == "east/cpu"
    assert place(snapshot, balance=cheap - 1).best is None
    assert place(snapshot, budget=cheap).refusals[Refusal.BUDGET] == 1
    assert len(offers(ask(balance=0), snapshot)) == 2
    late = place(snapshot, deadline_s=snapshot.epoch_s + 299)
    assert late.refusals == {Refusal.DRAINED: 1, Refusal.DEADLINE: 2} and late.note == MISSED and late.best is not None, "late is better than never"
    assert place(snapshot, deadline_s=snapshot.epoch_s + 300).note == ""  # ends in time at the median
    sure = place(snapshot, deadline_s=snapshot.epoch_s + 300, objective="deadline")
    assert sure.note == MISSED  # but not at p90


def test_where_no_place_keeps_its_deadline_a_job_goes_where_it_ends_first():
    snapshot = network(row("slow/cpu", sell=Rates(1 * FEN), speed=0.5), row("fast/cpu", sell=Rates(90 * FEN), speed=4.0), row("same/cpu"))
    late = place(snapshot, wall=3600, run_p50_s=600, run_p90_s=900, objective="deadline", deadline_s=snapshot.epoch_s + 10)
    assert [c.name for c in late.candidates] == ["fast/cpu", "same/cpu", "slow/cpu"] and late.best.name == "fast/cpu"
    assert MISSED in late.text[1] or MISSED in " ".join(late.text)
    dear = place(snapshot, wall=3600, run_p50_s=600, run_p90_s=900, deadline_s=snapshot.epoch_s + 10, budget=2_000_000)
    assert dear.best.name == "same/cpu" and dear.refusals[Refusal.BUDGET] == 1, "a budget is kept all the same"


def test_a_budget_of_just_the_price_is_enough_and_a_micro_yuan_less_is_not():
    snapshot = network(row("a/cpu", sell=Rates(1 * FEN)))
    for cores in (1, 3, 7):
        for wall in (3600, 5400, 7201):
            hold = offers(ask(cores=cores, wall=wall), snapshot)[0].hold
            assert place(snapshot, cores=cores, wall=wall, budget=hold).best is not None, (cores, wall)
            assert place(snapshot, cores=cores, wall=wall, budget=hold - 1).best is None


def test_presets_choose_what_their_names_say():
    snapshot = network(
        row("slow/cpu", sell=Rates(4 * FEN), speed=0.5),
        row("fast/cpu", sell=Rates(90 * FEN), speed=4.0),
        row("queued/cpu", sell=Rates(3 * FEN), **BUSY),
    )
    pick = {o: place(snapshot, wall=3600, run_p50_s=600, run_p90_s=900, objective=o).best.name for o in ("cheapest", "fastest", "budget")}  # fmt: skip
    assert pick == {"cheapest": "queued/cpu", "fastest": "fast/cpu", "budget": "fast/cpu"}
    deadline = place(
        snapshot, wall=3600, run_p50_s=600, run_p90_s=900, objective="deadline", deadline_s=snapshot.epoch_s + 2000
    )
    assert deadline.best.name == "slow/cpu" and deadline.refusals == {Refusal.DEADLINE: 1}


def test_owned_capacity_in_its_trough_is_filled_first_at_the_same_price():
    snapshot = network(row("bought/cpu", supply=Supply.PURCHASED, cost=Rates(5 * FEN)), row("owned/cpu"))
    names = [d.best.name for d in decide([ask(i) for i in range(4)], snapshot)]
    assert names == ["owned/cpu", "owned/cpu", "bought/cpu", "bought/cpu"]


def test_an_unknown_objective_is_refused_and_an_override_is_a_row():
    with pytest.raises(InvalidInput) as error:
        place(network(row()), objective="prettiest")
    assert error.value.code == "objective.unknown" and "balanced" in error.value.hint
    mine = {"prettiest": Objective(price=1.0, time=0.0)}
    one = decide([ask(objective="prettiest")], network(row()), mine)[0]
    assert one.best is not None and one.policy != place(network(row())).policy


def test_a_batch_spreads_and_each_placement_charges_the_later_ones():
    snapshot = network(row("a/cpu"), row("b/cpu"), row("c/cpu"))
    names = [d.best.name for d in decide([ask(i, cores=8) for i in range(6)], snapshot)]
    assert names == ["a/cpu", "b/cpu", "c/cpu"] * 2
    waits = [d.best.wait_p90 for d in decide([ask(i, cores=8) for i in range(6)], snapshot)]
    assert waits == [0, 0, 0, 600, 600, 600]


def test_a_job_alone_and_first_in_a_batch_is_placed_the_same():
    snapshot = network(row("a/cpu"), row("b/cpu", **BUSY))
    assert place(snapshot).to_json() == decide([ask(), ask(2)], snapshot)[0].to_json()


def test_waits_come_from_the_queue_there():
    snapshot = network(row(**BUSY, waiting=[(1800, NODE)]))
    best = place(snapshot).best
    assert best.wait_p90 == 5400 and best.wait_p50 == 2700 and best.start_now < 0.05
    backfilled = network(row(free=(4000, 16384, 0), running=[(3600, (4000, 0, 0))], waiting=[(1800, NODE)]))
    assert place(backfilled, wall=3600).best.wait_p90 == 0
    assert place(backfilled, wall=3601).best.wait_p90 == 5400
    fcfs = network(row(free=(4000, 16384, 0), running=[(3600, (4000, 0, 0))], waiting=[(1800, NODE)], policy="fcfs"))
    assert place(fcfs, wall=3600).best.wait_p90 == 5400


def test_capacity_used_by_jobs_not_shown_is_waited_for_not_called_impossible():
    assert place(network(row(free=(0, 0, 0)))).best.wait_p90 == 3600


def test_ordered_takes_the_first_that_can_be_had_soon():
    snapshot = network(
        row("a/cpu", **BUSY), row("b/cpu", sell=Rates(20 * FEN)), row("c/cpu"), row("d/cpu", sell=Rates(1))
    )
    decision = place(snapshot, constraints=Constraints(ordered=("a", "b/cpu", "c")))
    assert decision.best.name == "b/cpu" and "b/cpu comes first" in decision.note
    assert decision.refusals == {Refusal.NOT_LISTED: 1}
    late = network(row("a/cpu", **BUSY), row("b/cpu", sell=Rates(20 * FEN), **BUSY))
    assert place(late, constraints=Constraints(ordered=("b", "a"))).best.name == "a/cpu"


def test_the_chosen_is_among_the_candidates_though_eight_score_better():
    rows = [row(f"n{i}/cpu", sell=Rates(i + 1)) for i in range(12)]
    decision = place(network(*rows), constraints=Constraints(ordered=("n11", *(f"n{i}" for i in range(11)))))
    assert decision.best.name == "n11/cpu" and len(decision.candidates) == 8


def test_any_of_restricts_to_clusters_and_partitions():
    snapshot = network(row("a/cpu"), row("a/big"), row("b/cpu"), row("b/big"))
    decision = place(snapshot, constraints=Constraints(any_of=("a", "b/big")))
    assert decision.feasible == 3 and decision.refusals == {Refusal.NOT_LISTED: 1}


def test_an_array_fills_a_partition_in_waves():
    best = place(network(row()), cores=4, tasks=5, run_p50_s=100, run_p90_s=200).best
    assert best.run_p50 == 300 and best.run_p90 == 600  # two at a time
    assert best.hold == 5 * rate(600_000, 4, 0, 1024, Rates(6 * FEN))


def test_the_best_are_sorted_by_score_and_equal_scores_by_place():
    rng = np.random.default_rng(7)
    rows = [row(f"n{i:03}/cpu", sell=Rates(int(p))) for i, p in enumerate(rng.integers(1, 5, 40) * FEN)]
    every = offers(ask(), network(*rows))
    assert [c.index for c in every] == sorted(range(40), key=lambda i: (rows[i].sell.core_hour, i))
    assert place(network(*rows)).candidates == tuple(every[:8])


def test_a_decision_is_made_again_from_the_stored_snapshot():
    rng = np.random.default_rng(3)
    rows = [
        row(
            f"n{i}/cpu",
            sell=Rates(int(rng.integers(1, 9)) * FEN),
            speed=float(rng.uniform(0.5, 2)),
            **(BUSY if i % 3 else {}),
        )
        for i in range(20)
    ]
    snapshot = network(*rows)
    requests = [ask(i, cores=int(rng.integers(1, 9)), wall=int(rng.integers(60, 4000))) for i in range(30)]
    first = [d.to_json() for d in decide(requests, snapshot)]
    assert first == [d.to_json() for d in decide(requests, Snapshot.from_bytes(snapshot.to_bytes()))]


def test_an_explanation_names_the_choice_its_terms_the_others_and_the_refused():
    snapshot = network(row("a/cpu"), row("b/cpu", sell=Rates(12 * FEN)), row("c/cpu", health=Health.DRAINED))
    decision = place(snapshot, wall=3600)
    text = "\n".join(explain_text(decision, snapshot))
    for words in ("a/cpu in a", "run 30 min", "price about 0.12 yuan, at most 0.24", "b/cpu: 0.12 yuan dearer", "1 are drained", snapshot.revision[:12]):  # fmt: skip
        assert words in text


def test_nothing_to_choose_from():
    decision = place(network())
    assert decision.best is None and "no partitions" in decision.why_not()
    assert decide([], network(row())) == []


def test_run_time_without_history_is_modelled_and_with_history_is_its_quantiles():
    assert predict(np.array([]), 600) == (300.0, 600.0)
    p50, p90 = predict(np.full(50, 0.2), 600)
    assert p50 == pytest.approx(120) and p90 == pytest.approx(120)
    few50, few90 = predict(np.array([0.2]), 600)
    assert p50 < few50 < 300 and p90 < few90 < 600


def test_a_very_long_queue_is_followed_for_some_steps_and_then_estimated():
    waiting = [(3600, (4000, 0, 0))] * 5000
    best = place(network(row(**BUSY, waiting=waiting))).best
    assert best.wait_p90 == pytest.approx(3600 + 2500 * 3600, rel=0.01)  # two at a time on 8 cores


def test_a_job_goes_where_its_application_was_predicted_to_run_faster_and_says_what_that_rests_on():
    snapshot = network(row("a/one"), row("b/two"))
    runs = Prediction(np.array([900.0, 90.0]), np.array([5000.0, 120.0]), np.ones(2), 40, np.array([30, 10]), 0.08, "history", own=3)
    decision = place(snapshot, wall=1000, runs=runs)
    assert decision.best.name == "b/two" and (decision.best.run_p50, decision.best.run_p90) == (90.0, 120.0)
    other = decision.candidates[1]
    assert (other.run_p50, other.run_p90) == (900.0, 1000.0)  # never above the wall time
    assert decision.best.price == rate(90_000, 4, 0, 1024, Rates(6 * FEN))
    told = decision.to_json()["prediction"]
    assert (told["source"], told["runs"], told["own_runs"], told["run_p50_s"], told["speed"]) == ("history", 40, 3, 90.0, 1.0)
    text = "\n".join(decision.text)
    assert "run time from earlier runs of app (3 of yours), typically 8% off" in text and "40" not in text
    assert place(snapshot, wall=1000).to_json().get("prediction") is None


def test_predicted_run_times_count_for_arrays_and_deadlines():
    snapshot = network(row("a/one"), row("b/two"))
    runs = Prediction(np.array([100.0, 10.0]), np.array([200.0, 20.0]), np.ones(2), 9, np.array([9, 0]), 0.1, "history")
    many = place(snapshot, wall=1000, cores=4, tasks=5, runs=runs)
    assert many.best.name == "b/two" and many.best.run_p50 == 30  # two at a time
    late = place(snapshot, wall=1000, runs=runs, objective="deadline", deadline_s=snapshot.epoch_s + 50)
    assert late.best.name == "b/two" and late.refusals == {Refusal.DEADLINE: 1}


def test_data_that_must_stay_refuses_other_regions_by_its_own_reason():
    rows = [row("a/cpu", region="north"), row("b/cpu", region="south"), row("c/cpu", region="east")]
    decision = place(network(*rows), constraints=Constraints(residency=("north", "east")))
    assert [c.name for c in decision.candidates] == ["a/cpu", "c/cpu"]
    assert decision.refusals == {Refusal.RESIDENCY: 1}
    nowhere = place(network(*rows), constraints=Constraints(residency=("west",)))
    assert nowhere.best is None and "3 are outside of the regions that its data must stay in" in nowhere.why_not()


def test_data_that_lies_at_a_site_already_shortens_its_staging():
    rows = [row("a/cpu", bandwidth=1e6, staging_s=5.0), row("b/cpu", bandwidth=1e6, staging_s=5.0), row("c/cpu", bandwidth=1e6)]
    decision = place(network(*rows), input_bytes=10_000_000, already=(("b", 10_000_000), ("c", 4_000_000), ("gone", 1)))
    assert [(c.name, c.staging_s) for c in decision.candidates] == [("b/cpu", 0.0), ("c/cpu", 6.0), ("a/cpu", 15.0)]
