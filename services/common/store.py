"""The state of a service that outlives it: a database of its own, written in groups.

SQLite in WAL mode unless DATABASE_URL names another database. A commit survives the death of the process at any
moment; that of the machine is survived up to the last checkpoint (synchronous=NORMAL), as with the brokers'
own logs, which are not flushed per message either.
"""

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from opentelemetry import context as otel_context
from opentelemetry import trace
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DatabaseError, InterfaceError, OperationalError

from services.common.errors import StoreUnavailable

T = TypeVar("T")
Item = TypeVar("Item")
Work = Callable[[sa.Connection], T]
BatchWork = Callable[[sa.Connection, Sequence[Item]], Sequence[T]]
"""Work on items in their sequence, with a result for each."""

_GROUP_MAX = 256

_TO_WRITE = {"campus_writes": True}
"""The execution option of a connection whose transaction will write."""

_tracer = trace.get_tracer("campus.store")


@dataclass(slots=True)
class _Request:
    """Items waiting for the writer, what it shall do with them, and where the results go."""

    work: BatchWork[Any, Any]
    items: Sequence[Any]
    done: asyncio.Future[Sequence[Any]]
    loop: asyncio.AbstractEventLoop


class Store:
    """One database; writes are queued and committed in groups by one thread.

    Args:
        url: An SQLAlchemy URL. A missing folder of an SQLite file is made.
        tables: The tables this service keeps; absent ones are created by `open`.
    """

    name = "store"

    def __init__(self, url: str, tables: sa.MetaData) -> None:
        self._url = sa.make_url(url)
        self._attributes = {"db.system.name": self._url.get_backend_name()}
        self._tables = tables
        self._engine: sa.Engine | None = None
        self._requests: queue.SimpleQueue[_Request | None] = queue.SimpleQueue()
        self._writer: threading.Thread | None = None
        self._broken: str | None = None

    async def start(self) -> None:
        """Open the database, create what is missing and start the writer.

        Raises:
            StoreUnavailable: The database cannot be opened; the text says which and why.
        """
        if self._url.get_backend_name() == "sqlite" and self._url.database:
            try:
                Path(self._url.database).parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise StoreUnavailable(
                    f"the folder of {self._url.database} cannot be made ({error.strerror}); "
                    "set LAB_DATA to a folder that can be written"
                ) from error
        self._engine = _engine(self._url)
        try:
            await asyncio.to_thread(self._mapped, lambda: self._tables.create_all(self.engine))
        except DatabaseError as error:
            raise StoreUnavailable(f"{self._place} is no database that can be used: {error.orig}") from error
        self._writer = threading.Thread(target=self._write_groups, name="store-writer", daemon=True)
        self._writer.start()

    async def stop(self) -> None:
        """Finish the writes that are queued and close the database."""
        if self._writer is not None:
            self._requests.put(None)
            await asyncio.to_thread(self._writer.join, 10)
        if self._engine is not None:
            self._engine.dispose()

    @property
    def engine(self) -> sa.Engine:
        """The engine of an opened store."""
        if self._engine is None:
            raise StoreUnavailable("the store is not open yet")
        return self._engine

    def failing(self) -> str | None:
        """Why the last write failed, or None when it went well."""
        if self._writer is None or not self._writer.is_alive():
            return "the store's writer is not running"
        return self._broken

    async def write(self, work: Work[T]) -> T:
        """Run `work` in a transaction and return its result once that is committed.

        Several pieces of work share one commit; when one of them fails each is run again alone, so `work` must
        have no effect but through its connection.

        Raises:
            StoreUnavailable: The database cannot be written.
        """
        result: T
        [result] = await self.write_all(_one_by_one, [work])
        return result

    async def write_all(self, work: BatchWork[Item, T], items: Sequence[Item]) -> Sequence[T]:
        """Do `work` on `items` in a transaction and return a result for each once that is committed.

        Requests with equal `work` that wait together become one call of it over the items of all, as if all had
        been asked for at once: a statement over many rows costs little more than over one. What else `write` says
        holds here too.

        Raises:
            StoreUnavailable: The database cannot be written.
        """
        loop = asyncio.get_running_loop()
        request = _Request(work, items, loop.create_future(), loop)
        # Nothing happens below it, so it need not be current, which is dearer than the span.
        span = _tracer.start_span("commit", kind=trace.SpanKind.CLIENT, attributes=self._attributes)
        try:
            self._requests.put(request)
            return await request.done
        except Exception as error:
            span.set_status(trace.StatusCode.ERROR, str(error))
            raise
        finally:
            span.end()

    async def read(self, work: Work[T]) -> T:
        """Run `work`, which only reads, and return its result.

        Raises:
            StoreUnavailable: The database cannot be read.
        """
        with _tracer.start_as_current_span("select", kind=trace.SpanKind.CLIENT, attributes=self._attributes):
            return await asyncio.to_thread(self.read_now, work)

    def read_now(self, work: Work[T]) -> T:
        """Do as `read` does, in the caller's thread."""

        def run() -> T:
            with self.engine.connect() as connection:
                return work(connection)

        return self._mapped(run)

    def insert_new(self, table: sa.Table) -> sqlite.Insert | postgresql.Insert:
        """An INSERT into `table` that passes over rows whose key is there already."""
        if self._url.get_backend_name() == "postgresql":
            return postgresql.insert(table).on_conflict_do_nothing()
        return sqlite.insert(table).on_conflict_do_nothing()

    @property
    def _place(self) -> str:
        return self._url.render_as_string(hide_password=True)

    def _write_groups(self) -> None:
        # No span of a request may be current here: the writer works for many at once.
        otel_context.attach(otel_context.Context())
        while (first := self._requests.get()) is not None:
            group = [first]
            last = False
            while len(group) < _GROUP_MAX and not self._requests.empty():
                following = self._requests.get()
                if following is None:
                    last = True
                    break
                group.append(following)
            self._commit(group)
            if last:
                return

    def _commit(self, group: Sequence[_Request]) -> None:
        try:
            results = self._mapped(lambda: self._in_one_transaction(group))
        except Exception as error:
            if len(group) > 1:
                for request in group:
                    self._commit([request])
                return
            self._broken = str(error) if isinstance(error, StoreUnavailable) else self._broken
            _answer(group, [error])
        else:
            self._broken = None
            _answer(group, results)

    def _in_one_transaction(self, group: Sequence[_Request]) -> list[Sequence[Any]]:
        answers: list[Sequence[Any]] = []
        with self.engine.connect().execution_options(**_TO_WRITE) as connection, connection.begin():
            for work, requests in groupby(group, key=lambda request: request.work):
                alike = list(requests)
                results = iter(work(connection, [item for request in alike for item in request.items]))
                answers += [list(islice(results, len(request.items))) for request in alike]
        return answers

    def _mapped(self, run: Callable[[], T]) -> T:
        """The one place where a database's errors become ours."""
        try:
            return run()
        except (OperationalError, InterfaceError) as error:
            raise StoreUnavailable(f"{self._place}: {error.orig}") from error


def _one_by_one(connection: sa.Connection, pieces: Sequence[Work[Any]]) -> list[Any]:
    return [piece(connection) for piece in pieces]


def _answer(group: Sequence[_Request], results: Sequence[Any]) -> None:
    """Hand each request its result, an exception or a value, in one wake-up of its loop."""

    def resolve() -> None:
        for request, result in zip(group, results, strict=True):
            if request.done.done():
                continue
            if isinstance(result, Exception):
                request.done.set_exception(result)
            else:
                request.done.set_result(result)

    # A loop that has closed has nobody left who waits.
    if not group[0].loop.is_closed():
        group[0].loop.call_soon_threadsafe(resolve)


def _engine(url: sa.URL) -> sa.Engine:
    if url.get_backend_name() != "sqlite":
        return sa.create_engine(url, pool_pre_ping=True)
    engine = sa.create_engine(url, connect_args={"timeout": 10})

    @sa.event.listens_for(engine, "connect")
    def tune(connection: sqlite3.Connection, _record: object) -> None:
        # The driver begins no transaction by itself; `begin` below does.
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        # What a writer reads must still hold when it writes, also where another process writes to the same file.
        immediate = connection.get_execution_options().keys() & _TO_WRITE.keys()
        connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")

    return engine
