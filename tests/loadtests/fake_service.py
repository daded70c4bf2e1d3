"""A small HTTP service on a loopback port that takes orders and restocks, and can stall or refuse."""

import asyncio
import json
import threading
from types import TracebackType


class FakeService:
    """Serves `POST` requests from a thread of its own, for as long as the context lasts.

    Args:
        stall_after: The number of orders after which the service stops answering once.
        stall_seconds: How long it answers nothing then; all that arrives meanwhile waits for the end.
        status: The HTTP status of every order's answer.

    Attributes:
        port: The loopback port.
        orders: Bodies of the orders, in order of arrival.
        stocked: Bodies of the restocks.
    """

    def __init__(self, *, stall_after: int | None = None, stall_seconds: float = 0.0, status: int = 201) -> None:
        self.port = 0
        self.orders: list[dict[str, object]] = []
        self.stocked: list[dict[str, object]] = []
        self._stall_after = stall_after
        self._stall_seconds = stall_seconds
        self._status = status
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    @property
    def url(self) -> str:
        """The address, for `--host` and `--inventory-host`."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> "FakeService":
        self._thread.start()
        assert self._ready.wait(10), "the fake service did not start within 10 s"
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _serve(self) -> None:
        async def start() -> None:
            self._gate = asyncio.Event()
            self._gate.set()
            server = await asyncio.start_server(self._converse, "127.0.0.1", 0, backlog=4096)
            self.port = server.sockets[0].getsockname()[1]
            self._ready.set()

        self._loop.run_until_complete(start())
        self._loop.run_forever()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                length = int(head.partition("content-length:")[2].partition("\r\n")[0] or 0)
                body = json.loads(await reader.readexactly(length) or b"{}")
                status = await self._answer(head.split(" ")[1], body)
                writer.write(f"HTTP/1.1 {status} Answer\r\nContent-Length: 2\r\n\r\n{{}}".encode())
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def _answer(self, path: str, body: dict[str, object]) -> int:
        if path == "/admin/restock":
            self.stocked.append(body)
            return 200
        self.orders.append(body)
        if len(self.orders) == self._stall_after:
            self._gate.clear()
            self._loop.call_later(self._stall_seconds, self._gate.set)
        await self._gate.wait()
        return self._status
