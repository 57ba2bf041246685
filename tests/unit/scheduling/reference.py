"""A queue simulated in the plainest way: every job a dict, every list sorted anew at every event. What the kernel is held to."""

from __future__ import annotations

import math
from typing import Any

from tidegrid.scheduling.kernel.policy import Policy

Job = dict[str, Any]
MOVING = ("wfp3", "unicef", "xfactor", "fair", "response")
STEPS = [60, 300, 900, 1800, 3600, *(7200 * 2**i for i in range(9))]


def fits(need: list[int], room: list[int]) -> bool:
    return all(n <= r for n, r in zip(need, room, strict=True))


def minus(room: list[int], need: list[int]) -> list[int]:
    return [r - n for r, n in zip(room, need, strict=True)]


class Site:
    def __init__(self, capacity: list[int], policy: Policy) -> None:
        self.capacity, self.policy = capacity, policy
        self.waiting: list[Job] = []
        self.running: list[Job] = []
        self.past: dict[int, list[tuple[int, int]]] = {}
        self.usage: dict[int, tuple[float, float]] = {}
        self.arrived = 0
        self.wake: int | None = None

    def free(self) -> list[int]:
        room = list(self.capacity)
        for job in self.running:
            room = minus(room, job["need"])
        return room

    def planned(self, job: Job) -> int:
        estimate = job["estimate"]
        past = self.past.get(job["user"], []) if job["user"] >= 0 else []
        match self.policy.predictor:
            case "clairvoyant":
                return job["run"]
            case "last2" if len(past) >= 2:
                return max(1, min(int((past[-1][0] + past[-2][0]) / 2.0), estimate))
            case "alike" if job["user"] >= 0:
                return max(1, min(int(self.alike(past[-16:], estimate)), estimate))
            case "quantile" if len(past) >= 2:
                shares = sorted(ran / max(asked, 1) for ran, asked in past[-16:])
                share = min(1.0, shares[math.ceil(self.policy.quantile * len(shares)) - 1])
                return max(1, min(int(share * estimate), estimate))
        return estimate

    def alike(self, past: list[tuple[int, int]], estimate: int) -> float:
        p = self.policy
        total, weight = p.own_word, 1.0
        product = total * math.log(max(estimate, 1))
        for ran, asked in reversed(past):
            w = weight * (1.0 if asked == estimate else p.other_estimate)
            total, product = total + w, product + w * math.log(max(ran / max(asked, 1) * max(asked, 1), 1.0))
            weight *= p.fading
        return math.exp(product / total)

    def enter(self, job: Job) -> None:
        job["planned"], job["seq"] = self.planned(job), self.arrived
        self.arrived += 1
        self.waiting.append(job)

    def size(self, job: Job) -> float:
        shares = [n * (self.capacity[0] / c) for n, c in zip(job["need"][1:], self.capacity[1:], strict=True) if c]
        return max([float(job["need"][0]), *shares])

    def used(self, user: int, now: int) -> float:
        usage, then = self.usage.get(user, (0.0, 0.0))
        return usage * math.exp(-math.log(2.0) * max((now - then) / self.policy.half_life_s, 0.0))

    def charge(self, job: Job, now: int, seconds: int) -> None:
        if job["user"] < 0:
            return
        self.usage[job["user"]] = self.used(job["user"], now) + float(seconds * job["need"][0]), float(now)

    def score(self, job: Job, now: int) -> float:
        time = job["planned"] if self.policy.by_planned else job["estimate"]
        n, r, s, w = self.size(job), float(max(time, 1)), math.log10(max(job["submit"], 1)), float(now - job["submit"])
        return {
            "fcfs": lambda: float(job["submit"]),
            "sjf": lambda: float(time),
            "saf": lambda: time * n,
            "f1": lambda: math.log10(r) * n + 870.0 * s,
            "f2": lambda: math.sqrt(r) * n + 25600.0 * s,
            "f3": lambda: r * n + 6.86e6 * s,
            "f4": lambda: r * math.sqrt(n) + 5.3e5 * s,
            "wfp3": lambda: -((w / r) * (w / r) * (w / r) * n),
            "unicef": lambda: -w / (math.log2(max(n, 2.0)) * r),
            "xfactor": lambda: -(w + r) / r,
            "fair": lambda: self.used(job["user"], now),
            "response": lambda: -((w + self.policy.patience_s) ** self.policy.ageing) / (r * n**self.policy.wideness),
        }[self.policy.order]()

    def first(self, now: int) -> Job | None:
        """Who is served next: who waits for too long, longest first; then by the order."""
        able = [job for job in self.waiting if fits(job["need"], self.capacity)]
        guard = int(self.policy.guard_s)
        late = [job for job in able if guard and self.policy.order != "fcfs" and job["submit"] <= now - guard]
        if late:
            return min(late, key=lambda job: (job["submit"], job["seq"]))
        return min(able, key=lambda job: (self.score(job, now), job["seq"]), default=None)

    def start(self, job: Job, now: int) -> None:
        self.waiting.remove(job)
        self.running.append(job)
        length = job["estimate"] if self.policy.sure else job["planned"]
        job |= {"start": now, "expected": now + length, "put_off": 0}
        if self.policy.order == "fair":
            self.charge(job, now, job["planned"])

    def end(self, job: Job) -> None:
        self.running.remove(job)
        self.past.setdefault(job["user"], []).append((job["run"], job["estimate"]))
        if self.policy.predictor == "alike" and self.policy.fill == "queue" and self.policy.order in MOVING:
            for other in self.waiting:
                other["planned"] = self.planned(other)
        if self.policy.order == "fair":
            self.charge(job, job["start"] + job["run"], job["run"] - job["planned"])

    def put_off(self, now: int) -> None:
        for job in self.running:
            estimate = job["estimate"]
            while job["expected"] <= now and job["expected"] - job["start"] < estimate:
                planned = job["expected"] - job["start"]
                longer = {
                    "steps": planned + STEPS[min(job["put_off"], len(STEPS) - 1)], "doubling": 2 * max(planned, 1), "estimate": estimate,
                }[self.policy.put_off]  # fmt: skip
                job["expected"], job["put_off"] = job["start"] + min(longer, estimate), job["put_off"] + 1

    def shadow(self, head: Job, now: int) -> tuple[float, list[int]]:
        for then in sorted({max(job["expected"], now) for job in self.running}):
            room = self.free()
            for job in self.running:
                if max(job["expected"], now) <= then:
                    room = [r + n for r, n in zip(room, job["need"], strict=True)]
            if fits(head["need"], room):
                return then, minus(room, head["need"])
        raise AssertionError("the head was possible")

    def schedule(self, now: int) -> None:
        self.put_off(now)
        if self.policy.backfill == "conservative":
            self.reserve_all(now)
            return
        while (head := self.first(now)) is not None and fits(head["need"], self.free()):
            self.start(head, now)
        if head is None or self.policy.backfill == "none":
            return
        shadow, extra = self.shadow(head, now)
        key = {
            "queue": lambda job: (self.score(job, now), job["seq"]),
            "shortest": lambda job: (job["planned"], job["seq"]),
            "smallest": lambda job: (job["planned"] * self.size(job), job["seq"]),
        }[self.policy.fill]
        length = "estimate" if self.policy.sure and 0 < self.policy.guard_s <= now - head["submit"] else "planned"
        while True:
            late = {job["seq"]: now + job[length] > shadow for job in self.waiting}
            may = [
                job for job in self.waiting
                if job is not head and fits(job["need"], self.free()) and (not late[job["seq"]] or fits(job["need"], extra))
            ]  # fmt: skip
            if not may:
                return
            job = min(may, key=key)
            extra = minus(extra, job["need"]) if late[job["seq"]] else extra
            self.start(job, now)


    def free_at(self, then: int, now: int) -> list[int]:
        room = self.free()
        for job in self.running:
            if max(job["expected"], now + 1) <= then:
                room = [r + n for r, n in zip(room, job["need"], strict=True)]
        for job in self.waiting:
            if job.get("reserved") is not None:
                begin = max(job["reserved"], now)
                if begin <= then < begin + max(job["planned"], 1):
                    room = minus(room, job["need"])
        return room

    def reserve_all(self, now: int) -> None:
        """Each job in turn: the first instant from which it fits for as long as it is planned, all others' reservations standing."""
        able = [job for job in self.waiting if fits(job["need"], self.capacity)]
        for job in sorted(able, key=lambda job: (self.score(job, now), job["seq"])):
            job["reserved"] = None
            times = {now, *(max(r["expected"], now + 1) for r in self.running)}
            for other in self.waiting:
                if other.get("reserved") is not None:
                    begin = max(other["reserved"], now)
                    times |= {begin, begin + max(other["planned"], 1)}
            job["reserved"] = next(
                then for then in sorted(times)
                if all(fits(job["need"], self.free_at(t, now)) for t in times if then <= t < then + max(job["planned"], 1))
            )  # fmt: skip
        for job in [job for job in self.waiting if job.get("reserved") == now]:
            self.start(job, now)
        self.wake = min((job["reserved"] for job in self.waiting if job.get("reserved") is not None), default=None)


def simulate(jobs: list[Job], capacity: list[int], policy: Policy) -> list[int]:
    """Starts of jobs, which are in order of submit; -1 for never."""
    site, left, now = Site(capacity, policy), list(jobs), 0
    while True:
        times = [job["start"] + job["run"] for job in site.running] + [job["submit"] for job in left[:1]]
        times += [] if site.wake is None else [site.wake]
        site.wake = None
        if not times:
            return [job.get("start", -1) for job in jobs]
        now = min(times)
        for job in sorted(site.running, key=lambda job: job["start"] + job["run"]):
            if job["start"] + job["run"] <= now:
                site.end(job)
        while left and left[0]["submit"] == now:
            site.enter(left.pop(0))
        site.schedule(now)
