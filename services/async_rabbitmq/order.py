"""Orders over RabbitMQ: the customer waits for the broker's confirm; the outcome comes by a message."""

from collections.abc import Sequence

from fastapi import FastAPI

from services.async_rabbitmq.amqp import ORDER_STATUS_QUEUE, Consumer, Outgoing, Publisher
from services.common.chassis import Chassis, serve
from services.common.desk import OrderDesk, count_replies, order_router
from services.common.orders import TABLES, OrderBook
from services.common.outbox import Outbox
from services.common.settings import Service, Settings
from services.domain.events import InventoryDecided, OrderPlaced
from services.domain.orders import Order, OrderStatus

SERVICE = Service("async-order", "async", 8010)


def create_app(settings: Settings | None = None) -> FastAPI:
    """The service's app; it opens nothing before it starts."""
    chassis = Chassis(SERVICE, TABLES, settings)
    book = OrderBook(chassis.store, chassis.metrics)
    publisher = Publisher(chassis)

    async def publish(orders: Sequence[Order]) -> None:
        await publisher.publish([Outgoing.of(OrderPlaced.of(order)) for order in orders])

    async def place(order: Order) -> OrderStatus:
        await publish([order])
        return OrderStatus.PLACED

    async def settle(decisions: Sequence[InventoryDecided]) -> None:
        await book.settle(decisions)

    Consumer(chassis, ORDER_STATUS_QUEUE, InventoryDecided.from_wire, settle, publisher)
    outbox = Outbox(chassis, book, publish, answer=202)
    desk = OrderDesk(chassis, book, place, accepted=202, confirmed=outbox.confirmed)
    app = chassis.app(order_router(desk, book, chassis))
    count_replies(app, chassis.metrics)
    return app


if __name__ == "__main__":
    serve(SERVICE, create_app)
