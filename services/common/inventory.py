"""The inventory: stock and reservations in a store, decided by the domain's rules, in batches of any size."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import sqlalchemy as sa
from fastapi import APIRouter
from fastapi.responses import JSONResponse

from services.common.chassis import Chassis
from services.common.faults import admin_router
from services.common.problems import Problem
from services.common.schemas import Restock
from services.domain.events import InventoryDecided, OrderPlaced
from services.domain.orders import MENU, OrderStatus
from services.domain.stock import Refusal, ReservationStatus, Shelf, Stock

TABLES = sa.MetaData()

_shelves = sa.Table(
    "stock",
    TABLES,
    sa.Column("item", sa.String(100), primary_key=True),
    sa.Column("left", sa.BigInteger, nullable=False),
    sa.Column("reserved", sa.BigInteger, nullable=False),
    sa.Column("received", sa.BigInteger, nullable=False),
)
_reservations = sa.Table(
    "reservations",
    TABLES,
    sa.Column("order_id", sa.String(100), primary_key=True),
    # A tombstone, written by a release that overtook its reserve, has no message.
    sa.Column("message_id", sa.String(100), unique=True),
    sa.Column("item", sa.String(100)),
    sa.Column("quantity", sa.Integer),
    sa.Column("status", sa.String(20), nullable=False),
    sa.Column("reason", sa.String(300)),
    sa.Column("timestamp", sa.Double, nullable=False),
)
# How often each outcome was decided: kept beside the reservations, so that the counter outlives the process.
_outcomes = sa.Table(
    "outcomes",
    TABLES,
    sa.Column("outcome", sa.String(20), primary_key=True),
    sa.Column("orders", sa.BigInteger, nullable=False),
)

# Built once: building a statement costs more than running it.
_KNOWN = sa.select(_reservations).where(
    sa.or_(
        _reservations.c.order_id.in_(sa.bindparam("orders", expanding=True)),
        _reservations.c.message_id.in_(sa.bindparam("messages", expanding=True)),
    )
)
_RECORD = sa.insert(_reservations)
_TALLY = (
    sa.update(_outcomes)
    .where(_outcomes.c.outcome == sa.bindparam("of"))
    .values(orders=_outcomes.c.orders + sa.bindparam("more"))
)
_OUTCOMES = sa.select(_outcomes)
_SHELVES = sa.select(_shelves).with_for_update()
_PUT_BACK = sa.update(_shelves).where(_shelves.c.item == sa.bindparam("of"))


class Inventory:
    """Stock and the reservations on it; each order is decided once, whatever is asked how often.

    Args:
        chassis: The inventory service's, with this module's `TABLES`.
    """

    def __init__(self, chassis: Chassis) -> None:
        self._store = chassis.store
        self._metrics = chassis.metrics
        self._initial = chassis.settings.stock
        self._first = chassis.settings.instance == 1
        chassis.at_start(self._prepare)

    async def _prepare(self) -> None:
        """Stock the shelves if they are new; show what is stored, which is every instance's and every earlier run's."""

        def work(connection: sa.Connection) -> None:
            full = {"left": self._initial, "reserved": 0, "received": self._initial}
            connection.execute(self._store.insert_new(_shelves), [{"item": item, **full} for item in MENU])
            outcomes = (OrderStatus.RESERVED.value, OrderStatus.FAILED.value)
            connection.execute(
                self._store.insert_new(_outcomes), [{"outcome": outcome, "orders": 0} for outcome in outcomes]
            )

        await self._store.write(work)
        if self._first:
            self._metrics.inventory(lambda: self._store.read_now(_figures))

    async def decide(self, orders: Sequence[OrderPlaced]) -> list[InventoryDecided]:
        """Reserve stock for each order or refuse, in their sequence, all in one transaction.

        An order that was decided before keeps that decision, and takes no stock again.

        Returns:
            A decision for each of `orders`, in their sequence.

        Raises:
            StoreUnavailable: Nothing was decided.
        """
        results = await self._store.write_all(_decide_all, orders)
        if repeated := sum(not one.fresh for one in results):
            self._metrics.duplicates(repeated)
        return [one.decision for one in results]

    async def release(self, order_id: str) -> ReservationStatus:
        """Give back what the order holds, if it holds any; an order released before it is reserved stays refused.

        Returns:
            What is left of the reservation: `released`, or `failed` when there never was one.

        Raises:
            StoreUnavailable: Nothing was released.
        """
        now = time.time()

        def work(connection: sa.Connection) -> ReservationStatus:
            stock = _stock(connection)
            row = connection.execute(sa.select(_reservations).where(_reservations.c.order_id == order_id)).first()
            if row is None:
                tombstone = {
                    "order_id": order_id,
                    "status": ReservationStatus.RELEASED.value,
                    "timestamp": now,
                }
                connection.execute(sa.insert(_reservations), [tombstone | {"reason": Refusal.RELEASED.value}])
                return ReservationStatus.RELEASED
            if row.status != ReservationStatus.RESERVED:
                return ReservationStatus(row.status)
            stock.release(row.item, row.quantity)
            _put_back(connection, stock)
            connection.execute(
                sa.update(_reservations)
                .where(_reservations.c.order_id == order_id)
                .values(status=ReservationStatus.RELEASED.value, reason=Refusal.RELEASED.value)
            )
            return ReservationStatus.RELEASED

        return await self._store.write(work)

    async def restock(self, item: str | None, quantity: int) -> dict[str, int]:
        """Set the units left of `item`, or of every item, to `quantity`; return the units left by item."""

        def work(connection: sa.Connection) -> Stock:
            stock = _stock(connection)
            stock.restock([item] if item else list(stock.shelves), quantity)
            _put_back(connection, stock)
            return stock

        return _left(await self._store.write(work))

    async def left(self) -> dict[str, int]:
        """The units that can still be reserved, by item."""
        return _left(await self._store.read(_stock))

    async def reservation(self, order_id: str) -> dict[str, object] | None:
        """What became of an order's request for stock, or None when there was none."""
        query = sa.select(_reservations).where(_reservations.c.order_id == order_id)
        row = await self._store.read(lambda connection: connection.execute(query).first())
        return None if row is None else {key: value for key, value in row._mapping.items() if key != "message_id"}

    async def processed(self) -> dict[str, int]:
        """How many orders were decided, by outcome."""
        return await self._store.read(_tallies)


@dataclass(frozen=True, slots=True)
class _Result:
    """A decision, and whether it was made just now."""

    decision: InventoryDecided
    fresh: bool


def _decide_all(connection: sa.Connection, orders: Sequence[OrderPlaced]) -> list[_Result]:
    now = time.time()
    # First: it locks what another instance would decide by.
    stock = _stock(connection)
    known = _decided(connection, orders)
    fresh: list[tuple[OrderPlaced, InventoryDecided]] = []
    results: list[_Result] = []
    for order in orders:
        decision = known.get(order.order_id) or known.get(order.message_id)
        results.append(_Result(decision or _decide(stock, order, now), decision is None))
        if decision is None:
            decision = known[order.order_id] = known[order.message_id] = results[-1].decision
            fresh.append((order, decision))
    if fresh:
        _record(connection, fresh, stock)
    return results


def _decide(stock: Stock, order: OrderPlaced, now: float) -> InventoryDecided:
    refusal = stock.reserve(order.item, order.quantity)
    return InventoryDecided(
        order.order_id, f"{order.order_id}.decided", order.item, order.quantity, now, refusal and refusal.value
    )


def _decided(connection: sa.Connection, orders: Sequence[OrderPlaced]) -> dict[str, InventoryDecided]:
    """Earlier decisions on any of `orders`, by order id and by message id."""
    wanted = {order.order_id: order for order in orders}
    ids = {"orders": list(wanted), "messages": [order.message_id for order in orders]}
    known: dict[str, InventoryDecided] = {}
    for row in connection.execute(_KNOWN, ids):
        item, quantity = row.item, row.quantity
        if item is None:
            item, quantity = wanted[row.order_id].item, wanted[row.order_id].quantity
        decision = InventoryDecided(row.order_id, f"{row.order_id}.decided", item, quantity, row.timestamp, row.reason)
        known[row.order_id] = decision
        if row.message_id is not None:
            known[row.message_id] = decision
    return known


def _record(connection: sa.Connection, fresh: Sequence[tuple[OrderPlaced, InventoryDecided]], stock: Stock) -> None:
    rows = [
        {
            "order_id": decision.order_id,
            "message_id": order.message_id,
            "item": decision.item,
            "quantity": decision.quantity,
            "status": decision.outcome.value,
            "reason": decision.reason,
            "timestamp": decision.timestamp,
        }
        for order, decision in fresh
    ]
    connection.execute(_RECORD, rows)
    _put_back(connection, stock)
    counts = Counter(decision.outcome.value for _order, decision in fresh)
    connection.execute(_TALLY, [{"of": outcome, "more": count} for outcome, count in counts.items()])


def _figures(connection: sa.Connection) -> tuple[dict[str, int], Stock]:
    return _tallies(connection), _stock(connection)


def _tallies(connection: sa.Connection) -> dict[str, int]:
    return {row.outcome: row.orders for row in connection.execute(_OUTCOMES)}


def _stock(connection: sa.Connection) -> Stock:
    rows = connection.execute(_SHELVES)
    return Stock({row.item: Shelf(row.left, row.reserved, row.received) for row in rows})


def _put_back(connection: sa.Connection, stock: Stock) -> None:
    connection.execute(_PUT_BACK, [{"of": item, **asdict(shelf)} for item, shelf in stock.shelves.items()])


def _left(stock: Stock) -> dict[str, int]:
    return {item: shelf.left for item, shelf in stock.shelves.items()}


def inventory_router(inventory: Inventory, chassis: Chassis) -> APIRouter:
    """The endpoints of every inventory service."""
    router = APIRouter(tags=["inventory"])
    admin = admin_router(chassis.settings.admin_token)

    @router.get("/stock")
    async def stock() -> dict[str, int]:
        return await inventory.left()

    @router.get("/reservations/{order_id}")
    async def reservation(order_id: str) -> JSONResponse:
        found = await inventory.reservation(order_id)
        if found is None:
            raise Problem(404, f"no reservation was asked for the order {order_id}")
        return JSONResponse(found)

    @admin.post("/restock")
    async def restock(body: Restock) -> dict[str, int]:
        return await inventory.restock(body.item, body.quantity)

    router.include_router(admin)
    return router
