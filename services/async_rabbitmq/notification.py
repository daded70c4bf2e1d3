"""Notification over RabbitMQ: it notifies of orders whose stock was reserved."""

from collections.abc import Sequence

from fastapi import FastAPI

from services.async_rabbitmq.amqp import NOTIFICATION_QUEUE, Consumer, Publisher
from services.common.chassis import Chassis, serve
from services.common.notifications import TABLES, Notifications, notification_router
from services.common.settings import Service, Settings
from services.domain.events import InventoryDecided

SERVICE = Service("async-notification", "async", 8012)


def create_app(settings: Settings | None = None) -> FastAPI:
    """The service's app; it opens nothing before it starts."""
    chassis = Chassis(SERVICE, TABLES, settings)
    notifications = Notifications(chassis)
    publisher = Publisher(chassis)

    async def send(decisions: Sequence[InventoryDecided]) -> None:
        await notifications.send([(decision.order_id, decision.outcome, decision.item) for decision in decisions])

    Consumer(chassis, NOTIFICATION_QUEUE, InventoryDecided.from_wire, send, publisher)
    return chassis.app(notification_router(notifications))


if __name__ == "__main__":
    serve(SERVICE, create_app)
