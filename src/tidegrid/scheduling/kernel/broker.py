"""Which site a job goes to, and which waiting jobs go elsewhere: the broker of many sites' queues.

`tide` is what decides live: a new job goes to the place with the best score (`worth`: price, cost, and what its wait, staging and
run are worth), that keeps its deadline if any does; a waiting one goes elsewhere by `worth.moves`. Live the same arithmetic is done
by `weighing` and `moving` on a picture of the network; here it is done on the queues themselves, one event after the other.

The others are what it is compared with. `home`: nowhere else. `earliest`: where the queue, run ahead, starts it first. `least`: where
the least work is left, relative to the site's size. `two`: the better of two sites drawn and home, by that.

Kernel source: plain Python over lists, or compiled over arrays.
"""

from __future__ import annotations

import math

from tidegrid.scheduling.kernel.ahead import begins, begins_last, begins_now, forget
from tidegrid.scheduling.kernel.chances import P50, P90, SOON, SOON_S, at_most, learn, longest, median, soon
from tidegrid.scheduling.kernel.layout import (
    ESTIMATE,
    FOREVER,
    KINDS,
    NEED,
    PLANNED,
    ROOM,
    RUNNING,
    SENT,
    WAITING,
    State,
    job_at,
    site_at,
    within,
)
from tidegrid.scheduling.kernel.ledger import is_open, settle
from tidegrid.scheduling.kernel.net import (
    AHEAD,
    BYTES,
    CARRIED,
    CHANCE,
    COST,
    COST_WEIGHT,
    DRAW,
    EARLIEST,
    FAIR,
    FORECAST,
    GATE,
    GATE_OLD,
    GATES,
    JOBS,
    KEPT_JOBS,
    LEAST,
    LEFT,
    LONGEST,
    MEDIAN,
    NOW_ALONE,
    NOW_HERE,
    PLACE,
    PRICE,
    PRICE_WEIGHT,
    RISK,
    RULE,
    SECOND,
    SINCE,
    SITES,
    SURE,
    TIDE,
    TWO,
    Net,
    delay,
    due,
    home_of,
    ledger_at,
    outlook_at,
    place_of,
    table_at,
    told_at,
)
from tidegrid.scheduling.kernel.runs import plan
from tidegrid.scheduling.kernel.steps import enter, next_event, schedule, send, started
from tidegrid.scheduling.kernel.worth import (
    counted,
    pace,
    score,
)


def planned_at(st: State, s: int, j: int) -> int:
    """Seconds that job j would be planned with at s."""
    return plan(st, s, j, int(st.job[job_at(st, j) + PLANNED]))


def choose(st: State, net: Net, now: int, j: int) -> int:
    """The site that a new job goes to."""
    rule, home = int(net.word[RULE]), home_of(net, j)
    if rule == EARLIEST:
        return _earliest(st, net, now, j, home)
    if rule == LEAST:
        best = home
        for s in range(net.word[SITES]):
            best = _emptier(st, net, j, best, s)
        return best
    if rule == TWO:
        best = _emptier(st, net, j, home, _draw(net))
        return _emptier(st, net, j, best, _draw(net))
    if rule == TIDE:
        s = best_place(st, net, now, j, home, True)
        if s < 0:
            s = best_place(st, net, now, j, home, False)
        return s if s >= 0 else home
    return home


def best_place(st: State, net: Net, now: int, j: int, home: int, in_time: bool) -> int:
    """The site with the best score of those that keep the job's deadline; not in_time: where it ends first. Of equal ones home, else the
    first; -1 for none."""
    best, lowest = -1, math.inf
    for i in range(-1, int(net.word[SITES])):
        s = home if i < 0 else i
        if (i >= 0 and s == home) or not (s == home or is_open(net, s)):
            continue
        if not within(st.job, job_at(st, j) + NEED, st.mem, site_at(st, s) + ROOM + st.mem[KINDS], st.mem[KINDS]):
            continue
        at = score_at(st, net, now, j, home, s, lowest, in_time)
        if at < lowest:
            best, lowest = s, at
    return best


def score_at(st: State, net: Net, now: int, j: int, home: int, s: int, lowest: float, in_time: bool) -> float:
    """The score of a new job at site s, infinite where that is not below `lowest`, or too late; not in_time: when it has ended."""
    second, risk, late = net.num[SECOND], net.num[RISK], delay(net, j, home, s)
    planned, estimate = planned_at(st, s, j), int(st.job[job_at(st, j) + ESTIMATE])
    ready = without_wait(st, net, j, s, planned) + second * late
    if in_time and ready >= lowest:
        return math.inf  # before any wait
    forecast, p50, p90 = 0.0, 0.0, 0.0
    if not starts_now(st, net, s, now, j, planned):
        limit = FOREVER
        if in_time and second > 0.0 and lowest < math.inf:
            most = at_most(net.num, table_at(net, s), (lowest - ready) / second)
            if most < FOREVER - now - 2:
                limit = now + max(0, int(most)) + 2
        forecast = float(begins_there(st, net, s, now, j, planned, limit) - now)
        if forecast + now >= limit:
            return math.inf
        p50 = median(net.num, table_at(net, s), forecast)
        p90 = longest(net.num, table_at(net, s), forecast)
    end = now + late + (p90 + estimate if net.word[SURE] != 0 else p50 + planned)
    if not in_time:
        return end
    if end > due(net, j):
        return math.inf
    return float(ready + second * counted(p50, p90, risk))


def without_wait(st: State, net: Net, j: int, s: int, planned: int) -> float:
    """The score of job j at s without wait and staging. What its run may take longer than planned counts with the risk."""
    row, second = job_at(st, j), net.num[SECOND]
    asked = float(st.job[row + NEED])
    sell, cost = net.num[int(net.num[PRICE]) + s] * asked, net.num[int(net.num[COST]) + s] * asked
    a_second = pace(sell, cost, 1.0, 1.0, net.num[PRICE_WEIGHT], net.num[COST_WEIGHT], second)
    return float(score(a_second, float(planned), net.num[RISK] * (st.job[row + ESTIMATE] - planned), second))


def _earliest(st: State, net: Net, now: int, j: int, home: int) -> int:
    """Where the job starts first; home if nowhere does, or as soon there, else of equal ones the first. The site with least work left
    is looked at before the others: they need not be run ahead further than that."""
    best, sites, limit = home, int(net.word[SITES]), FOREVER
    if starts_now(st, net, home, now, j, planned_at(st, home, j)):
        return home
    guess = lowest_load(st, net, j, home)
    if guess >= 0:
        at = _begins_there(st, net, now, j, home, guess, limit)
        if at < limit:
            best, limit = guess, at
    at = begins_there(st, net, home, now, j, planned_at(st, home, j), _after(limit))
    if at <= limit:
        best, limit = home, at
    for s in range(sites):
        if s == home or s == guess or not is_open(net, s):  # noqa: SIM109 - compiled source
            continue
        until = _after(limit)
        if best == home or s > best:
            until = limit  # as early as that is not enough
        at = _begins_there(st, net, now, j, home, s, until)
        if at < limit or (at == limit and best != home and s < best):
            best, limit = s, at
    return best


def lowest_load(st: State, net: Net, j: int, home: int) -> int:
    """Of the open sites but home the one with least work left for its size, -1 for none."""
    guess, least, left = -1, 0.0, int(net.num[LEFT])
    for s in range(net.word[SITES]):
        if s != home and is_open(net, s):
            at = site_at(st, s) + ROOM + st.mem[KINDS]
            share = net.num[left + s] / max(st.mem[at], 1)
            if (guess < 0 or share < least) and within(st.job, job_at(st, j) + NEED, st.mem, at, st.mem[KINDS]):
                guess, least = s, share
    return guess


def starts_now(st: State, net: Net, s: int, now: int, j: int, planned: int) -> bool:
    """Whether job j, planned with `planned` s, would start at once at s behind all that wait there or are on their way. The site has
    been scheduled."""
    if not begins_now(st, s, now, j, planned):
        return False
    return st.mem[site_at(st, s) + SENT] == 0 or begins_there(st, net, s, now, j, planned, now + 1) == now


def begins_there(st: State, net: Net, s: int, now: int, j: int, planned: int, limit: int) -> int:
    """When job j, which does not wait at s, would start there: `begins` by the outlook that is kept, if that is large enough."""
    at = site_at(st, s)
    if st.mem[at + WAITING] + st.mem[at + SENT] + st.mem[at + RUNNING] > net.kept[KEPT_JOBS]:
        return begins(st, s, now, j, planned, limit, net.ahead)
    return begins_last(st, s, now, j, planned, limit, net.kept, outlook_at(net, s))


def changed(net: Net, s: int) -> None:
    """Something arrived, started, ended or went at s: the outlook on it is out of date."""
    if s < net.word[SITES]:
        forget(net.kept, outlook_at(net, s))
        net.word[net.word[GATES] + s * GATE + GATE_OLD] = 1


def _after(limit: int) -> int:
    """A limit for looks ahead that tells what begins at `limit` from what begins later."""
    return min(limit + 1, FOREVER)


def _begins_there(st: State, net: Net, now: int, j: int, home: int, s: int, limit: int) -> int:
    """When the job would start at s, its data brought there, at most `limit`."""
    late = delay(net, j, home, s)
    if now + late >= limit:
        return limit
    planned = planned_at(st, s, j)
    at = now
    if not starts_now(st, net, s, now, j, planned):
        at = begins_there(st, net, s, now, j, planned, limit - late)
    return min(at + late, limit)


def _emptier(st: State, net: Net, j: int, a: int, b: int) -> int:
    """Of two sites the one with less work left for its size, a if they are equal or b cannot hold the job."""
    kinds = st.mem[KINDS]
    there = site_at(st, b) + ROOM + kinds
    if not within(st.job, job_at(st, j) + NEED, st.mem, there, kinds):
        return a
    left = int(net.num[LEFT])
    if net.num[left + b] / st.mem[there] < net.num[left + a] / max(st.mem[site_at(st, a) + ROOM + kinds], 1):
        return b
    return a


def _draw(net: Net) -> int:
    """A site, all alike likely."""
    net.word[DRAW] = (net.word[DRAW] * 1103515245 + 12345) & 0x7FFFFFFF
    return int(((net.word[DRAW] >> 8) * net.word[SITES]) >> 23)


def tell(st: State, net: Net, now: int, j: int, s: int, late: int) -> None:
    """Write down what is said of the wait of job j, which goes to s and is there in `late` seconds."""
    at, planned, forecast = told_at(net, j), planned_at(st, s, j), 0.0
    if not starts_now(st, net, s, now, j, planned):
        forecast = float(begins_there(st, net, s, now, j, planned, FOREVER) - now)
    net.num[at + SINCE], net.num[at + FORECAST] = float(now + late), forecast
    net.num[at + CHANCE], net.num[at + MEDIAN], net.num[at + LONGEST] = 1.0, 0.0, 0.0
    if forecast > 0.0:
        table = table_at(net, s)
        net.num[at + CHANCE] = soon(net.num, table, forecast)
        net.num[at + MEDIAN] = median(net.num, table, forecast)
        net.num[at + LONGEST] = longest(net.num, table, forecast)


def learn_of(net: Net, now: int, j: int, s: int, begun: bool) -> None:
    """Job j begins at s, or goes elsewhere: what was said of its wait here is known to have held, or not."""
    at, table = told_at(net, j), table_at(net, s)
    forecast, waited = net.num[at + FORECAST], now - net.num[at + SINCE]
    if forecast <= 0.0:
        return
    at_once = begun and waited <= SOON_S
    if at_once or waited > SOON_S:
        learn(net.num, table, SOON, forecast, at_once, net.num[at + CHANCE])
    if not at_once and (begun or waited > net.num[at + MEDIAN]):
        learn(net.num, table, P50, forecast, waited <= net.num[at + MEDIAN], 0.0)
    if not at_once and (begun or waited > net.num[at + LONGEST]):
        learn(net.num, table, P90, forecast, waited <= net.num[at + LONGEST], 0.0)


def join(st: State, net: Net, now: int, j: int, s: int) -> None:
    """Job j goes to the queue of site s, at once or when its data is there."""
    origin = place_of(net, j)
    if origin < 0:
        origin = home_of(net, j)
    late = delay(net, j, origin, s)
    if origin != s and net.num[BYTES] >= 0:
        net.num[CARRIED] += net.num[int(net.num[BYTES]) + j]
    if net.word[RULE] == TIDE:
        tell(st, net, now, j, s, late)
    net.word[net.word[PLACE] + j] = s
    net.num[int(net.num[LEFT]) + s] += work_of(st, j)
    if late > 0:
        send(st, s, j, now + late)
        changed(net, s)
        net.word[net.word[AHEAD] + s] = next_event(st, s)
    else:
        enter(st, s, j)
        run_site(st, net, s, now)


def work_of(st: State, j: int) -> float:
    """What it asks of the first kind times its estimate."""
    row = job_at(st, j)
    return float(st.job[row + NEED] * st.job[row + ESTIMATE])


def run_site(st: State, net: Net, s: int, now: int) -> int:
    """Start at s what may start; how many."""
    n = schedule(st, s, now)
    changed(net, s)
    if net.word[RULE] == TIDE and s < net.word[SITES]:
        for i in range(n):
            learn_of(net, now, started(st, i), s, True)
    if net.word[FAIR] != 0:
        sites = int(net.word[SITES])
        for i in range(n):
            j = started(st, i)
            if s < sites:
                net.num[ledger_at(net, home_of(net, j)) + NOW_HERE] -= 1.0
            else:
                net.num[ledger_at(net, s - sites) + NOW_ALONE] -= 1.0
                settle(st, net, j - int(net.word[JOBS]))
    net.word[net.word[AHEAD] + s] = next_event(st, s)
    return n
