"""The ledger of a network that is fair to its sites: what each site's own jobs have waited, against what they would have waited alone.

Beside every site runs the same site alone, with its own jobs only and the same queue. It is told nothing that is not known by then: a
job that has not ended in truth is taken to run there until its estimate, and gets its run time when it has ended. A site takes guests
as long as its own jobs have gained by the network, up to a small loan without which nobody could begin.

Kernel source: plain Python over lists, or compiled over arrays.
"""

from __future__ import annotations

from tidegrid.scheduling.kernel.layout import ESTIMATE, NEED, RUN, RUNNERS, START, SUBMIT, State, job_at
from tidegrid.scheduling.kernel.lines import B, find, put, take
from tidegrid.scheduling.kernel.net import (
    ALONE,
    ALONE_SLOW,
    CREDIT,
    CREDIT_SLOW,
    FAIR,
    HOME,
    JOBS,
    LOAN_ROW,
    MARGIN,
    NOW_ALONE,
    NOW_HERE,
    SITES,
    UPTO,
    Net,
    home_of,
    ledger_at,
)

SLOW_LOAN = 100.0  # seconds of waiting that are lent, for each of bounded slowdown


def gains(credit: float, alone: float, margin: float, loan: float) -> bool:
    """Whether what was gained is more than a margin of what would have been waited alone, or what is lacking within the loan."""
    return credit - margin * alone + loan > 0.0


def is_open(net: Net, s: int) -> bool:
    """Whether the site takes guests: its own users have so far waited less than they would have alone."""
    if net.word[FAIR] == 0:
        return True
    at = ledger_at(net, s)
    if not gains(net.num[at + CREDIT], net.num[at + ALONE], net.num[MARGIN], net.num[at + LOAN_ROW]):
        return False
    if net.word[FAIR] == 1:
        return True
    return gains(net.num[at + CREDIT_SLOW], net.num[at + ALONE_SLOW], net.num[MARGIN], net.num[at + LOAN_ROW] / SLOW_LOAN)


def bring_up(net: Net, now: int) -> None:
    """Count the waiting since the last time."""
    passed = now - net.num[UPTO]
    net.num[UPTO] = float(now)
    for s in range(net.word[SITES]):
        at = ledger_at(net, s)
        net.num[at + CREDIT] += (net.num[at + NOW_ALONE] - net.num[at + NOW_HERE]) * passed
        net.num[at + ALONE] += net.num[at + NOW_ALONE] * passed


def arrived(st: State, net: Net, j: int) -> None:
    """Job j waits from now on, here and alone."""
    at = ledger_at(net, home_of(net, j))
    net.num[at + NOW_HERE] += 1.0
    net.num[at + NOW_ALONE] += 1.0


def known(st: State, net: Net, j: int, now: int) -> None:
    """Job j has ended: from now on its run time is known, alone too."""
    jobs, p = int(net.word[JOBS]), st.mem[RUNNERS]
    s, row = int(net.word[SITES]) + home_of(net, j), job_at(st, jobs + j)
    run, start = int(st.job[job_at(st, j) + RUN]), int(st.job[row + START])
    net.word[net.word[HOME] + jobs + j] = 1
    if start < 0:
        st.job[row + RUN] = run
        return
    then = start + int(st.job[row + ESTIMATE])
    if then > now:
        end = max(now, start + run)
        slot = find(st.mem, st.num, p, 2 * s, float(then), jobs + j)
        take(st.mem, st.num, p, 2 * s, slot // B, slot % B)
        put(st.mem, st.num, p, 2 * s, float(end), jobs + j, -1, -1, -1, st.job, row + NEED)
    st.job[row + RUN] = run
    settle(st, net, j)


def settle(st: State, net: Net, j: int) -> None:
    """Book the slowdown of job j once it has ended here and has started alone."""
    jobs = int(net.word[JOBS])
    here, alone = job_at(st, j), job_at(st, jobs + j)
    if net.word[net.word[HOME] + jobs + j] == 0 or st.job[alone + START] < 0:
        return
    run = int(st.job[alone + RUN])
    floor = max(run, 10)
    slow = max(1.0, (st.job[here + START] - st.job[here + SUBMIT] + run) / floor)
    slow_alone = max(1.0, (st.job[alone + START] - st.job[alone + SUBMIT] + run) / floor)
    at = ledger_at(net, home_of(net, j))
    net.num[at + CREDIT_SLOW] += slow_alone - slow
    net.num[at + ALONE_SLOW] += slow_alone
