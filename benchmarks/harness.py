"""What the benchmarks share: processes on spare ports, and clients that ask again as soon as they are answered."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

import httpx

from lab.waiting import wait_until


@contextmanager
def process(arguments: Sequence[str], environment: Mapping[str, str], ready: str) -> Iterator[None]:
    """Run `python -m ARGUMENTS` until the block ends; it is entered once the URL `ready` answers at all."""
    running = subprocess.Popen(  # noqa: S603 - our own interpreter and modules
        [sys.executable, "-m", *arguments], env=os.environ | environment, stdout=subprocess.DEVNULL
    )
    client = httpx.Client(trust_env=False)

    def silent() -> str | None:
        try:
            return None if client.get(ready).status_code < 500 else "it is not healthy"
        except httpx.HTTPError as error:
            return str(error)

    try:
        wait_until(silent, limit=40, what=f"{ready} of {' '.join(arguments)}")
        yield
    finally:
        running.terminate()
        with suppress(subprocess.TimeoutExpired):
            running.wait(20)
        running.kill()


def orders_per_second(port: int, *, seconds: float, clients: int, warm_up: float = 1.0) -> float:
    """How many POST /order are answered with a 2xx per second by a service on `port`, over kept connections.

    Raises:
        RuntimeError: An answer was anything but a 2xx.
    """
    return asyncio.run(_closed_loop(port, seconds, clients, warm_up))


async def _closed_loop(port: int, seconds: float, clients: int, warm_up: float) -> float:
    body = b'{"item": "burger", "quantity": 1}'
    headers = ("POST /order HTTP/1.1", "Host: lab", "Content-Type: application/json", f"Content-Length: {len(body)}")
    request = "\r\n".join((*headers, "", "")).encode() + body
    counted_from = time.perf_counter() + warm_up
    until = counted_from + seconds
    answered = 0

    async def client() -> None:
        nonlocal answered
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while (now := time.perf_counter()) < until:
            writer.write(request)
            reply = await reader.readuntil(b"\r\n\r\n")
            if not reply.startswith(b"HTTP/1.1 2"):
                raise RuntimeError(f"port {port} answered {reply.splitlines()[0].decode()}")
            length = next(line for line in reply.split(b"\r\n") if line.lower().startswith(b"content-length"))
            await reader.readexactly(int(length.split(b":")[1]))
            answered += now >= counted_from
        writer.close()

    await asyncio.gather(*[client() for _ in range(clients)])
    return answered / (time.perf_counter() - counted_from)
