"""Analytics over Kafka: a view of all orders and decisions, in event time, that a replay builds again the same."""

from fastapi import FastAPI
from fastapi.responses import JSONResponse

from services.common.chassis import Chassis, serve
from services.common.errors import BrokerUnavailable
from services.common.faults import admin_router
from services.common.problems import Problem
from services.common.settings import Service, Settings
from services.domain.events import InventoryDecided, OrderPlaced
from services.streaming_kafka.log import ANALYTICS_GROUP, INVENTORY_EVENTS, ORDER_EVENTS, Producer, Projection, Read
from services.streaming_kafka.view import TABLES, View

SERVICE = Service("streaming-analytics", "streaming", 8022)


def create_app(settings: Settings | None = None) -> FastAPI:
    """The service's app; it opens nothing before it starts."""
    chassis = Chassis(SERVICE, TABLES, settings)
    view = View(chassis.store, chassis.metrics)
    chassis.at_start(view.prepare)
    producer = Producer(chassis)

    reads: dict[str, Read[OrderPlaced | InventoryDecided]] = {
        ORDER_EVENTS: OrderPlaced.from_wire,
        INVENTORY_EVENTS: InventoryDecided.from_wire,
    }
    projection = Projection(
        chassis, ANALYTICS_GROUP, reads, view.apply, producer, stored=view.offsets, clear=view.clear
    )
    admin = admin_router(chassis.settings.admin_token)

    @admin.post("/reset-offsets")
    async def reset_offsets() -> dict[str, str]:
        try:
            await projection.replay()
        except BrokerUnavailable as error:
            raise Problem(503, str(error)) from error
        return {"status": "replaying from the beginning"}

    app = chassis.app(admin)

    @app.get("/metrics", tags=["analytics"])
    async def figures() -> JSONResponse:
        return JSONResponse(await view.figures())

    return app


if __name__ == "__main__":
    serve(SERVICE, create_app)
