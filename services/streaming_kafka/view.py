"""The view that analytics keeps: one row per event, and the offsets after the last of them."""

from collections import Counter
from collections.abc import Sequence

import sqlalchemy as sa

from services.common.store import Store
from services.common.telemetry import Metrics
from services.domain.events import InventoryDecided, OrderPlaced
from services.domain.orders import OrderStatus
from services.streaming_kafka.log import Offsets

TABLES = sa.MetaData()

WHAT = (OrderStatus.PLACED.value, OrderStatus.RESERVED.value, OrderStatus.FAILED.value)
"""What the view tells apart: an order placed, and the two decisions on it."""

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
        self._shown: Counter[str] = Counter()

    async def prepare(self) -> None:
        """Show the figures of earlier runs."""
        self._show(await self._store.read(_counts))

    async def apply(self, events: Sequence[OrderPlaced | InventoryDecided], offsets: Offsets) -> None:
        """Add `events` and set `offsets`, in one transaction."""
        rows = [{"order_id": event.order_id, "what": _what(event), "timestamp": event.timestamp} for event in events]
        insert = self._store.insert_new(_events)

        def work(connection: sa.Connection) -> Counter[str]:
            for (topic, partition), following in offsets.items():
                place = {"topic": topic, "partition": partition}
                connection.execute(sa.delete(_offsets).filter_by(**place))
                connection.execute(sa.insert(_offsets), [place | {"next": following}])
            added: Counter[str] = Counter()
            for what in WHAT:
                if of_this_kind := [row for row in rows if row["what"] == what]:
                    added[what] = connection.execute(insert, of_this_kind).rowcount
            return added

        added = await self._store.write(work)
        self._show(self._shown + added)
        if added.total() < len(rows):
            self._metrics.duplicates(len(rows) - added.total())

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
        self._show(Counter())

    def _show(self, counts: Counter[str]) -> None:
        self._shown = counts
        for what in WHAT:
            self._metrics.analysed(what, counts[what])

    async def figures(self) -> dict[str, float]:
        """The figures of GET /metrics; times are the events' own, in seconds and minutes."""
        times = sa.select(sa.func.min(_events.c.timestamp), sa.func.max(_events.c.timestamp))

        def work(connection: sa.Connection) -> tuple[Counter[str], float]:
            counts = _counts(connection)
            first, last = connection.execute(times).one()
            return counts, (last - first) if counts else 0.0

        counts, elapsed = await self._store.read(work)
        decided = counts[OrderStatus.RESERVED] + counts[OrderStatus.FAILED]
        return {
            "total_orders": counts[OrderStatus.PLACED],
            "total_inventory_events": decided,
            "failures": counts[OrderStatus.FAILED],
            "orders_per_minute": counts[OrderStatus.PLACED] * 60 / elapsed if elapsed else 0.0,
            "failure_rate": counts[OrderStatus.FAILED] / decided if decided else 0.0,
            "elapsed_seconds": elapsed,
        }


def _counts(connection: sa.Connection) -> Counter[str]:
    query = sa.select(_events.c.what, sa.func.count()).group_by(_events.c.what)
    return Counter({row[0]: row[1] for row in connection.execute(query)})


def _what(event: OrderPlaced | InventoryDecided) -> str:
    return OrderStatus.PLACED.value if isinstance(event, OrderPlaced) else event.outcome.value
