"""What the broker of many sites remembers, as flat rows beside the sites' own state, and what stands where.

Kernel source: plain Python over lists, or compiled over arrays.
"""

from __future__ import annotations

from typing import NamedTuple

from tidegrid.scheduling.kernel.layout import Numbers, Words

HOME_ONLY, EARLIEST, LEAST, TWO, TIDE = 0, 1, 2, 3, 4  # RULE

# the first words of a broker: rule, sites, jobs, what fairness is kept by (0: none, 1: waits, 2: waits and slowdowns), state of the
# draw, jobs moved while they waited, how many are on their way; where there begin: each job's site (-1: none yet) and home
# (with a ledger also whether it has ended), when each site's next event is, who is on the way and when he arrives
RULE, SITES, JOBS, FAIR, DRAW, MOVES, TRAVELLERS, PLACE, HOME, AHEAD, WAY, WORDS = 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11

# the first figures: what a second of waiting is worth, in the unit of the prices; how much earlier (s), and by which share of the wait
# at home, a job must start elsewhere to wait there; of the ledger the margin and the time it was brought up to. Where there
# begin: of each site, price (per unit of the first kind and second), work left, and the ledger's rows; delays (s) and seconds per
# byte between sites, row by row; the bytes of each job (-1: no such rows)
VALUE, REHOME_S, REHOME_SHARE, MARGIN, UPTO, PRICE, LEFT, LEDGER, DELAY, PER_BYTE, BYTES, FIGURES = (
    0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11,
)  # fmt: skip

# a row of the ledger, one a site: what its own jobs have waited less than alone, and would have waited alone (s, all jobs together);
# the same in bounded slowdown; how many wait now, and would wait alone; the loan (s)
CREDIT, ALONE, CREDIT_SLOW, ALONE_SLOW, NOW_HERE, NOW_ALONE, LOAN_ROW, LEDGER_ROW = 0, 1, 2, 3, 4, 5, 6, 7

KEPT_JOBS, KEPT_ROW, KEPT = 0, 1, 2  # the first words of `kept`


class Net(NamedTuple):
    """word: int64; num: float64; ahead, pick: int64 scratch, see `outlook.scratch`, and one word a job; kept: int64, how many jobs at most the
    outlook on a site is kept for, the words of one, then one a site."""

    word: Words
    num: Numbers
    ahead: Words
    pick: Words
    kept: Words


def place_of(net: Net, j: int) -> int:
    """The site where job j is or was, -1 for none yet."""
    return int(net.word[net.word[PLACE] + j])


def home_of(net: Net, j: int) -> int:
    return int(net.word[net.word[HOME] + j])


def outlook_at(net: Net, s: int) -> int:
    """Where the outlook on site s begins in net.kept."""
    return int(KEPT + s * net.kept[KEPT_ROW])


def delay(net: Net, j: int, a: int, b: int) -> int:
    """Seconds to bring job j's data from site a to site b."""
    if a == b or net.num[DELAY] < 0:
        return 0
    at = a * net.word[SITES] + b
    seconds = net.num[int(net.num[DELAY]) + at]
    if net.num[BYTES] >= 0:
        seconds += net.num[int(net.num[BYTES]) + j] * net.num[int(net.num[PER_BYTE]) + at]
    return int(seconds)


def ledger_at(net: Net, s: int) -> int:
    """Where the ledger's row of site s begins in net.num."""
    return int(net.num[LEDGER]) + s * LEDGER_ROW
