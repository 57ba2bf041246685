"""The real platform behind a real socket, in a thread with its own loop: for tests that talk to it as users do."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from tests.parts.platform import Running, running
from tests.parts.served import listening, quick_server
from tidegrid.client import Tide
from tidegrid.server.app import create_app
from tidegrid.server.auth import digest
from tidegrid.store import orgs


@dataclass
class World:
    """url; running: the platform; loop: where it runs."""

    url: str
    running: Running
    loop: asyncio.AbstractEventLoop
    tokens: dict[str, str] = field(default_factory=dict)

    def call(self, work: Coroutine[Any, Any, Any]) -> Any:
        """The result of a coroutine run where the platform runs."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)

    def token(self, org: str, user: str, role: str) -> str:
        """A token of a user of an organisation that exists; the user is made where missing."""
        platform, secret = self.running.platform, f"tide_{org}_{user}"

        def work(conn: Any) -> None:
            at, org_row = platform.now(), orgs.get_org(conn, org)
            assert org_row is not None, org
            if orgs.get_user(conn, org_row["id"], user) is None:
                orgs.create_user(conn, id=platform.ids.new(), org_id=org_row["id"], name=user, role=role, at=at)
            user_row = orgs.get_user(conn, org_row["id"], user)
            assert user_row is not None and user_row["role"] == role
            orgs.create_token(conn, id=platform.ids.new(), org_id=org_row["id"], user_id=user_row["id"],
                              hash=digest(secret), at=at, label=f"of {user}")  # fmt: skip

        platform.store.write_sync(work)
        return secret

    def http(self, token: str) -> httpx.Client:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return httpx.Client(base_url=self.url + "/api/v1", headers=headers, timeout=30, trust_env=False)

    def tide(self, token: str) -> Tide:
        return Tide(self.url, token)


@contextmanager
def served_platform(home: Path, **options: Any) -> Iterator[World]:
    """options: of `tests.parts.platform.running`."""
    (home / "clusters").mkdir(parents=True, exist_ok=True)
    found: list[World] = []
    failed: list[BaseException] = []
    ready, stop = threading.Event(), threading.Event()

    async def main() -> None:
        async with running(home, **options) as net:
            with listening() as sock:
                server = quick_server(uvicorn.Config(create_app(net.platform), log_config=None, lifespan="off",
                                                     timeout_graceful_shutdown=1))  # fmt: skip
                serving = asyncio.create_task(server.serve(sockets=[sock]))
                while not server.started:
                    await asyncio.sleep(0.005)
                url = f"http://127.0.0.1:{sock.getsockname()[1]}"
                found.append(World(url, net, asyncio.get_running_loop()))
                ready.set()
                await asyncio.to_thread(stop.wait)
                server.should_exit = True
                await serving

    def thread() -> None:
        try:
            asyncio.run(main())
        except BaseException as error:  # noqa: BLE001 - told where the test waits
            failed.append(error)
        finally:
            ready.set()

    runner = threading.Thread(target=thread, daemon=True)
    runner.start()
    ready.wait(60)
    if not found:
        raise RuntimeError("the platform did not start") from (failed[0] if failed else None)
    try:
        yield found[0]
    finally:
        stop.set()
        runner.join(60)
    if failed:
        raise failed[0]
