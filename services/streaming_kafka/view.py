"""The view that analytics keeps: one row per event, and the offsets after the last of them."""

from collections.abc import Sequence

import sqlalchemy as sa

from services.common.store import Store
from services.common.telemetry import Metrics
from services.domain.events import InventoryDecided, OrderPlaced
from services.domain.orders import OrderStatus
from services.streaming_kafka.log import Offsets

TABLES = sa.MetaData()

_PLACED = "placed"

_events = sa.Table(
    "events",
    TABLES,
    sa.Column("order_id", sa.String(100), primary_key=True),
    sa.Column("what", sa.String(20), primary_key=True),
    sa.Column("timestamp", sa.Double, nullable=False),
)
_offsets = sa.Table(
    "offsets",
    TABLES,
    sa.Column("topic", sa.String(250), primary_key=True),
    sa.Column("partition", sa.Integer, primary_key=True),
    sa.Column("next", sa.BigInteger, nullable=False),
)


class View:
    """What was placed and what was decided, each order once, however often it is read.

    Args:
        store: Where the view is kept; its tables are this module's `TABLES`.
        metrics: Told of events that were read again.
    """

    def __init__(self, store: Store, metrics: Metrics) -> None:
        self._store = store
        self._metrics = metrics

    async def apply(self, events: Sequence[OrderPlaced | InventoryDecided], offsets: Offsets) -> None:
        """Add `events` and set `offsets`, in one transaction."""
        rows = [{"order_id": event.order_id, "what": _what(event), "timestamp": event.timestamp} for event in events]
        insert = self._store.insert_new(_events)

        def work(connection: sa.Connection) -> int:
            for (topic, partition), following in offsets.items():
                place = {"topic": topic, "partition": partition}
                connection.execute(sa.delete(_offsets).filter_by(**place))
                connection.execute(sa.insert(_offsets), [place | {"next": following}])
            return connection.execute(insert, rows).rowcount if rows else 0

        added = await self._store.write(work)
        if added < len(rows):
            self._metrics.duplicates(len(rows) - added)

    async def offsets(self) -> Offsets:
        """The offsets after the last event in the view."""
        rows = await self._store.read(lambda connection: connection.execute(sa.select(_offsets)).all())
        return {(row.topic, row.partition): row.next for row in rows}

    async def clear(self) -> None:
        """Forget every event and every offset, in one transaction."""

        def work(connection: sa.Connection) -> None:
            connection.execute(sa.delete(_events))
            connection.execute(sa.delete(_offsets))

        await self._store.write(work)

    async def figures(self) -> dict[str, float]:
        """The figures of GET /metrics; times are the events' own, in seconds and minutes."""
        counts = sa.select(_events.c.what, sa.func.count()).group_by(_events.c.what)
        times = sa.select(sa.func.min(_events.c.timestamp), sa.func.max(_events.c.timestamp))

        def work(connection: sa.Connection) -> tuple[dict[str, int], float]:
            counted = {row[0]: row[1] for row in connection.execute(counts)}
            first, last = connection.execute(times).one()
            return counted, (last - first) if counted else 0.0

        counted, elapsed = await self._store.read(work)
        orders = counted.get(_PLACED, 0)
        failures = counted.get(OrderStatus.FAILED, 0)
        decided = counted.get(OrderStatus.RESERVED, 0) + failures
        return {
            "total_orders": orders,
            "total_inventory_events": decided,
            "failures": failures,
            "orders_per_minute": orders * 60 / elapsed if elapsed else 0.0,
            "failure_rate": failures / decided if decided else 0.0,
            "elapsed_seconds": elapsed,
        }


def _what(event: OrderPlaced | InventoryDecided) -> str:
    return _PLACED if isinstance(event, OrderPlaced) else event.outcome.value
