"""Notifications: who was told that an order is ready, each order once."""

import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import APIRouter, Query

from services.common.chassis import Chassis
from services.common.schemas import Identifier

TABLES = sa.MetaData()

_notifications = sa.Table(
    "notifications",
    TABLES,
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("order_id", sa.String(100), nullable=False, unique=True),
    sa.Column("status", sa.String(100), nullable=False),
    sa.Column("item", sa.String(100), nullable=False),
    sa.Column("timestamp", sa.Double, nullable=False),
)


class Notifications:
    """The notifications that were sent.

    Args:
        chassis: The notification service's, with this module's `TABLES`.
    """

    def __init__(self, chassis: Chassis) -> None:
        self._store = chassis.store
        self._metrics = chassis.metrics
        self._insert = chassis.store.insert_new(_notifications).returning(_notifications.c.order_id)

    async def send(self, about: Sequence[tuple[str, str, str]]) -> None:
        """Notify of each (order_id, status, item) that was not notified of before, all in one transaction.

        Raises:
            StoreUnavailable: Nobody was notified.
        """
        now = time.time()
        rows = [
            {"order_id": order_id, "status": status, "item": item, "timestamp": now} for order_id, status, item in about
        ]
        sent = sum(await self._store.write_all(self._add, rows))
        self._metrics.notified(sent)
        if sent < len(rows):
            self._metrics.duplicates(len(rows) - sent)

    def _add(self, connection: sa.Connection, rows: Sequence[Mapping[str, Any]]) -> list[bool]:
        """Write what is new, and say of each row whether it was."""
        added = set(connection.scalars(self._insert, rows))
        new = []
        for row in rows:
            new.append(row["order_id"] in added)
            added.discard(row["order_id"])
        return new

    async def list(self, limit: int, order_id: str | None) -> list[dict[str, object]]:
        """Up to `limit` notifications, newest first; with an `order_id` that order's only."""
        fields = [_notifications.c[name] for name in ("order_id", "status", "item", "timestamp")]
        query = sa.select(*fields).order_by(_notifications.c.seq.desc()).limit(limit)
        if order_id is not None:
            query = query.where(_notifications.c.order_id == order_id)
        return await self._store.read(lambda connection: [dict(row._mapping) for row in connection.execute(query)])


def notification_router(notifications: Notifications) -> APIRouter:
    """The endpoints of every notification service."""
    router = APIRouter(tags=["notifications"])

    @router.get("/notifications")
    async def listed(
        limit: Annotated[int, Query(ge=1, le=1000)] = 100, order_id: Identifier | None = None
    ) -> list[dict[str, object]]:
        return await notifications.list(limit, order_id)

    return router
