"""Orders over Kafka: the customer waits for the log's acknowledgement; the outcome comes by an event."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import Depends, FastAPI
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from services.common.chassis import Chassis, serve
from services.common.desk import OrderDesk, count_replies, new_order, order_router
from services.common.orders import TABLES, OrderBook
from services.common.outbox import Outbox
from services.common.schemas import MenuItem, Quantity
from services.common.settings import Service, Settings
from services.common.tracing import left_out
from services.domain.events import InventoryDecided, OrderPlaced
from services.domain.orders import Order, OrderStatus
from services.streaming_kafka.log import (
    INVENTORY_EVENTS,
    ORDER_EVENTS,
    ORDER_STATUS_GROUP,
    Consumer,
    Outgoing,
    Producer,
)

SERVICE = Service("streaming-order", "streaming", 8020)

BULK_MAX = 100_000


class BulkWish(BaseModel):
    """The body of POST /orders/bulk: `count` orders alike."""

    count: Annotated[int, Field(strict=True, ge=1, le=BULK_MAX)]
    item: MenuItem = "burger"
    quantity: Quantity = 1


def create_app(settings: Settings | None = None) -> FastAPI:
    """The service's app; it opens nothing before it starts."""
    chassis = Chassis(SERVICE, TABLES, settings)
    book = OrderBook(chassis.store, chassis.metrics)
    producer = Producer(chassis)

    async def publish(orders: Sequence[Order]) -> None:
        context = left_out() if len(orders) > 1 else None
        await producer.publish([Outgoing.of(ORDER_EVENTS, OrderPlaced.of(order), context) for order in orders])

    async def place(order: Order) -> OrderStatus:
        await publish([order])
        return OrderStatus.PLACED

    async def settle(decisions: Sequence[InventoryDecided]) -> None:
        await book.settle(decisions)

    reads = {INVENTORY_EVENTS: InventoryDecided.from_wire}
    Consumer(chassis, ORDER_STATUS_GROUP, reads, settle, producer)
    outbox = Outbox(chassis, book, publish, answer=201)
    desk = OrderDesk(chassis, book, place, accepted=201, confirmed=outbox.confirmed)
    app = chassis.app(order_router(desk, book, chassis))
    count_replies(app, chassis.metrics)

    @app.post("/orders/bulk", tags=["orders"], dependencies=[Depends(chassis.faults.before_request)])
    async def bulk(wish: BulkWish) -> JSONResponse:
        orders = [new_order(wish.item, wish.quantity) for _ in range(wish.count)]
        await desk.take_all(orders, publish)
        return JSONResponse({"count": len(orders), "order_ids_sample": [order.order_id for order in orders[:5]]}, 201)

    return app


if __name__ == "__main__":
    serve(SERVICE, create_app)
