"""Inventory over RabbitMQ: it reserves for orders placed and publishes its decisions."""

from collections.abc import Sequence

from fastapi import FastAPI

from services.async_rabbitmq.amqp import INVENTORY_QUEUE, Consumer, Publisher
from services.common.chassis import Chassis, serve
from services.common.inventory import TABLES, Inventory, inventory_router
from services.common.settings import Service, Settings
from services.domain.events import InventoryDecided, OrderPlaced

SERVICE = Service("async-inventory", "async", 8011)


def create_app(settings: Settings | None = None) -> FastAPI:
    """The service's app; it opens nothing before it starts."""
    chassis = Chassis(SERVICE, TABLES, settings)
    inventory = Inventory(chassis)
    publisher = Publisher(chassis)

    async def reserve(orders: Sequence[OrderPlaced]) -> list[InventoryDecided]:
        return await inventory.decide(orders)

    Consumer(chassis, INVENTORY_QUEUE, OrderPlaced.from_wire, reserve, publisher)
    return chassis.app(inventory_router(inventory, chassis))


if __name__ == "__main__":
    serve(SERVICE, create_app)
