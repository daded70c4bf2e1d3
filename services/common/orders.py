"""The order book: every order a customer placed, in the store of its order service."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from services.common.store import Store
from services.common.telemetry import Metrics
from services.domain.events import InventoryDecided
from services.domain.orders import Order, OrderStatus

TABLES = sa.MetaData()

_orders = sa.Table(
    "orders",
    TABLES,
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("order_id", sa.String(100), nullable=False, unique=True),
    sa.Column("item", sa.String(100), nullable=False),
    sa.Column("quantity", sa.Integer, nullable=False),
    sa.Column("status", sa.String(20), nullable=False),
    sa.Column("timestamp", sa.Double, nullable=False),
    sa.Column("idempotency_key", sa.String(100), unique=True),
    # The HTTP status of the reply once it is final; absent while the order is under way.
    sa.Column("answer", sa.Integer),
    sa.Column("reason", sa.String(300)),
    sa.Index(
        "orders_unanswered",
        "seq",
        sqlite_where=sa.text("answer IS NULL"),
        postgresql_where=sa.text("answer IS NULL"),
    ),
)
_FIELDS = [_orders.c[name] for name in ("order_id", "item", "quantity", "status", "timestamp")]

# Built once: building a statement costs more than running it.
_ADD = sa.insert(_orders)
_ANSWER = (
    sa.update(_orders)
    .where(_orders.c.order_id == sa.bindparam("of"))
    .values(
        answer=sa.bindparam("answer"),
        reason=sa.func.coalesce(_orders.c.reason, sa.bindparam("why")),
        status=sa.case((_orders.c.status == OrderStatus.PLACED, sa.bindparam("to")), else_=_orders.c.status),
    )
)
_WAITING = sa.select(_orders.c.order_id, _orders.c.timestamp).where(
    _orders.c.order_id.in_(sa.bindparam("orders", expanding=True)),
    _orders.c.status.in_([OrderStatus.PLACED, OrderStatus.REJECTED]),
)
_SETTLE = (
    sa.update(_orders)
    .where(_orders.c.order_id == sa.bindparam("of"))
    .values(status=sa.bindparam("to"), reason=sa.bindparam("why"))
)

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Entry:
    """An order as the book has it, with the reply its client got (`answer`, an HTTP status) if that is final."""

    order: Order
    answer: int | None
    reason: str | None


class OrderBook:
    """Orders by id, newest first by `seq`, and by idempotency key.

    Args:
        store: Where they are kept; its tables are this module's `TABLES`.
        metrics: Told of each order's completion.
    """

    def __init__(self, store: Store, metrics: Metrics) -> None:
        self._store = store
        self._metrics = metrics

    async def add(self, orders: Sequence[Order], key: str | None = None) -> None:
        """Write new orders, before anything is said about them to anyone else."""
        rows = [
            {
                "order_id": order.order_id,
                "item": order.item,
                "quantity": order.quantity,
                "status": order.status.value,
                "timestamp": order.timestamp,
                "idempotency_key": key,
            }
            for order in orders
        ]
        await self._store.write_all(_add, rows)

    async def reopen(self, order_id: str) -> None:
        """Let an order that was rejected be placed again."""
        change = sa.update(_orders).where(_orders.c.order_id == order_id, _orders.c.status == OrderStatus.REJECTED)
        await self._store.write(lambda connection: connection.execute(change.values(status=OrderStatus.PLACED.value)))

    async def answered(self, orders: Sequence[Order], answer: int | None, reason: str | None = None) -> None:
        """Write each order's status and the reply to its client; a decision that came meanwhile is kept."""
        rows = [{"of": order.order_id, "to": order.status.value, "answer": answer, "why": reason} for order in orders]
        await self._store.write_all(_answer, rows)

    async def settle(self, events: Sequence[InventoryDecided]) -> int:
        """Give orders the outcome that inventory decided, each once.

        Returns:
            How many of the events told nothing new.
        """

        def work(connection: sa.Connection) -> list[tuple[InventoryDecided, float]]:
            wanted = {event.order_id: event for event in events}
            waiting = connection.execute(_WAITING, {"orders": list(wanted)})
            settled = [(wanted[row.order_id], row.timestamp) for row in waiting]
            if settled:
                rows = [
                    {"of": event.order_id, "to": event.outcome.value, "why": event.reason} for event, _placed in settled
                ]
                connection.execute(_SETTLE, rows)
            return settled

        settled = await self._store.write(work)
        now = time.time()
        for event, placed in settled:
            self._metrics.completed(event.outcome, now - placed)
        return len(events) - len(settled)

    async def get(self, order_id: str) -> Order | None:
        """The order with this id, or None."""
        query = sa.select(*_FIELDS).where(_orders.c.order_id == order_id)
        row = await self._store.read(lambda connection: connection.execute(query).first())
        return None if row is None else _order(row)

    async def by_key(self, key: str) -> Entry | None:
        """The order that was placed under this idempotency key, or None."""
        query = sa.select(*_FIELDS, _orders.c.answer, _orders.c.reason).where(_orders.c.idempotency_key == key)
        row = await self._store.read(lambda connection: connection.execute(query).first())
        return None if row is None else Entry(_order(row), row.answer, row.reason)

    async def page(self, status: OrderStatus | None, limit: int, after: str | None) -> list[Order] | None:
        """Up to `limit` orders, newest first, that are older than the order `after`; None when that is unknown."""

        def work(connection: sa.Connection) -> list[Order] | None:
            query = sa.select(*_FIELDS).order_by(_orders.c.seq.desc()).limit(limit)
            if status is not None:
                query = query.where(_orders.c.status == status)
            if after is not None:
                seq = connection.scalar(sa.select(_orders.c.seq).where(_orders.c.order_id == after))
                if seq is None:
                    return None
                query = query.where(_orders.c.seq < seq)
            return [_order(row) for row in connection.execute(query)]

        return await self._store.read(work)

    async def summary(self) -> dict[str, int]:
        """How many orders there are by status; every status is there."""
        query = sa.select(_orders.c.status, sa.func.count()).group_by(_orders.c.status)
        rows = await self._store.read(lambda connection: connection.execute(query).all())
        return {status.value: 0 for status in OrderStatus} | {row[0]: row[1] for row in rows}

    async def unanswered(self) -> list[Order]:
        """The orders under way, oldest first; at a start, those that nobody waits for any more."""
        query = (
            sa.select(*_FIELDS)
            .where(_orders.c.answer.is_(None), _orders.c.status == OrderStatus.PLACED)
            .order_by(_orders.c.seq)
        )
        return [_order(row) for row in await self._store.read(lambda connection: connection.execute(query).all())]


def _add(connection: sa.Connection, rows: Sequence[Row]) -> Sequence[Row]:
    connection.execute(_ADD, rows)
    return rows


def _answer(connection: sa.Connection, rows: Sequence[Row]) -> Sequence[Row]:
    connection.execute(_ANSWER, rows)
    return rows


def _order(row: Any) -> Order:
    return Order(row.order_id, row.item, row.quantity, OrderStatus(row.status), row.timestamp)
