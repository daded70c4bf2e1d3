"""The outbox: orders that were written down, but whose publishing nobody saw end, are published after a start."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from services.common.background import Background, until_stored
from services.common.chassis import Chassis
from services.common.errors import BrokerUnavailable
from services.common.orders import OrderBook
from services.common.telemetry import logger
from services.domain.orders import Order

_log = logger("campus.outbox")


class Outbox(Background):
    """Publishes what an earlier run of the service left behind, when the broker can be reached.

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
        chassis.at_start(self._look)
        chassis.runs(self)

    async def _look(self) -> None:
        # Before the service takes orders: what is unanswered now is nobody's but the outbox's.
        self._left = await self._book.unanswered()

    def failing(self) -> str | None:
        """None once all is published: ending is what this is for."""
        return None if self._task is not None and self._task.done() and not self._left else super().failing()

    async def run(self) -> None:
        """Publish what is left, then end."""
        while self._left:
            orders = self._left[:1000]
            try:
                await self._publish(orders)
            except BrokerUnavailable as error:
                _log.warning("left orders wait for the broker", orders=len(self._left), error=str(error))
                await asyncio.sleep(1)
                continue
            await until_stored(partial(self._book.answered, orders, self._answer))
            _log.info("left orders published", orders=len(orders))
            self._left = self._left[1000:]
