"""What squeue says of a queue that is to be steered."""

from __future__ import annotations

import pytest

from tidegrid.connectors.contract import SiteUnsure
from tidegrid.connectors.slurm.shell import Output
from tidegrid.connectors.slurm.steering import Look, limit_s

# of Slurm 22.05, `squeue -h -a -t all -p cpu -O …` with SLURM_TIME_FORMAT=%s
ANSWER = """1795596528
=
7 3
99 5
=
32/96/0/128
=
4|root|RUNNING|None|1795596400|10:00|32|4294901756|0|1795596401|1795597001|4|
7|ada|PENDING|Priority|1795596402|1:00:00|32|4294901753|-2|N/A|N/A|7|
8|bob|PENDING|JobHeldUser|1795596402|5:00|2|0|0|N/A|N/A|8|
9|bob|PENDING|Dependency|1795596402|5:00|2|4294901751|0|N/A|N/A|9|
10|bob|PENDING|Resources|1795596402|2-00:00:00|128|4294901750|0|N/A|N/A|10|
3|ada|COMPLETED|None|1795596300|UNLIMITED|1|4294901757|0|1795596310|1795596340|3|
2|ada|TIMEOUT|None|1795596300|1:00|1|4294901758|0|1795596310|1795596370|2|
"""


def test_the_queue_is_read_with_what_was_written_down():
    seen = Look("cpu", "/root/steer/cpu").parse(Output(0, ANSWER, ""))
    assert (seen.at, seen.cores) == (1795596528, 128)
    first, second = seen.waiting  # held and dependent jobs are nobody's to move
    assert (first.id, first.user, first.limit_s, first.nice, first.own_nice) == ("7", "ada", 3600, -2, 3)
    assert first.base == 4294901753 - 2 - 3
    assert (second.id, second.limit_s, second.own_nice) == ("10", 172_800, 0)
    assert [(e.user, e.ran_s) for _, e in seen.ended] == [("ada", 30), ("ada", 60)]


@pytest.mark.parametrize(("text", "seconds"), [("5:00", 300), ("1:00:00", 3600), ("2-00:00:00", 172_800), ("0:30", 30), ("1-2", 93_600)])
def test_limits(text: str, seconds: int):
    assert limit_s(text) == seconds


@pytest.mark.parametrize("answer", [Output(1, "", "slurm_load_jobs error: Unable to contact slurm controller (connect failure)"),
                                    Output(0, ANSWER.replace("|N/A|N/A|7|", "|"), ""), Output(0, "", ""), Output(124, "", "")])  # fmt: skip
def test_no_answer_is_no_empty_queue(answer: Output):
    with pytest.raises(SiteUnsure):
        Look("cpu", "/root/steer/cpu").parse(answer)
