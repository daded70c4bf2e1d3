"""Work that a service does beside its requests, in a task that health watches."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from services.common.errors import StoreUnavailable
from services.common.telemetry import logger

_log = logger("campus.background")


class Background:
    """A component whose `run` goes on as long as the service does; a subclass names itself and runs."""

    name = "background"

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Work until cancelled."""
        raise NotImplementedError

    async def start(self) -> None:
        """Begin to run."""
        self._task = asyncio.create_task(self.run(), name=self.name)
        self._task.add_done_callback(self._ended)

    async def stop(self) -> None:
        """Cancel the work and wait for its end."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def failing(self) -> str | None:
        """Whether the work has ended although the service has not."""
        if self._task is None:
            return "not started"
        if not self._task.done():
            return None
        error = None if self._task.cancelled() else self._task.exception()
        return f"ended: {error!r}" if error else "ended"

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            _log.error("ended", component=self.name, exc_info=task.exception())


T = TypeVar("T")


async def until_stored(work: Callable[[], Awaitable[T]]) -> T:
    """Await `work` and return its result, again after a pause while the store cannot be used.

    It is the service that cannot work then, not the messages: they wait, and health says why.
    """
    while True:
        try:
            return await work()
        except StoreUnavailable as error:
            _log.error("work put off", error=str(error))
            await asyncio.sleep(1)
