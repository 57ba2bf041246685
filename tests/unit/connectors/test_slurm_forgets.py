"""What Slurm's records leave out, read from recorded text of 22.05."""

from __future__ import annotations

from tidegrid.connectors.slurm.commands import AccountRow, Config, Sacct, Sinfo, Squeue
from tidegrid.connectors.slurm.cursor import Cursor
from tidegrid.connectors.slurm.evidence import interpret
from tidegrid.connectors.slurm.facts import all_told, facts_of
from tidegrid.connectors.slurm.shell import Output
from tidegrid.domain.attempt import Ended, Reason

QUEUE = """\
7|N/A|FAILED|NonZeroExitCode|1795494600|1795494601|1795494603|{status}|0|alpha1|tg-0sattsyf6brtz|(null)|
"""
ACCOUNTED = """\
7|7|FAILED|{code}|1795494600|1795494601|1795494603|alpha1||tg-0sattsyf6brtz
7.batch|7.batch|FAILED|{code}|1795494601|1795494601|1795494603|alpha1|5242880|batch
"""
CONFIG = """\
Configuration data as of 1795494700
BOOT_TIME               = {boot}
MinJobAge               = 300 sec
SLURM_VERSION           = 22.05.8
SlurmdTimeout           = 30 sec
"""
NODE = "cpu*|{name}|0/32/0/32|128000|0|(null)|gpu:0|{state}|2-00:00:00|\n"


def rows(text: str) -> list[AccountRow]:
    return Sacct(0).parse(Output(0, text, ""))


def ends(queue: str, accounted: str) -> list[Ended]:
    seen = Squeue().parse(Output(0, queue, ""))
    _, records = interpret(seen, rows(accounted), Cursor(upto=1795494590), 1795494604)
    return [r.event for r in records if isinstance(r.event, Ended)]


def test_an_exit_status_from_128_on_is_taken_from_the_controller() -> None:
    # sacct shows 255:0 as 127:0 and 137:0 as 9:0; squeue has the wait status itself
    for status, code, told in ((255 << 8, "127:0", 255), (137 << 8, "9:0", 137), (3 << 8, "3:0", 3), (9, "0:9", 137)):
        (end,) = ends(QUEUE.format(status=status), ACCOUNTED.format(code=code))
        assert (end.reason, end.exit_code, end.peak_mib) == (Reason.FAILED, told, 5), code


def test_without_the_controllers_row_accounting_is_all_there_is() -> None:
    (end,) = ends("", ACCOUNTED.format(code="9:0"))
    assert end.exit_code == 9
    other = QUEUE.format(status=255 << 8).replace("1795494603", "1795494700")  # another end of the same id
    (end,) = [e for e in ends(other, ACCOUNTED.format(code="9:0")) if e.ended_at == 1795494603_000_000]
    assert end.exit_code == 9


def test_a_row_that_is_rewritten_is_the_same_run_and_a_requeue_is_another() -> None:
    cursor = Cursor(upto=1795494590)
    alive = "7|N/A|RUNNING|None|{submitted}|1795494601|0|0|0|alpha1|tg-0sattsyf6brtz|(null)|\n"
    restarts = []
    for submitted, end in ((1795494600, 1795494603), (1795494600, 1795494610), (1795494620, 1795494615)):
        told_ = ACCOUNTED.format(code="0:0").replace("1795494603", str(end))
        seen = Squeue().parse(Output(0, alive.format(submitted=submitted), ""))
        _, records = interpret(seen, rows(told_), cursor, 1795494640)
        restarts += [r.event.restart for r in records if isinstance(r.event, Ended)]
    assert restarts == [0, 0, 0] and cursor.again == {(7, 0): 1}, "only the last is followed by a new submission"


def test_an_end_whose_start_accounting_rewrites_is_told_again() -> None:
    """A launch that a killed controller forgot keeps its start in accounting until that hears of a later one."""
    cursor, found = Cursor(upto=1795494590), []
    for start in (1795494596, 1795494596, 1795494603, 1795494603):
        cursor = Cursor.parse(cursor.text())
        _, records = interpret([], rows(ACCOUNTED.format(code="75:0").replace("1795494601", str(start))), cursor, 1795494640)
        found += [(r.event.started_at or 0) // 1_000_000 for r in records if isinstance(r.event, Ended)]
    assert found == [1795494596, 1795494603]


def test_a_cursor_without_starts_tells_nothing_again() -> None:
    cursor = Cursor.parse('{"u":1795494590,"w":0,"s":{},"a":{"1795494603":{"0":"7"}},"c":{},"r":{}}')
    _, records = interpret([], rows(ACCOUNTED.format(code="0:0")), cursor, 1795494640)
    assert records == ()
    assert '"a":{"1795494603":{"0":"7"}}' in cursor.text()


def test_what_was_told_to_stop_has_ended_once_it_is_listed_no_more() -> None:
    """Accounting has the end of a job that is past its time as soon as that is told to stop; it goes on for `KillWait`."""
    listed = "7|N/A|{state}|None|1795494600|1795494601|{end}|0|0|alpha1|tg-0sattsyf6brtz|(null)|\n"
    told_ = ACCOUNTED.replace("FAILED", "TIMEOUT").format(code="0:0")

    def look(cursor: Cursor, queue: str, now: int) -> tuple[list[str], list[str]]:
        jobs, records = interpret(Squeue().parse(Output(0, queue, "")), rows(told_), cursor, now, kill_wait_s=30)
        ends = [str(r.event.reason) for r in records if isinstance(r.event, Ended)]
        return [f"{j.native_id} {j.running}" for j in jobs], ends

    cursor = Cursor(upto=1795494620)
    for state, end in (("RUNNING", 0), ("COMPLETING", 1795494603)):
        assert look(cursor, listed.format(state=state, end=end), 1795494605) == (["7 (0,)"], [])
        assert cursor.upto == 1795494603, "read again, however late it is told"
    assert look(cursor, listed.format(state="TIMEOUT", end=1795494603), 1795494606) == ([], ["timeout"])
    # a node that cannot stop it, and a controller that has forgotten the end, keep nobody waiting for ever
    assert look(Cursor(upto=1795494600), listed.format(state="COMPLETING", end=1795494603), 1795494639)[1] == ["timeout"]
    requeued = listed.format(state="RUNNING", end=0).replace("|1795494601|", "|1795494604|")
    assert look(Cursor(upto=1795494600), requeued, 1795494605)[1] == ["timeout"], "of another launch"


def told(boot: int, *states: str, now: int = 1795494700) -> bool:
    facts = facts_of(Config().parse(Output(0, CONFIG.format(boot=boot), "")))
    text = "".join(NODE.format(name=f"alpha{i}", state=s) for i, s in enumerate(states))
    return all_told(facts, Sinfo().parse(Output(0, text, "")), now)


def test_what_a_controller_does_not_know_does_not_run_once_every_node_has_registered() -> None:
    assert told(1795494600, "idle", "mixed", "draining", "drained")
    assert not told(1795494680, "idle"), "it has just started: nodes have 30 s to register"
    for state in ("down", "down*", "idle*", "unknown*", "powered_down", "mixed*"):
        assert not told(1795494600, "idle", state), state
    assert not told(1795494600)
