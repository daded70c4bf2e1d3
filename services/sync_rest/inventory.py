"""Inventory over REST: it reserves when it is called and answers with its decision."""

import time

from fastapi import APIRouter, Depends, FastAPI
from pydantic import BaseModel

from services.common.chassis import Chassis, serve
from services.common.inventory import TABLES, Inventory, inventory_router
from services.common.problems import Problem
from services.common.schemas import Identifier, ItemName, Quantity
from services.common.settings import Service, Settings
from services.domain.events import OrderPlaced
from services.domain.stock import Refusal

SERVICE = Service("sync-inventory", "sync", 8001)


class ReserveRequest(BaseModel):
    """The body of POST /reserve."""

    order_id: Identifier
    item: ItemName
    quantity: Quantity


class ReleaseRequest(BaseModel):
    """The body of POST /release."""

    order_id: Identifier


def create_app(settings: Settings | None = None) -> FastAPI:
    """The service's app; it opens nothing before it starts."""
    chassis = Chassis(SERVICE, TABLES, settings)
    inventory = Inventory(chassis)
    router = APIRouter(tags=["rest"], dependencies=[Depends(chassis.faults.before_request)])

    @router.post("/reserve")
    async def reserve(request: ReserveRequest) -> dict[str, object]:
        order = OrderPlaced(request.order_id, request.order_id, request.item, request.quantity, time.time())
        [decision] = await inventory.decide([order])
        if decision.reason is not None:
            raise Problem(404 if decision.reason == Refusal.UNKNOWN_ITEM else 409, decision.reason)
        return {**request.model_dump(), "status": "reserved"}

    @router.post("/release")
    async def release(request: ReleaseRequest) -> dict[str, str]:
        return {"order_id": request.order_id, "status": await inventory.release(request.order_id)}

    return chassis.app(inventory_router(inventory, chassis), router)


if __name__ == "__main__":
    serve(SERVICE, create_app)
