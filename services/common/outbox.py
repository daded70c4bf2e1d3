"""The outbox: an order is written down before it is published, and published again while no confirm is."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from services.common.background import Background, until_stored
from services.common.chassis import Chassis
from services.common.errors import BrokerUnavailable, StoreUnavailable
from services.common.orders import OrderBook
from services.common.telemetry import logger
from services.domain.orders import Order

WRITE_EVERY = 0.05
"""Seconds between two writes of what the broker has confirmed."""

_log = logger("campus.outbox")


class Outbox(Background):
    """Publishes what an earlier run of the service left behind, and keeps account of what is confirmed.

    The inventory ignores what it has decided already, so publishing twice does no harm.

    Args:
        chassis: The order service's.
        book: Its orders.
        publish: Publishes orders and returns when all are confirmed; raises `BrokerUnavailable`.
        answer: The HTTP status of an accepted order.
    """

    name = "outbox"

    def __init__(
        self,
        chassis: Chassis,
        book: OrderBook,
        publish: Callable[[Sequence[Order]], Awaitable[None]],
        *,
        answer: int,
    ) -> None:
        super().__init__()
        self._book = book
        self._publish = publish
        self._answer = answer
        self._left: list[Order] = []
        self._confirmed: list[Order] = []
        self._any = asyncio.Event()
        chassis.at_start(self._look)
        chassis.runs(self)

    async def _look(self) -> None:
        # Before the service takes orders: what is unanswered now is nobody's but the outbox's.
        self._left = await self._book.unanswered()

    def confirmed(self, orders: Sequence[Order]) -> None:
        """Note that the broker has these orders; written soon, for it only spares a repetition after a crash."""
        self._confirmed += orders
        self._any.set()

    async def run(self) -> None:
        """Publish what was left, then write down what is confirmed."""
        while self._left:
            orders = self._left[:1000]
            try:
                await self._publish(orders)
            except BrokerUnavailable as error:
                _log.warning("left orders wait for the broker", orders=len(self._left), error=str(error))
                await asyncio.sleep(1)
                continue
            self.confirmed(orders)
            self._left = self._left[1000:]
            _log.info("left orders published", orders=len(orders))
        while True:
            await self._any.wait()
            await asyncio.sleep(WRITE_EVERY)
            self._any.clear()
            await until_stored(self._write)

    async def stop(self) -> None:
        """End, with everything written."""
        await super().stop()
        await self._write()

    async def _write(self) -> None:
        if orders := self._confirmed:
            self._confirmed = []
            try:
                await self._book.answered(orders, self._answer)
            except StoreUnavailable:
                self._confirmed = orders + self._confirmed
                raise
