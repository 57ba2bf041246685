"""`tide up`: one process with API and loops, and a supervisor process for each embedded cluster."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import structlog
import uvicorn
from sqlalchemy import Connection

from tidegrid import __version__
from tidegrid.control import accounts, catalogue, network_file
from tidegrid.control.context import Context, Settings
from tidegrid.control.leases import Leases
from tidegrid.control.loops import Loops
from tidegrid.control.picture import Picture
from tidegrid.control.platform import Platform
from tidegrid.control.staging import Staging
from tidegrid.control.submit import Submitter
from tidegrid.domain.errors import Conflict, InvalidInput
from tidegrid.domain.lease import SUBMIT
from tidegrid.launch import effects
from tidegrid.launch import home as homes
from tidegrid.launch.clusters import Network, Wrap
from tidegrid.launch.discovery import Office
from tidegrid.scheduling.health import Limits
from tidegrid.scheduling.moving import Rules
from tidegrid.server.app import create_app
from tidegrid.store import events, orgs
from tidegrid.store import leases as lease_rows
from tidegrid.store.engine import Store

log = structlog.get_logger(__name__)
STOP_S = 30.0  # from the signal to the end, at the latest


@dataclasses.dataclass(frozen=True, slots=True)
class Options:
    """database: a URL, default SQLite in the home; port 0: any free one; wrap: put around every connector (tests);
    supervise: start supervisors that are not running; accept_clock: go on although the clock stepped back; network: a
    network document to apply at the start; data: where blobs, results and embedded clusters are, shared by the servers of one
    network; by default the home."""

    home: Path
    host: str = "127.0.0.1"
    port: int = 8170
    database: str = ""
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    wrap: Wrap | None = None
    supervise: bool = True
    accept_clock: bool = False
    network: str = ""
    data: Path | None = None


@contextlib.asynccontextmanager
async def network_of(options: Options, address: str = "") -> AsyncIterator[tuple[Platform, Loops]]:
    """Store, platform, clusters and loops of a locked home; all closed at the end. address: where this server will listen.
    Raises TideErrors."""
    clock = effects.SteadyClock()
    ids = effects.new_ids(clock)
    url = options.database or f"sqlite:///{options.home / 'tidegrid.db'}"
    name, data, settings = homes.server_name(options.home), options.data or options.home, _settings(options)
    if not url.startswith("postgres") and data.resolve() != options.home.resolve():
        raise InvalidInput("config.data", "a data directory of its own is for several servers on PostgreSQL",
                           hint="leave out --data, or name a --database")  # fmt: skip
    store = Store.open(url, now_us=clock.now, name=name, idle_s=settings.server_lease / 3)
    try:
        newest = await store.read(events.newest)
        effects.check_clock(clock.now(), newest, accept=options.accept_clock)
        ctx = Context(store, clock, ids, data, settings)
        place = homes.data_id(data)
        await store.write(lambda c: _same_data(c, place))
        _, token_hash = homes.admin_token(options.home)
        await store.write(lambda c: _bootstrap(c, ctx, token_hash))
        await catalogue.install_packaged(ctx)
        if options.network:
            await network_file.apply(ctx, options.network)
        picture = Picture(ctx)
        await accounts.open_accounts(ctx, await picture.network())
        staging = Staging(ctx)
        await asyncio.to_thread(staging.blobs.sweep, 0.0 if store.dialect == "sqlite" else 3600.0)
        platform = Platform(ctx, picture, staging)
        where = f"{place}@{homes.host()}"
        network = Network(ctx, picture, options.home, where, wrap=options.wrap, supervise=options.supervise)
        platform.on_network = network.sync
        platform.try_account = network.try_account
        platform.office = Office(options.home)
        await network.sync()
        me = {"name": name, "url": address, "host": homes.host(), "pid": os.getpid(), "version": __version__,
              "started_at": clock.now()}  # fmt: skip
        leases = Leases(ctx, me, alone=store.dialect == "sqlite")
        loops = Loops(ctx, picture, staging, Submitter(ctx, picture, staging, platform.application), leases)
        network.loops = loops
        platform.steering_of = lambda: loops.steering
        await loops.start()
        watcher = asyncio.create_task(network.watch())
        try:
            yield platform, loops
        finally:
            watcher.cancel()
            await loops.stop()
            for connector in ctx.connectors.values():
                await connector.close()
    finally:
        store.close()


def _same_data(conn: Connection, place: str) -> None:
    """Conflict (server.data) where the servers of this database keep their files elsewhere."""
    bound = lease_rows.bind(conn, SUBMIT, place)
    if bound != place:
        raise Conflict(
            "server.data",
            f"the files of this network are in the data directory {bound}, and this one is {place}",
            hint="share that directory, and name it with --data; its id is in its file data.id",
        )


def _settings(options: Options) -> Settings:
    known = {f.name for f in dataclasses.fields(Settings)}
    if unknown := set(options.settings) - known:
        raise InvalidInput(
            "config.invalid", f"unknown setting {sorted(unknown)[0]!r}", hint=f"settings: {', '.join(sorted(known))}"
        )
    given = dict(options.settings)
    for name, kind in (("health", Limits), ("moving", Rules)):
        if isinstance(given.get(name), Mapping):
            given[name] = _group(name, kind, given[name])
    return dataclasses.replace(Settings(), **given)


def _group(name: str, kind: Any, given: Mapping[str, Any]) -> Any:
    known = {f.name for f in dataclasses.fields(kind)}
    if unknown := set(given) - known:
        raise InvalidInput(
            "config.invalid",
            f"unknown setting {name}.{sorted(unknown)[0]}",
            hint=f"settings of {name}: {', '.join(sorted(known))}",
        )
    return kind(**given)


def _bootstrap(conn: Connection, ctx: Context, token_hash: str) -> None:
    """The operator's organisation, user and token."""
    lease_rows.locked(conn, [SUBMIT])  # servers that start together
    at = ctx.now()
    org = orgs.get_org(conn, homes.OPERATOR_ORG)
    if org is None:
        org_id = ctx.ids.new()
        orgs.create_org(conn, id=org_id, name=homes.OPERATOR_ORG, at=at)
        orgs.create_project(conn, id=ctx.ids.new(), org_id=org_id, name="default", at=at)
        orgs.create_user(conn, id=ctx.ids.new(), org_id=org_id, name="admin", role="operator", at=at)
        org = orgs.get_org(conn, homes.OPERATOR_ORG)
    assert org is not None
    user = orgs.get_user(conn, org["id"], "admin")
    assert user is not None
    if orgs.find_token(conn, token_hash) is None:
        orgs.create_token(
            conn, id=ctx.ids.new(), org_id=org["id"], user_id=user["id"], hash=token_hash, at=at, label="admin.token"
        )


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are `run`'s own: uvicorn's way takes them while it starts, and raises them once more when it has ended."""
        yield


async def run(options: Options, ready: Callable[[str], None] | None = None) -> None:
    """Serve until SIGTERM or SIGINT."""
    homes.prepare(options.home, options.data)
    with homes.locked(options.home):
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, _stopping, number, stop)
        sock = _listen(options.host, options.port)
        url = f"http://{options.host}:{sock.getsockname()[1]}"
        async with network_of(options, url) as (platform, loops):
            config = uvicorn.Config(
                create_app(platform), log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=3
            )
            server = _Server(config)
            serving = asyncio.create_task(server.serve(sockets=[sock]))
            while not server.started and not serving.done():  # noqa: ASYNC110 - uvicorn has no event for it
                await asyncio.sleep(0.01)
            homes.announce(options.home, url)
            if ready is not None and not stop.is_set():
                ready(url)
            superseded = asyncio.create_task(loops.leases.superseded.wait())
            stopped = asyncio.create_task(stop.wait())
            try:
                await asyncio.wait({serving, superseded, stopped}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                server.should_exit = True
                with contextlib.suppress(asyncio.CancelledError):
                    await serving
                superseded.cancel()
                stopped.cancel()
                (options.home / "server.json").unlink(missing_ok=True)
            if loops.leases.superseded.is_set():
                raise Conflict("server.superseded", "another server has taken over this database")


def _stopping(number: int, stop: asyncio.Event) -> None:
    """A signal to end. What does not end in time is named in the log and cut off: the next start finds it in doubt."""
    if not stop.is_set():
        log.info("server.stopping", signal=signal.Signals(number).name)
        loop = asyncio.get_running_loop()
        timer = threading.Timer(STOP_S, _cut_off, (loop,))
        timer.daemon = True
        timer.start()
        stop.set()


def _cut_off(loop: asyncio.AbstractEventLoop) -> None:
    waiting = [f"{t.get_name()}: {_awaits(t)}" for t in asyncio.all_tasks(loop)]
    threads = [t.name for t in threading.enumerate() if not t.daemon]
    log.error("server.stuck", seconds=STOP_S, tasks=waiting[:20], threads=threads)
    os._exit(1)


def _awaits(task: asyncio.Task[Any]) -> str:
    """The chain of coroutines that a task waits in, outermost first."""
    names: list[str] = []
    at: Any = task.get_coro()
    while at is not None:
        names.append(getattr(at, "__qualname__", type(at).__name__))
        at = getattr(at, "cr_await", None) or getattr(at, "ag_await", None)
    return " > ".join(names)


def _listen(host: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError as e:
        sock.close()
        raise Conflict(
            "server.port", f"cannot listen on {host}:{port}: {e.strerror}", hint="choose another --port, or 0 for any"
        ) from None
    return sock


def configure_logging(home: Path, *, quiet: bool) -> None:
    """One line an event: to `server.log` in the home, and to stderr unless quiet."""
    target = open(home / "server.log", "a", buffering=1) if quiet else sys.stderr  # noqa: SIM115 - for the process's life
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.LogfmtRenderer()
            if quiet or not target.isatty()
            # plain tracebacks: the usual ones show local variables, and these may hold secrets
            else structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(target),
    )
    logging.basicConfig(level=logging.WARNING, stream=target)


def serve(
    home: Path | str,
    *,
    host: str = "",
    port: int | None = None,
    database: str = "",
    settings: Mapping[str, Any] | None = None,
    wrap: Wrap | None = None,
    supervise: bool = True,
    accept_clock: bool = False,
    quiet: bool = False,
    ready: Callable[[str], None] | None = None,
    network: str = "",
    data: Path | str | None = None,
) -> None:
    """Run a server on `home` until it is told to stop. Arguments win over the home's config.yaml."""
    path = Path(home).absolute()
    homes.prepare(path, Path(data).absolute() if data else None)
    configure_logging(path, quiet=quiet)
    found = homes.settings(path)
    shared = data or found.get("data")
    options = Options(
        home=path,
        host=host or found.get("host", "127.0.0.1"),
        port=port if port is not None else int(found.get("port", 8170)),
        database=database or found.get("database", ""),
        settings={**(found.get("settings") or {}), **(settings or {})},
        wrap=wrap,
        supervise=supervise,
        accept_clock=accept_clock,
        network=network,
        data=Path(shared).absolute() if shared else None,
    )
    asyncio.run(run(options, ready))
