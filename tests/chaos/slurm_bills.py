"""Bills of Slurm clusters against their accounting, or their controller's log of ends, and the jobs' own clocks.

Second clocks, and witnesses that forget: a controller that is killed may say an end twice (both count), overwrite a start by that of
a later launch (the record counts), or say nothing at all (then the charge must be marked estimated). Imports nothing of tidegrid.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from tests.chaos.runs import REFUSED, Run, Verdict, micros

SECOND = 1_000_000
CLOCK_US = 2 * SECOND  # a charge may be so far off the job's own clock where nothing was disturbed
FORGETS_US = 6 * SECOND  # what a killed controller forgets lies so far before it was killed
WALL_US = 95 * SECOND  # what every job asks for, a minute, and how late Slurm looks at it
BACK_US = 5 * SECOND  # what was cut off is heard again within so long, or not before it is removed
TELLS_AGAIN_US = 17 * SECOND  # slurmd tells an end again after 15 s where the controller did not answer

Key = tuple[str, str, int]  # cluster, attempt, task


def judge(
    v: Verdict, usage: list[dict[str, Any]], records: list[dict[str, Any]], runs: list[Run], outages: list[dict[str, Any]]
) -> None:
    charged = _charged(usage)
    told: dict[Key, list[dict[str, Any]]] = defaultdict(list)
    for r in records:
        if r.get("witness") and r["ended_us"] is not None:
            told[r["cluster"], r["attempt"], r["task"]].append(r)
    ran: dict[Key, list[Run]] = defaultdict(list)
    for run in runs:
        if run.cluster:
            ran[run.cluster, run.attempt, run.task].append(run)
    removed = {o["cluster"]: o.get("gone_us", o["begin_us"]) for o in outages if o["kind"] == "removed"}
    last_heard = {c: min([at, *(o["begin_us"] for o in outages if o["cluster"] == c and 0 <= at - (o["end_us"] or at) <= BACK_US)])
                  for c, at in removed.items()}  # fmt: skip
    killed = [(o["cluster"], o["begin_us"]) for o in outages if o["kind"] == "controller killed"]
    counts: dict[str, int] = defaultdict(int)
    for key in sorted(told.keys() | charged.keys() | ran.keys()):
        kind = _one(v, key, charged.get(key, []), told.get(key, []), ran.get(key, []), removed, last_heard, killed)
        if kind:
            counts[kind] += 1
    v.counts |= counts
    _clocks(v, charged, ran, outages)


def _charged(usage: Iterable[dict[str, Any]]) -> dict[Key, list[dict[str, Any]]]:
    """What counts, an entry for each execution, in the order of their starts."""
    grouped: dict[tuple[Key, int], list[dict[str, Any]]] = defaultdict(list)
    for u in usage:
        if not u.get("reversed"):
            grouped[(u["cluster"], u["attempt"], u["task"]), u["restart"]].append(u)
    out: dict[Key, list[dict[str, Any]]] = defaultdict(list)
    for (key, _), segments in grouped.items():
        first, last = segments[0], segments[-1]
        out[key].append(
            {
                "start": min(micros(s["started_at"]) for s in segments), "end": max(micros(s["ended_at"]) for s in segments),
                "ms": sum(s["elapsed_ms"] for s in segments), "cores": first["cores"], "source": last["source"],
                "estimated": any(s["estimated"] for s in segments),
            }
        )  # fmt: skip
    for executions in out.values():
        executions.sort(key=lambda c: int(c["start"]))
    return out


def _one(
    v: Verdict, key: Key, charged: list[dict[str, Any]], told: list[dict[str, Any]], ran: list[Run], removed: dict[str, int],
    last_heard: dict[str, int], killed: list[tuple[str, int]],
) -> str:
    """One task of one attempt: how it was found to be charged where that was not by an equal record; or a violation."""  # fmt: skip
    name, kind = " ".join(map(str, key)), ""
    left = list(charged)
    worked = [r for r in told if _worked(r, ran)]
    for start in sorted({r["started_us"] for r in worked}):  # an end that was told twice is one run
        ends = [r for r in worked if r["started_us"] == start]
        match = next((c for c in left if c["start"] == start), None)
        estimate = match or next((c for c in left if c["estimated"]), None)
        last = max(r["ended_us"] for r in ends)
        gone = key[0] in removed and last > last_heard[key[0]] - CLOCK_US
        forgot = ends[0]["witness"] == "controller" and any(c == key[0] and 0 <= at - last <= FORGETS_US for c, at in killed)
        if estimate is not None and estimate["estimated"] and estimate["source"] == "provisional" and (gone or forgot):
            left.remove(estimate)  # what it had noted it did not tell any more
            kind = "told_to_its_log_only"
        elif match is None and estimate is not None and forgot:
            pass  # by a later launch, see below
        elif match is not None:
            left.remove(match)
            _same(v, name, match, ends)
        elif not gone:
            v.bad("unbilled", f"{name}: {[(r['started_us'], r['ended_us'], r['reason']) for r in ends]}, charged {charged}")
    for c in left:
        if c["estimated"] and c["ms"] == 0:
            kind = "forgotten_and_free"  # a launch that its cluster lost sight of; what had an end has its clock compared
            continue
        told_so = [r for r in told if c["start"] == r["started_us"] and c["end"] == r["ended_us"]]
        if any(ran or str(r.get("fence", "")).startswith(f"{r['native_id']}:") for r in told_so):
            kind = "charged_by_a_later_launch"  # that came to nothing: all that the cluster remembers of the first
        elif told_so:
            v.bad("overbilled", f"{name}: refused before its application started, and charged: {c}")
        elif key[0] in removed:
            if c["end"] > removed[key[0]] + SECOND:
                v.bad("overbilled", f"{name}: charged beyond its cluster's end at {removed[key[0]]}: {c}")
            kind = "charged_to_the_last_sign_of_life"
        elif not ran or worked:
            v.bad("overbilled", f"{name}: {c}; the cluster has {[(r['started_us'], r['ended_us'], r['reason']) for r in told]}")
        elif not c["estimated"] and any(k == key[0] and c["start"] - CLOCK_US <= at <= c["end"] + FORGETS_US for k, at in killed):
            kind = "its_record_was_overwritten"  # by a controller that forgot the run: its clock is compared
        elif not c["estimated"]:
            v.bad("usage_differs", f"{name}: no record of it, and charged as if there were: {c}")
        else:
            kind = "charged_without_a_record"
    if ran and not told and not charged and key[0] not in removed:
        v.bad("unbilled", f"{name}: ran, {ran[0].start // 1000}, was forgotten by its cluster and is charged nothing")
    return kind


def _worked(record: dict[str, Any], ran: list[Run]) -> bool:
    """Whether the record is of a run that its fence let through, and so has to be paid; what the site cancelled at once, and what
    its prologue refused, is not."""
    inside = any(record["started_us"] - SECOND <= r.start / 1000 <= record["ended_us"] + SECOND for r in ran)
    if inside:
        return True
    refused = record["exit"] == REFUSED or str(record.get("fence", "")).startswith("server:")
    at_once = record["reason"].startswith("CANCELLED") and record["ended_us"] - record["started_us"] <= 10 * SECOND
    return not (refused or at_once)


def _same(v: Verdict, name: str, c: dict[str, Any], records: list[dict[str, Any]]) -> None:
    """The record's elapsed time and allocation, to the second and the core; the final one where there is accounting."""
    if not any(c["end"] == r["ended_us"] and c["ms"] * 1000 == r["ended_us"] - r["started_us"] for r in records):
        v.bad("usage_differs", f"{name}: charged {c}, recorded {[(r['started_us'], r['ended_us'], r['reason']) for r in records]}")
        return
    if all(c["cores"] != r["cores"] for r in records):
        v.bad("usage_differs", f"{name}: {c['cores']} cores are charged, {records[0]['cores']} were allocated")
    if c["estimated"] and records[0]["witness"] == "accounting":
        v.bad("usage_differs", f"{name}: still an estimate, and accounting knows better")


def _clocks(v: Verdict, charged: dict[Key, list[dict[str, Any]]], ran: dict[Key, list[Run]], outages: list[dict[str, Any]]) -> None:
    """Charged time against the jobs' own clocks: within 2 s; where a disturbance of the cluster touched start or end, within 2 s
    and the disturbance's length. An end that its controller was killed over and forgot lasts until that notices or the server gives
    the allocation back: there the record counts, counted here, and never beyond the wall time that was asked for."""
    calm: list[float] = []
    forgotten: list[float] = []
    worst = 0.0
    kills = [(o["cluster"], o["begin_us"]) for o in outages if o["kind"] == "controller killed"]
    for key, runs in ran.items():
        for run, c in zip(sorted(runs, key=lambda r: r.start), charged.get(key, []), strict=False):
            if run.end is None:
                continue
            begin_us, end_us = run.start / 1000 - run.waited_ms * 1000, run.end / 1000
            off = abs(c["ms"] * 1000 - (end_us - begin_us))
            outage = _outage(key[0], begin_us, end_us, outages)
            over = c["ms"] * 1000 - (end_us - begin_us)
            if over > CLOCK_US + outage and any(k == key[0] and 0 <= at - end_us <= FORGETS_US for k, at in kills):
                forgotten.append(over)
                outage = WALL_US - (end_us - begin_us)
            elif outage == 0:
                calm.append(off)
            else:
                worst = max(worst, off)
            if off > CLOCK_US + outage:
                v.bad("clock", f"{run.nonce}: charged {c['ms']} ms, its own clock says {(end_us - begin_us) / 1000:.0f}; outage {outage / SECOND:.1f} s")
    if forgotten:
        v.counts |= {"forgotten_ends": len(forgotten), "forgotten_longest_s": round(max(forgotten) / SECOND, 1)}
    calm.sort()
    if calm:
        v.counts |= {
            "clocks_undisturbed": len(calm), "clock_off_p50_s": round(calm[len(calm) // 2] / SECOND, 2),
            "clock_off_max_s": round(calm[-1] / SECOND, 2), "clock_off_max_disturbed_s": round(worst / SECOND, 2),
        }  # fmt: skip


def _outage(cluster: str, begin_us: float, end_us: float, outages: list[dict[str, Any]]) -> float:
    """How long the cluster was disturbed around start or end, µs; 0 for calm. A killed controller has forgotten the seconds before,
    and hears of ends in its absence only when they are told again."""
    total = 0.0
    for o in outages:
        if o["cluster"] != cluster or o["end_us"] is None:
            continue
        before = FORGETS_US if o["kind"] == "controller killed" else 0
        after = TELLS_AGAIN_US if "sshd" not in o["kind"] else 0
        if any(o["begin_us"] - before <= at <= o["end_us"] + after for at in (begin_us, end_us)):
            total += o["end_us"] - o["begin_us"] + before + after
    return total
