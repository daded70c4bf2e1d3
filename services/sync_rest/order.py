"""Orders over REST: the customer waits while inventory and notification are called in turn."""

from dataclasses import replace as copy_with

from fastapi import FastAPI

from services.common.chassis import Chassis, serve
from services.common.desk import OrderDesk, count_replies, order_router
from services.common.errors import LabError, PeerTimeout, PeerUnreachable
from services.common.orders import TABLES, OrderBook
from services.common.settings import Service, Settings
from services.common.telemetry import logger
from services.domain.orders import Order, OrderStatus
from services.sync_rest.client import Peers
from services.sync_rest.compensation import Compensation

SERVICE = Service("sync-order", "sync", 8000)

_log = logger("campus.orders")


def create_app(settings: Settings | None = None) -> FastAPI:
    """The service's app; it opens nothing before it starts."""
    chassis = Chassis(SERVICE, TABLES, settings)
    book = OrderBook(chassis.store, chassis.metrics)
    peers = Peers(chassis.settings)
    compensation = Compensation(chassis.store, peers)

    async def place(order: Order) -> OrderStatus:
        try:
            await peers.reserve(order.order_id, order.item, order.quantity)
        except (PeerTimeout, PeerUnreachable):
            await compensation.release(order.order_id)
            raise
        try:
            await peers.send(order.order_id, OrderStatus.RESERVED, order.item)
        except LabError as error:
            _log.warning("not notified", order_id=order.order_id, error=str(error))
            return OrderStatus.RESERVED
        return OrderStatus.NOTIFIED

    async def give_up_unanswered() -> None:
        # At a start, what is under way is an earlier run's: no client waits for it any more.
        if unanswered := await book.unanswered():
            for order in unanswered:
                await compensation.release(order.order_id)
            failed = [copy_with(order, status=OrderStatus.FAILED) for order in unanswered]
            await book.answered(failed, 502, "the order service ended before it could answer")

    chassis.at_start(give_up_unanswered)
    chassis.runs(peers)
    chassis.runs(compensation)
    desk = OrderDesk(chassis, book, place, accepted=201)
    app = chassis.app(order_router(desk, book, chassis))
    count_replies(app, chassis.metrics)
    return app


if __name__ == "__main__":
    serve(SERVICE, create_app)
