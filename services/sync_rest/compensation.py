"""The compensation of the synchronous model: what a failed call may have reserved is released, in the end surely.

A release that is owed is written down before the customer gets an answer, and asked for until the inventory
agrees, over restarts of either service.
"""

import asyncio

import sqlalchemy as sa

from services.common.background import Background
from services.common.errors import LabError, PeerRefused
from services.common.orders import TABLES
from services.common.store import Store
from services.common.telemetry import logger
from services.sync_rest.client import Peers

RETRY_FIRST = 0.2
RETRY_MAX = 5.0

_releases = sa.Table("releases", TABLES, sa.Column("order_id", sa.String(100), primary_key=True))

_log = logger("campus.compensation")


class Compensation(Background):
    """Releases that are owed to the inventory.

    Args:
        store: Where they are kept; its tables include this module's.
        peers: The way to the inventory.
    """

    name = "compensation"

    def __init__(self, store: Store, peers: Peers) -> None:
        super().__init__()
        self._store = store
        self._peers = peers
        self._owed = asyncio.Event()

    async def release(self, order_id: str) -> None:
        """Owe a release; return once that is written down."""
        insert = self._store.insert_new(_releases)
        await self._store.write(lambda connection: connection.execute(insert, [{"order_id": order_id}]))
        self._owed.set()

    async def run(self) -> None:
        """Pay what is owed, again after a pause when the inventory does not answer."""
        pause = RETRY_FIRST
        while True:
            self._owed.clear()
            pending = await self._store.read(
                lambda connection: connection.scalars(sa.select(_releases.c.order_id)).all()
            )
            if not pending:
                await self._owed.wait()
                continue
            paid = [order_id for order_id in pending if await self._pay(order_id)]
            if len(paid) == len(pending):
                pause = RETRY_FIRST
            else:
                await asyncio.sleep(pause)
                pause = min(2 * pause, RETRY_MAX)

    async def _pay(self, order_id: str) -> bool:
        try:
            await self._peers.release(order_id)
        except PeerRefused as error:
            _log.error("release refused", order_id=order_id, error=str(error))
        except LabError as error:
            _log.warning("release put off", order_id=order_id, error=str(error))
            return False
        paid = sa.delete(_releases).where(_releases.c.order_id == order_id)
        await self._store.write(lambda connection: connection.execute(paid))
        return True
