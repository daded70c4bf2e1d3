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
        tokens: The `Authorization` header of each restock, in lower case, empty when there was none.
    """

    def __init__(self, *, stall_after: int | None = None, stall_seconds: float = 0.0, status: int = 201) -> None:
        self.port = 0
        self.orders: list[dict[str, object]] = []
        self.stocked: list[dict[str, object]] = []
        self.tokens: list[str] = []
        self._stall_after = stall_after
        self._stall_seconds = stall_seconds
        self._status = status
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    @property
    def url(self) -> str:
        """The address, for `--host` and `--inventory-host`."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> "FakeService":
        self._thread.start()
        assert self._ready.wait(10), "the fake service did not start within 10 s"
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(10)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._over, self._gate = asyncio.Event(), asyncio.Event()
        self._gate.set()
        server = await asyncio.start_server(self._converse, "127.0.0.1", 0, backlog=4096)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._over.wait()
        server.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                body = json.loads(await reader.readexactly(int(_header(head, "content-length") or 0)) or b"{}")
                if head.startswith("post /admin/restock "):
                    self.stocked.append(body)
                    self.tokens.append(_header(head, "authorization"))
                    status = 200
                else:
                    status = await self._order(body)
                writer.write(f"HTTP/1.1 {status} Answer\r\nContent-Length: 2\r\n\r\n{{}}".encode())
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            writer.close()

    async def _order(self, body: dict[str, object]) -> int:
        self.orders.append(body)
        if len(self.orders) == self._stall_after:
            self._gate.clear()
            self._loop.call_later(self._stall_seconds, self._gate.set)
        await self._gate.wait()
        return self._status


def _header(head: str, name: str) -> str:
    return head.partition(f"\r\n{name}:")[2].partition("\r\n")[0].strip()
