"""What the broker of many sites remembers, as flat rows beside the sites' own state, and what stands where.

Kernel source: plain Python over lists, or compiled over arrays.
"""

from __future__ import annotations

from typing import NamedTuple

from tidegrid.scheduling.kernel.chances import TABLE
from tidegrid.scheduling.kernel.layout import FOREVER, Numbers, Words

HOME_ONLY, EARLIEST, LEAST, TWO, TIDE = 0, 1, 2, 3, 4  # RULE

# the first words of a broker: rule, sites, jobs, what fairness is kept by (0: none, 1: waits, 2: waits and slowdowns), state of the
# draw, jobs moved while they waited, when waiting jobs were last looked at, whether deadlines are kept at
# p90; where there begin: each job's site (-1: none yet) and home (with a ledger also whether it has ended), when each site's next
# event is, what each site has open to those that wait elsewhere
RULE, SITES, JOBS, FAIR, DRAW, MOVES, LOOKED, SURE, PLACE, HOME, AHEAD, GATES, WORDS = (
    0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12,
)  # fmt: skip

# the first figures: what a second of waiting is worth, in the unit of the prices, the share of a spread that counts, weights of price
# and cost; how often waiting jobs are looked at (s); of the ledger the margin and the time it was brought up to. Where there
# begin: of each site price and cost (per unit of the first kind and second), work left, the table of what forward runs were worth,
# the ledger's rows; what was told of each job; the rules of moving; delays (s) and seconds per byte between sites, row by row; of
# each job its deadline and its bytes (-1: no such rows). Last the bytes that were brought from site to site
SECOND, RISK, PRICE_WEIGHT, COST_WEIGHT, EVERY, MARGIN, UPTO = 0, 1, 2, 3, 4, 5, 6
PRICE, COST, LEFT, TABLES, LEDGER, TOLD, MOVING, DELAY, PER_BYTE, DEADLINE, BYTES, CARRIED, FIGURES = (
    7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19,
)  # fmt: skip

# what was told of a job where it was sent: when its wait there began, what the forward run gave, the chance to start at once, p90; how
# often it was moved
SINCE, FORECAST, CHANCE, MEDIAN, LONGEST, MOVED, TOLD_ROW = 0, 1, 2, 3, 4, 5, 6

# a row of the ledger, one a site: what its own jobs have waited less than alone, and would have waited alone (s, all jobs together);
# the same in bounded slowdown; how many wait now, and would wait alone; the loan (s)
CREDIT, ALONE, CREDIT_SLOW, ALONE_SLOW, NOW_HERE, NOW_ALONE, LOAN_ROW, LEDGER_ROW = 0, 1, 2, 3, 4, 5, 6, 7

# what a site has open: room of the first kind, by when one must end that takes more than what is left over, what that is, whether it takes guests;
# whether the site has changed since
GATE_ROOM, GATE_UNTIL, GATE_EXTRA, GATE_OPEN, GATE_OLD, GATE = 0, 1, 2, 3, 4, 5

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


def table_at(net: Net, s: int) -> int:
    """Where the table of what forward runs were worth at site s begins in net.num."""
    return int(net.num[TABLES]) + s * TABLE


def told_at(net: Net, j: int) -> int:
    """Where the row of what was told of job j begins in net.num."""
    return int(net.num[TOLD]) + j * TOLD_ROW


def due(net: Net, j: int) -> float:
    """The deadline of job j, FOREVER for none."""
    return float(net.num[int(net.num[DEADLINE]) + j]) if net.num[DEADLINE] >= 0 else float(FOREVER)
