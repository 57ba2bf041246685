"""An embedded cluster as the server sees it. Answers are read strictly: what is not exactly an answer is `SiteUnsure`."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from tidegrid.connectors.contract import (
    Listed,
    NodeLoad,
    Observation,
    Record,
    SiteFiles,
    SiteRefused,
    SiteUnsure,
    SubmitRequest,
)
from tidegrid.connectors.statement import Allocation, Statement
from tidegrid.connectors.transport import Transport
from tidegrid.domain.attempt import Ended, Reason, Started
from tidegrid.domain.errors import TideError
from tidegrid.domain.ranges import compress, expand

TIMEOUT_S = 10.0


class EmbeddedConnector:
    """timeout_s: for one answer."""

    def __init__(self, cluster: str, transport: Transport, files: SiteFiles, *, timeout_s: float = TIMEOUT_S) -> None:
        self.cluster, self.files = cluster, files
        self.transport, self._timeout_s = transport, timeout_s
        self._numbers = itertools.count(1)

    async def observe(self, cursor: str) -> Observation:
        asked = time.monotonic()
        answer = await self._ask({"op": "observe", "cursor": cursor})
        with _strictly():
            return Observation(
                jobs=tuple(_listed(j) for j in answer["jobs"]),
                records=tuple(_record(r) for r in answer["records"]),
                cursor=_text(answer["cursor"]),
                more=bool(answer["more"]),
                loads=tuple(_load(x) for x in answer["loads"]),
                site_time_us=_int(answer["time"]),
                boot=_text(answer["boot"]),
                loads_age_s=time.monotonic() - asked,
            )

    async def submit(self, request: SubmitRequest) -> str:
        if request.constraint or request.qos:
            raise SiteRefused("site.no_feature", f"{self.cluster} knows no features of nodes and no qualities of service")
        job = {
            "name": request.name,
            "directory": request.directory,
            "script": request.script,
            "partition": request.partition,
            "cores": request.cores,
            "memory_mib": request.memory_mib,
            "wall_s": request.wall_s,
            "nodes": request.nodes,
            "gpus": request.gpus,
            "gpu_type": request.gpu_type,
            "exclusive": request.exclusive,
            "tasks": compress(request.tasks),
            "array": request.array,
            "throttle": request.throttle,
            "env": dict(request.env),
        }
        answer = await self._ask({"op": "submit", "job": job})
        with _strictly():
            return _text(answer["id"])

    async def find(self, name: str) -> Listed | None:
        answer = await self._ask({"op": "find", "name": name})
        with _strictly():
            found = None if answer["job"] is None else _listed(answer["job"])
            if found is not None and found.name != name:
                raise ValueError(f"asked for {name}, told of {found.name}")
            return found

    async def cancel(self, name: str, native_id: str, tasks: Sequence[int] = ()) -> None:
        await self._ask({"op": "cancel", "name": name, "tasks": compress(tasks)})

    async def statement(self, since: int, until: int) -> Statement:
        """The supervisor's journal, which keeps every end; read from its beginning."""
        ended, cursor, more, at = [], "", True, 0
        while more:
            seen = await self.observe(cursor)
            cursor, more, at = seen.cursor, seen.more, seen.site_time_us
            ended += [(r.name, r.event) for r in seen.records if isinstance(r.event, Ended)]
        rows = [
            Allocation(e.native_id, name, e, 0 if e.started_at is None else (e.ended_at - e.started_at) // 1000)
            for name, e in ended
            if since <= e.ended_at // 1_000_000 < until
        ]
        return Statement(tuple(rows), at)

    async def close(self) -> None:
        await self.transport.close()

    async def _ask(self, request: dict[str, Any]) -> Mapping[str, Any]:
        request["q"] = next(self._numbers)
        data = await self.transport.exchange(json.dumps(request, separators=(",", ":")).encode(), self._timeout_s)
        with _strictly():
            answer = json.loads(data)
            if answer["q"] != request["q"]:
                raise ValueError("an answer to another question")
            if answer["ok"] is True:
                return answer  # type: ignore[no-any-return]
            refused = SiteRefused(_text(answer["code"]), _text(answer["message"]))
        raise refused


class _strictly:
    """Whatever goes wrong while reading an answer means that there is no trustworthy answer."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, (ValueError, KeyError, TypeError, IndexError, TideError, RecursionError)):
            raise SiteUnsure(f"unreadable answer: {error!r}"[:300], silent=False) from None


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"{value!r} is no text")
    return value


def _int(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{value!r} is no whole number")
    return value


def _listed(row: Any) -> Listed:
    name, native_id, waiting, running = row
    return Listed(_text(name), _text(native_id), expand(waiting), expand(running))


def _record(row: Any) -> Record:
    name, task, native_id = _text(row["n"]), _int(row["task"]), _text(row["i"])
    if row["k"] == "started":
        return Record(name, Started(task, 0, native_id, _int(row["at"])))
    if row["k"] != "ended":
        raise ValueError(f"a record of {row['k']!r}")
    return Record(
        name,
        Ended(
            task=task,
            restart=0,
            native_id=native_id,
            reason=Reason(row["reason"]),
            exit_code=None if row["exit"] is None else _int(row["exit"]),
            started_at=None if row["start"] is None else _int(row["start"]),
            ended_at=_int(row["at"]),
            peak_mib=None if row["peak"] is None else _int(row["peak"]),
        ),
    )


def _load(row: Any) -> NodeLoad:
    pairs = [(_int(t), _int(f)) for t, f in zip(row["total"], row["free"], strict=True)]
    cores, memory, gpus = pairs
    return NodeLoad(
        partition=_text(row["partition"]),
        cores=cores,
        memory_mib=memory,
        gpus=gpus,
        largest=_row(row["largest"], 3),
        running=tuple(_row(r, 4) for r in row["running"]),
        waiting=tuple(_row(r, 4) for r in row["waiting"]),
        holes=tuple(_row(r, 4) for r in row["holes"]),
        enforced={_text(k): _text(v) for k, v in row["enforced"].items()},
    )


def _row(values: Any, length: int) -> Any:
    row = tuple(_int(v) for v in values)
    if len(row) != length:
        raise ValueError(f"{len(row)} numbers where {length} belong")
    return row
