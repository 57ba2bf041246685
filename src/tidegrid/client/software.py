"""Where applications run: installations, their verification, machine cards."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from tidegrid.client.calls import Calls, View, quoted


class Software(Calls):
    """A part of `Tide`."""

    def installations(self, *, app: str | None = None, partition: str | None = None, state: str | None = None) -> list[View]:
        """app: `id` or `id@version`; partition: `cluster` or `cluster/partition`."""
        params = {"app": app, "partition": partition, "state": state}
        found: list[View] = self._view("GET", "/installations", params=params)["items"]
        return found

    def set_installation(self, app: str, place: str, state: str, *, reason: str = "") -> View:
        """state: wanted, installed, tuned or withdrawn. For operators."""
        return self._view("PUT", f"/installations/{quoted(app)}/{_place(place)}", json={"state": state, "reason": reason})

    def installation_history(self, app: str, place: str, *, page: int = 100) -> Iterator[View]:
        """Newest first."""
        return self._pages(f"/installations/{quoted(app)}/{_place(place)}/history", page)

    def verify(self, app: str, *, partitions: Sequence[str] = (), tests: Sequence[str] = (), runs: int = 1) -> list[View]:
        """Run acceptance tests as jobs where the application is; what has begun is returned, see `wait_trials`. For operators."""
        body = {"partitions": list(partitions), "tests": list(tests), "runs": runs}
        found: list[View] = self._view("POST", f"/apps/{quoted(app)}/verifications", retry=False, json=body)["items"]
        return found

    def trials(self, *, app: str | None = None, kind: str | None = None, page: int = 100) -> Iterator[View]:
        """Jobs that verify or measure, newest first. For operators."""
        return self._pages("/trials", page, app=app, kind=kind)

    def wait_trials(
        self, begun: Sequence[View], *, timeout: float | None = None, every: float = 0.5, seen: Callable[[View], None] | None = None
    ) -> list[View]:
        """The same trials once they have been judged, in their order. timeout in seconds: TimeoutError; seen: called with each as it
        is judged."""
        ids = [t["id"] for t in begun]
        done: dict[str, View] = {}
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            left = set(ids) - set(done)
            for t in self.trials(app=begun[0]["app"], kind=begun[0]["kind"]) if left else ():
                if t["id"] in left and t["state"] != "running":
                    done[t["id"]] = t
                    if seen is not None:
                        seen(t)
                if t["id"] <= min(left):
                    break
            if len(done) == len(ids):
                return [done[i] for i in ids]
            if end is not None and time.monotonic() >= end:
                raise TimeoutError(f"{len(ids) - len(done)} of {len(ids)} trials still run after {timeout} s")
            self._sleep(every)

    def licences(self) -> list[View]:
        """Pools: how many there are and how many are free."""
        return self._items("/licences")

    def machine_cards(self) -> list[View]:
        """The newest of every partition that has one."""
        return self._items("/machine-cards")

    def machine_card(self, place: str, *, page: int = 100) -> Iterator[View]:
        """All cards of a partition, newest first."""
        return self._pages(f"/machine-cards/{_place(place)}", page)

    def measure_machine(self, place: str) -> View:
        """Begin to measure a node of a partition; see `wait_trials`. For operators."""
        return self._view("POST", f"/machine-cards/{_place(place)}", retry=False)

    # Porting board, for operators -------------------------------------------------------------------------------------

    def porting(self, *, days: int = 90) -> list[View]:
        """Items and candidates, highest score first. days: of demand that count."""
        found: list[View] = self._view("GET", "/porting", params={"days": days})["items"]
        return found

    def porting_item(self, item: str) -> View:
        """With its history."""
        return self._view("GET", f"/porting/{quoted(item)}")

    def add_porting(self, app: str, arch: str, effort_days: float, *, note: str = "") -> View:
        body = {"app": app, "arch": arch, "effort_days": effort_days, "note": note}
        return self._view("POST", "/porting", retry=False, json=body)

    def move_porting(self, item: str, **changes: Any) -> View:
        """changes: state, effort_days, note."""
        return self._view("POST", f"/porting/{quoted(item)}/move", retry=False, json=changes)

    # ------------------------------------------------------------------------------------------------------------------

    def _pages(self, path: str, page: int, **params: Any) -> Iterator[View]:
        after: str | None = None
        while True:
            found = self._view("GET", path, params={**params, "limit": page, "after": after})
            yield from found["items"]
            after = found.get("next")
            if after is None:
                return


def _place(place: str) -> str:
    cluster, _, partition = place.partition("/")
    return f"{quoted(cluster)}/{quoted(partition)}"
