"""Inventory over Kafka: it reserves for orders placed and produces its decisions."""

from collections.abc import Sequence

from fastapi import FastAPI

from services.common.chassis import Chassis, serve
from services.common.inventory import TABLES, Inventory, inventory_router
from services.common.settings import Service, Settings
from services.domain.events import InventoryDecided, OrderPlaced
from services.streaming_kafka.log import (
    INVENTORY_EVENTS,
    INVENTORY_GROUP,
    ORDER_EVENTS,
    Producer,
    TransactionalConsumer,
)

SERVICE = Service("streaming-inventory", "streaming", 8021)


def create_app(settings: Settings | None = None) -> FastAPI:
    """The service's app; it opens nothing before it starts."""
    chassis = Chassis(SERVICE, TABLES, settings)
    inventory = Inventory(chassis)
    producer = Producer(chassis)

    async def reserve(orders: Sequence[OrderPlaced]) -> list[InventoryDecided]:
        return await inventory.decide(orders)

    reads = {ORDER_EVENTS: OrderPlaced.from_wire}
    TransactionalConsumer(chassis, INVENTORY_GROUP, reads, reserve, producer, into=INVENTORY_EVENTS)
    app = chassis.app(inventory_router(inventory, chassis))

    @app.get("/stats", tags=["inventory"])
    async def stats() -> dict[str, int]:
        processed = await inventory.processed()
        return {"processed_count": sum(processed.values()), **processed}

    return app


if __name__ == "__main__":
    serve(SERVICE, create_app)
