"""What decides live is what the simulator replays: on the same network, with the same queues, forecasts and prices, placement and moves
of the live platform and of the simulated broker give the same scores and choose the same places."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest

from tidegrid.domain.job import Constraints
from tidegrid.rating.rates import Rates
from tidegrid.scheduling import network
from tidegrid.scheduling.kernel import broker, layout, net, relocate
from tidegrid.scheduling.kernel.build import build, table
from tidegrid.scheduling.kernel.policy import POLICIES as QUEUES
from tidegrid.scheduling.kernel.running import hold
from tidegrid.scheduling.kernel.steps import enter, schedule, send
from tidegrid.scheduling.moving import Cause, Choice, Rules, Waiting, look
from tidegrid.scheduling.objective import PRESETS
from tidegrid.scheduling.placement import Request, decide
from tidegrid.scheduling.record import Asked
from tidegrid.scheduling.snapshot import PartitionRow, Snapshot, with_sent
from tidegrid.scheduling.weighing import MISSED

SIZES = (16, 24, 12, 8)
EPOCH, BYTES = 1_700_000_000, 2_000_000_000
FEN = 1_000_000  # 0.01 yuan, in 1e-8 yuan


@dataclass
class World:
    """One network twice. The last job of `state` is new; the others run, wait or are, `sent` of them, on their way. told: p90 waits foretold; due: deadlines, from now."""

    state: layout.State
    broker: net.Net
    snapshot: Snapshot
    at: list[int]
    waiting: list[int]
    sent: int
    told: dict[int, float]
    due: list[float]
    request: Request


def world(seed: int, objective: str, now: int = 100_000) -> World:
    rng = np.random.default_rng(seed)
    jobs = 60
    home = rng.integers(0, len(SIZES), jobs + 1)
    need = np.minimum(rng.integers(1, 13, jobs + 1), np.array(SIZES)[home])
    need[-1] = rng.integers(1, 9)
    estimate = rng.integers(30, 20_000, jobs + 1)
    home[-1] = 0
    due = estimate + rng.integers(10, 10_000, jobs + 1) if seed % 2 else np.full(jobs + 1, layout.FOREVER - now)
    quiet = [s for s in range(len(SIZES)) if rng.random() < 0.3]
    st = build(table(np.sort(now - rng.integers(1, 5000, jobs + 1)), estimate, None, need), np.array([[n] for n in SIZES]), [QUEUES["easy"]] * len(SIZES))
    price, cost = (rng.integers(0, 30, len(SIZES)) for _ in range(2))
    tables = rng.normal(0, 0.4, (len(SIZES), 7, 4)) * (seed % 3 > 0)
    tables[:, :, 3] = 0
    nt = network.broker(
        network.NetworkPolicy(objective=PRESETS[objective]), home, SIZES, price=price / 100 / 3600, cost=cost / 100 / 3600,
        delay_s=np.where(np.eye(len(SIZES)) > 0, 0.0, 5.0), s_per_byte=np.where(np.eye(len(SIZES)) > 0, 0.0, 1e-8),
        bytes_=np.full(jobs + 1, float(BYTES)), deadline=(now + due).astype(np.float64),
    )  # fmt: skip
    at = int(nt.num[net.TABLES])
    nt.num[at : at + tables.size] = tables.reshape(-1).tolist()
    free, running, waiting, told = list(SIZES), {}, [], {}
    for j in range(jobs):
        s = int(home[j])
        nt.word[nt.word[net.PLACE] + j] = s
        if need[j] <= free[s] and len(running) < jobs // 2:
            free[s] -= int(need[j])
            running[j] = int(rng.integers(1, 10_000))
            st.job[layout.job_at(st, j) + layout.START] = now - 10
            st.job[layout.job_at(st, j) + layout.EXPECTED] = now + running[j]
            hold(st, s, j)
        elif s not in quiet:
            waiting.append(j)
    for j in list(waiting):
        enter(st, int(home[j]), j)
    for s in range(len(SIZES)):
        for i in range(schedule(st, s, now)):
            j = int(st.mem[st.mem[layout.STARTED] + i])
            waiting.remove(j)
            running[j] = int(estimate[j])
            free[s] -= int(need[j])
    for j in waiting:
        row = net.told_at(nt, j)
        told[j] = float(rng.choice([0.0, rng.integers(1, 12_000)]))
        nt.num[row + net.SINCE], nt.num[row + net.LONGEST] = float(now - rng.integers(1, 8000)), told[j]
    way = {j: int(rng.integers(0, len(SIZES))) for j in range(jobs) if j not in running and j not in waiting and seed % 4 == 0}
    way = {j: s for j, s in way.items() if need[j] <= SIZES[s] and rng.random() < 0.3}
    for i, (j, s) in enumerate(way.items()):
        send(st, s, j, now + 5 + i)
    rows = [
        PartitionRow(
            f"c{s}", "p", "r", "x86_64", capacity=(n * 1000, 1 << 20, 0), free=(free[s] * 1000, 1 << 20, 0), largest=(n * 1000, 1 << 20, 0),
            sell=Rates(int(price[s]) * FEN), cost=Rates(int(cost[s]) * FEN), staging_s=5.0, bandwidth=1e8,
            running=[(t, (int(need[j]) * 1000, 0, 0)) for j, t in running.items() if home[j] == s],
            waiting=[(int(estimate[j]), (int(need[j]) * 1000, 0, 0)) for j in waiting if home[j] == s],
        )
        for s, n in enumerate(SIZES)
    ]  # fmt: skip
    rows = [with_sent(row, [(int(estimate[j]), (int(need[j]) * 1000, 0, 0), 1) for j, to in way.items() if to == s]) for s, row in enumerate(rows)]
    snapshot = Snapshot.build(EPOCH, rows, wait_tables={f"c{s}/p": tables[s] for s in range(len(SIZES))})
    return World(st, nt, snapshot, free, waiting, len(way), told, [float(d) if seed % 2 else math.inf for d in due], asked(st, jobs, "c0", objective, int(due[-1]) if seed % 2 else None))


def asked(st: layout.State, j: int, place: str, objective: str, due: int | None = None) -> Request:
    """The live request of job j, whose data is at `place`; it is planned with its estimate."""
    row = layout.job_at(st, j)
    wall, need = int(st.job[row + layout.ESTIMATE]), int(st.job[row + layout.NEED])
    return Request(
        j, "app", (need * 1000, 0, 0), wall, run_p50_s=float(wall), run_p90_s=float(wall), objective=objective, input_bytes=BYTES,
        already=((place, BYTES),), deadline_s=None if due is None else EPOCH + due,
    )  # fmt: skip


@pytest.mark.parametrize("objective", PRESETS)
def test_a_new_job_has_the_same_scores_and_goes_to_the_same_place(objective: str) -> None:
    now, waits, late, sent = 100_000, 0, 0, 0
    for seed in range(40):
        w = world(seed, objective)
        (live,) = decide([w.request], w.snapshot)
        scores = {c.index: c.score / 1e6 for c in live.candidates}
        missed = live.note == MISSED
        for s in range(len(SIZES)):
            fits = w.request.need[0] <= 1000 * SIZES[s]
            simulated = broker.score_at(w.state, w.broker, now, w.request.id, 0, s, float("inf"), True) if fits else float("inf")
            assert simulated == pytest.approx(float("inf") if missed else scores.get(s, float("inf")), rel=1e-9, abs=1e-12), (seed, s)
        sent += w.sent
        waits += any(c.wait_ahead > 0 for c in live.candidates)
        late += missed
        best = broker.choose(w.state, w.broker, now, w.request.id)
        assert live.best is not None and best == (live.best.index if missed else min(scores, key=lambda s: (scores[s], s))), seed
    assert waits > 20 and late > 2 and sent > 20


@pytest.mark.parametrize("objective", PRESETS)
def test_waiting_jobs_go_to_the_same_places_or_stay(objective: str) -> None:
    now, goes, stays, by_deadline = 100_000, 0, 0, 0
    for seed in range(60):
        w = world(seed, objective)
        relocate.open_gates(w.state, w.broker, now)
        for j in w.waiting:
            here = net.place_of(w.broker, j)
            request = asked(w.state, j, f"c{here}", objective, None if math.isinf(w.due[j]) else int(w.due[j]))
            stay = replace(request, deadline_s=None, constraints=Constraints(any_of=(f"c{here}/p",)))
            go = replace(request, excluded=(f"c{here}/p",))
            a, b = (Asked((r,), alone=True).decide(w.snapshot)[0] for r in (stay, go))
            told = net.told_at(w.broker, j)
            waiting = Waiting(f"c{here}/p", now - w.broker.num[told + net.SINCE], w.told[j])
            (move,) = look([Choice(waiting, a.best, b.candidates, PRESETS[objective], due=w.due[j])], w.snapshot.free.copy(), Rules())
            live = -1 if move is None else int(str(move.figures["to"])[1])
            assert relocate.where_to(w.state, w.broker, now, j) == live, (seed, j)
            goes += live >= 0
            stays += live < 0
            by_deadline += move is not None and move.cause is Cause.DEADLINE
    assert goes > 10 and stays > 10 and by_deadline > 2
