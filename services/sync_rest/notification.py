"""Notification over REST: it notifies when it is called."""

from fastapi import APIRouter, Depends, FastAPI
from pydantic import BaseModel

from services.common.chassis import Chassis, serve
from services.common.notifications import TABLES, Notifications, notification_router
from services.common.schemas import Identifier, ItemName
from services.common.settings import Service, Settings

SERVICE = Service("sync-notification", "sync", 8002)


class SendRequest(BaseModel):
    """The body of POST /send."""

    order_id: Identifier
    status: ItemName
    item: ItemName


def create_app(settings: Settings | None = None) -> FastAPI:
    """The service's app; it opens nothing before it starts."""
    chassis = Chassis(SERVICE, TABLES, settings)
    notifications = Notifications(chassis)
    router = APIRouter(tags=["rest"], dependencies=[Depends(chassis.faults.before_request)])

    @router.post("/send")
    async def send(request: SendRequest) -> dict[str, str]:
        await notifications.send([(request.order_id, request.status, request.item)])
        return {"order_id": request.order_id, "status": "sent"}

    return chassis.app(notification_router(notifications), router)


if __name__ == "__main__":
    serve(SERVICE, create_app)
