"""The store: writes in groups, each piece of work by itself when one fails."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from services.common.errors import StoreUnavailable
from services.common.store import Store

TABLES = sa.MetaData()
things = sa.Table("things", TABLES, sa.Column("name", sa.String(20), primary_key=True), sa.Column("size", sa.Integer))
INSERT = sa.insert(things)


@asynccontextmanager
async def _open(path: Path) -> AsyncIterator[Store]:
    store = Store(f"sqlite:///{path / 'of the service' / 'things.db'}", TABLES)
    await store.start()
    try:
        yield store
    finally:
        await store.stop()


def _run(path: Path, story: Callable[[Store], Awaitable[None]]) -> None:
    async def told() -> None:
        async with _open(path) as store:
            await story(store)

    asyncio.run(told())


def _add(connection: sa.Connection, rows: Sequence[dict[str, object]]) -> Sequence[None]:
    connection.execute(INSERT, rows)
    return [None] * len(rows)


async def _names(store: Store) -> set[str]:
    return set(await store.read(lambda connection: connection.scalars(sa.select(things.c.name)).all()))


def test_a_failing_write_fails_alone(tmp_path: Path) -> None:
    """Of many writes that share a commit only the failing ones are refused; the others are stored."""

    async def story(store: Store) -> None:
        await store.write_all(_add, [{"name": "taken", "size": 0}])
        names = [f"thing {number}" for number in range(100)]
        names[30] = names[60] = "taken"
        results = await asyncio.gather(
            *[store.write_all(_add, [{"name": name, "size": 1}]) for name in names], return_exceptions=True
        )
        assert [number for number, result in enumerate(results) if result != [None]] == [30, 60]
        assert isinstance(results[30], IntegrityError)
        assert await _names(store) == set(names)
        assert store.failing() is None

    _run(tmp_path, story)


def test_a_write_is_all_or_nothing(tmp_path: Path) -> None:
    """Work that raises after it wrote leaves nothing, and its caller gets what it raised."""

    def work(connection: sa.Connection) -> None:
        connection.execute(INSERT, [{"name": "half", "size": 1}])
        raise ValueError("changed its mind")

    async def story(store: Store) -> None:
        with pytest.raises(ValueError, match="changed its mind"):
            await store.write(work)
        assert await _names(store) == set()

    _run(tmp_path, story)


def test_writes_are_seen_in_their_sequence(tmp_path: Path) -> None:
    """Each piece of work sees what those queued before it wrote, also within one commit."""

    def grow(connection: sa.Connection) -> int:
        connection.execute(sa.update(things).values(size=things.c.size + 1))
        return int(connection.scalar(sa.select(things.c.size)) or 0)

    async def story(store: Store) -> None:
        await store.write_all(_add, [{"name": "one", "size": 0}])
        assert await asyncio.gather(*[store.write(grow) for _ in range(300)]) == list(range(1, 301))

    _run(tmp_path, story)


def test_equal_work_that_waits_together_is_done_together(tmp_path: Path) -> None:
    """Requests that waited for the same commit are one call over all their items, and each gets its own results."""
    calls: list[int] = []
    begun, free = threading.Event(), threading.Event()

    def double(_connection: sa.Connection, numbers: Sequence[int]) -> list[int]:
        calls.append(len(numbers))
        return [2 * number for number in numbers]

    def hold(_connection: sa.Connection) -> bool:
        begun.set()
        return free.wait(10)

    async def story(store: Store) -> None:
        first = asyncio.create_task(store.write(hold))
        await asyncio.to_thread(begun.wait, 10)
        waiting = [asyncio.create_task(store.write_all(double, [number, -number])) for number in range(100)]
        await asyncio.sleep(0)
        free.set()
        assert await asyncio.gather(*waiting) == [[2 * number, -2 * number] for number in range(100)]
        assert await first
        assert calls == [200]

    _run(tmp_path, story)


def test_what_was_written_outlives_the_store(tmp_path: Path) -> None:
    """A store opened again on the same file has what the first one stored, also what was queued at its end."""

    async def write(store: Store) -> None:
        await store.write_all(_add, [{"name": "kept", "size": 1}])

    async def look(store: Store) -> None:
        assert await _names(store) == {"kept"}

    _run(tmp_path, write)
    _run(tmp_path, look)


def test_known_rows_are_passed_over(tmp_path: Path) -> None:
    """`insert_new` adds what is new, leaves what is there, and tells how many were new."""

    async def story(store: Store) -> None:
        await store.write_all(_add, [{"name": "old", "size": 1}])
        rows = [{"name": "old", "size": 2}, {"name": "new", "size": 2}]
        added = await store.write(lambda connection: connection.execute(store.insert_new(things), rows).rowcount)
        assert added == 1
        stored = await store.read(lambda connection: connection.execute(sa.select(things)).all())
        assert {row.name: row.size for row in stored} == {"old": 1, "new": 2}

    _run(tmp_path, story)


def test_a_database_that_fails_is_told_and_recovers(tmp_path: Path) -> None:
    """A table that is gone makes the write fail and health say so, until a write succeeds again."""

    async def story(store: Store) -> None:
        assert store.failing() is None
        with closing(sqlite3.connect(tmp_path / "of the service" / "things.db")) as other:
            other.execute("ALTER TABLE things RENAME TO elsewhere")
            with pytest.raises(StoreUnavailable, match="things"):
                await store.write_all(_add, [{"name": "lost", "size": 1}])
            assert "things" in (store.failing() or "")
            other.execute("ALTER TABLE elsewhere RENAME TO things")
        await store.write_all(_add, [{"name": "found", "size": 1}])
        assert store.failing() is None

    _run(tmp_path, story)


def test_an_unopened_store_says_so() -> None:
    """A store that was not started is failing, and cannot be read."""
    store = Store("sqlite://", TABLES)
    assert store.failing() == "the store's writer is not running"
    with pytest.raises(StoreUnavailable, match="not open"):
        asyncio.run(_names(store))
