"""The one way to the database: a writer thread with group commit, and readers with snapshots of their own.

    result = await store.write(lambda conn: jobs.insert_jobs(conn, rows, parts))
    page = await store.read(lambda conn: jobs.page(conn, scope))

A function passed in gets a connection inside a transaction. It may be run again when nothing of its first run remains
(contention, a connection that broke before the commit), so it does nothing but read, compute and write rows.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from tidegrid.domain.errors import Unreachable
from tidegrid.store import events, failures, migrations
from tidegrid.store.connect import parse, reader_engine, shown, writer_engine

T = TypeVar("T")
Fn = Callable[[Connection], T]

GROUP = 256  # functions committed together at most
GROUP_S = 0.05  # and no longer collected than this, so that the first does not wait for many slow ones
RETRIES = 6
READERS = 4


class _Job:
    """A function waiting for the writer. value and error are delivered only after the commit."""

    __slots__ = ("error", "fn", "future", "value")

    def __init__(self, fn: Fn[Any]) -> None:
        self.fn = fn
        self.future: Future[Any] = Future()
        self.value: Any = None
        self.error: BaseException | None = None


class _GroupFailed(Exception):
    """The whole transaction is gone; retry: it can be run again."""

    def __init__(self, error: BaseException, *, retry: bool) -> None:
        super().__init__(str(error))
        self.error, self.retry = error, retry


class Store:
    """One database. Made by `open`; `close` it. now_us: the injected clock, for whoever writes times; name: of this server, as
    PostgreSQL shows it; idle_s: a transaction of a server that says nothing for so long, being stopped or cut off, is undone by
    PostgreSQL, so that what it has locked holds up nobody; 0: never."""

    def __init__(
        self, url: str, *, now_us: Callable[[], int], readers: int = READERS, name: str = "", idle_s: float = 0.0
    ) -> None:
        parsed = parse(url)
        self.url = url
        self.where = shown(parsed)
        self.now_us = now_us
        self.dialect = parsed.get_backend_name()
        self._writer: Engine = writer_engine(parsed, name=name, idle_s=idle_s)
        self._reader: Engine = reader_engine(parsed, readers)
        self._queue: SimpleQueue[_Job | None] = SimpleQueue()
        self._pool = ThreadPoolExecutor(readers, thread_name_prefix="store-read")
        self._thread = threading.Thread(target=self._run, name="store-write", daemon=True)
        self._gate = threading.Lock()
        self._closed = False
        self._conn: Connection | None = None
        self._commits = 0
        self._waiters: set[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = set()
        self._sync = threading.Condition()

    @classmethod
    def open(
        cls, url: str, *, now_us: Callable[[], int], readers: int = READERS, name: str = "", idle_s: float = 0.0
    ) -> Store:
        """Open `sqlite:///path` or `postgresql+psycopg://…`, migrated to this release's schema.

        Errors: InvalidInput store.url; Unreachable store.unreachable, store.busy; NoSpace store.no_space; Broken
        store.corrupt, store.newer, store.foreign.
        """
        store = cls(url, now_us=now_us, readers=readers, name=name, idle_s=idle_s)
        try:
            migrations.upgrade(store._writer, store.where)
        except DBAPIError as e:
            store._dispose()
            raise failures.translate(e, store.where) from e
        except BaseException:
            store._dispose()
            raise
        store._thread.start()
        return store

    # Writing -------------------------------------------------------------------------------------------------------------

    async def write(self, fn: Fn[T]) -> T:
        """Run `fn` in the writer's transaction; returns after it is durable. What `fn` raises undoes `fn` alone."""
        result: T = await asyncio.wrap_future(self._enqueue(fn).future)
        return result

    def write_sync(self, fn: Fn[T]) -> T:
        """`write` for threads; never call it from an event loop or from inside a function given to the store."""
        result: T = self._enqueue(fn).future.result()
        return result

    def _enqueue(self, fn: Fn[Any]) -> _Job:
        job = _Job(fn)
        with self._gate:
            if self._closed:
                raise Unreachable(
                    "store.closed", f"the database {self.where} was closed", hint="the server is stopping"
                )
            self._queue.put(job)
        return job

    def _run(self) -> None:
        last = False
        while not last:
            first = self._queue.get()
            if first is None:
                break
            group = [first]
            until = time.monotonic() + GROUP_S
            while len(group) < GROUP and time.monotonic() < until:
                try:
                    more = self._queue.get_nowait()
                except Empty:
                    break
                if more is None:
                    last = True
                    break
                group.append(more)
            group = [j for j in group if j.future.set_running_or_notify_cancel()]
            if group:
                self._serve(group)
        self._drop_connection()

    def _serve(self, group: list[_Job]) -> None:
        try:
            self._commit_with_retries(group)
        except BaseException as e:  # noqa: BLE001 - the writer survives and every caller hears of it
            for job in group:
                job.error = e
        else:
            if any(j.error is None for j in group):
                self._notify()
        for job in group:
            if job.error is not None:
                job.future.set_exception(job.error)
            else:
                job.future.set_result(job.value)

    def _commit_with_retries(self, group: list[_Job]) -> None:
        """Run and commit the group; where contention or a broken connection undid it, again, then one by one."""
        for attempt in range(RETRIES):
            try:
                self._transaction(group)
                return
            except _GroupFailed as failed:
                again = failed.retry and attempt + 1 < RETRIES
                if failures.lost(failed.error):
                    self._drop_connection()
                    again = failed.retry and attempt == 0  # a stale connection: the database may be back already
                if not again:
                    raise failures.translate(failed.error, self.where) from failed.error
            if attempt:
                time.sleep(0.005 * 2**attempt)

    def _transaction(self, group: list[_Job]) -> None:
        try:
            conn = self._connection()
            transaction = conn.begin()
        except DBAPIError as e:
            raise _GroupFailed(e, retry=failures.lost(e)) from e
        try:
            events.keep(conn)
            if len(group) == 1:
                alone = self._alone(conn, group[0])
                if not alone:
                    transaction.rollback()
                    return
            else:
                for job in group:
                    self._in_savepoint(conn, job)
            self._append_events(conn)
        except BaseException:
            self._roll_back(transaction)
            raise
        try:
            transaction.commit()
        except DBAPIError as e:
            self._roll_back(transaction)
            if failures.lost(e):
                self._drop_connection()
                raise failures.unreachable(self.where, str(e.orig), unknown=True) from e
            raise _GroupFailed(e, retry=failures.retryable(e)) from e

    def _append_events(self, conn: Connection) -> None:
        """Last of all: from here to the commit no other server can append."""
        try:
            events.flush(conn)
        except DBAPIError as e:
            raise _GroupFailed(e, retry=failures.retryable(e) or failures.lost(e)) from e

    def _alone(self, conn: Connection, job: _Job) -> bool:
        """Run the only function of a group; whether to commit."""
        try:
            job.value, job.error = job.fn(conn), None
            return True
        except Exception as e:  # noqa: BLE001 - handed to the caller
            self._raise_if_fatal(conn, e)
            job.error = failures.translate(e, self.where)
            return False

    def _in_savepoint(self, conn: Connection, job: _Job) -> None:
        mark = events.kept(conn)
        try:
            conn.exec_driver_sql("SAVEPOINT fn")
            job.value, job.error = job.fn(conn), None
            conn.exec_driver_sql("RELEASE SAVEPOINT fn")
        except Exception as e:  # noqa: BLE001 - handed to the caller
            self._raise_if_fatal(conn, e)
            events.forget_from(conn, mark)
            job.error = failures.translate(e, self.where)
            try:
                conn.exec_driver_sql("ROLLBACK TO SAVEPOINT fn")
                conn.exec_driver_sql("RELEASE SAVEPOINT fn")
            except DBAPIError as broken:
                raise _GroupFailed(broken, retry=failures.lost(broken)) from broken

    def _raise_if_fatal(self, conn: Connection, error: BaseException) -> None:
        """Where `error` took the whole transaction with it, no function of the group may be told of success."""
        if failures.retryable(error) or failures.lost(error):
            raise _GroupFailed(error, retry=True) from error
        if self.dialect == "sqlite" and isinstance(error, DBAPIError):
            raw: Any = conn.connection.dbapi_connection
            if not raw.in_transaction:  # SQLite rolled back on its own: disk full, I/O error, out of memory
                raise _GroupFailed(error, retry=False) from error

    def _connection(self) -> Connection:
        if self._conn is None or self._conn.closed or self._conn.invalidated:
            self._drop_connection()
            self._conn = self._writer.connect()
        return self._conn

    def _roll_back(self, transaction: Any) -> None:
        try:
            transaction.rollback()
        except Exception:  # noqa: BLE001 - a connection that cannot even roll back is thrown away
            self._drop_connection()

    def _drop_connection(self) -> None:
        if self._conn is not None:
            try:
                self._conn.invalidate()
                self._conn.close()
            except Exception:  # noqa: BLE001, S110 - it is being thrown away
                pass
            self._conn = None

    # Reading -------------------------------------------------------------------------------------------------------------

    async def read(self, fn: Fn[T]) -> T:
        """Run `fn` in one snapshot, in a thread; nothing it writes is kept."""
        if self._closed:
            raise Unreachable("store.closed", f"the database {self.where} was closed", hint="the server is stopping")
        return await asyncio.get_running_loop().run_in_executor(self._pool, self.read_sync, fn)

    def read_sync(self, fn: Fn[T]) -> T:
        """`read` in the calling thread."""
        for last in (False, True):
            try:
                with self._reader.connect() as conn:
                    return fn(conn)
            except DBAPIError as e:
                if (failures.lost(e) or failures.retryable(e)) and not last:
                    continue
                raise failures.translate(e, self.where) from e
        raise AssertionError("unreachable")

    # Commits seen ----------------------------------------------------------------------------------------------------------

    @property
    def commits(self) -> int:
        """How many groups were committed; read it before looking, pass it to `wait_for_commit`, and nothing is missed."""
        return self._commits

    def _notify(self) -> None:
        with self._sync:
            self._commits += 1
            waiters, self._waiters = self._waiters, set()
            self._sync.notify_all()
        for loop, future in waiters:
            try:
                loop.call_soon_threadsafe(_wake, future)
            except RuntimeError:  # its loop has closed
                continue

    async def wait_for_commit(self, timeout: float, after: int | None = None) -> bool:  # noqa: ASYNC109
        """Wait until something was committed since `after` (a value of `commits`; now, where not given); false when
        `timeout` seconds passed without. Commits of other servers on the same database are not seen."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        with self._sync:
            if after is not None and self._commits != after:
                return True
            self._waiters.add((loop, future))
        try:
            async with asyncio.timeout(timeout):
                await future
            return True
        except TimeoutError:
            return False
        finally:
            with self._sync:
                self._waiters.discard((loop, future))

    # Ending ----------------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Finish what is queued, then let go of the database. More than once is fine."""
        with self._gate:
            if self._closed:
                return
            self._closed = True
            self._queue.put(None)
        if self._thread.is_alive():
            self._thread.join()
        self._pool.shutdown(wait=True)
        self._dispose()

    def _dispose(self) -> None:
        self._writer.dispose()
        self._reader.dispose()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
