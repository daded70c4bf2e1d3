"""What the benchmarks share: processes on spare ports, and clients that ask again as soon as they are answered."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

import httpx

from lab.runtime.base import Runtime
from lab.runtime.health import rabbitmq_url
from lab.stack import stack
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


SYNC = {f"services.sync_rest.{name}": offset for offset, name in enumerate(("order", "inventory", "notification"))}
"""The synchronous model's modules, each with its distance from the model's first port."""


def environment(data: str, port: int) -> dict[str, str]:
    """What services on spare ports are given: `data` as their folder, the lab's brokers, peers from `port` on."""
    return {
        "LAB_DATA": data,
        "LAB_STOCK": str(10**9),
        "RABBITMQ_URL": rabbitmq_url("127.0.0.1", stack().ports["rabbitmq"]),
        "KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{stack().ports['kafka']}",
        "SYNC_INVENTORY_URL": f"http://127.0.0.1:{port + 1}",
        "SYNC_NOTIFICATION_URL": f"http://127.0.0.1:{port + 2}",
    }


@contextmanager
def lab_service(module: str, port: int, given: Mapping[str, str]) -> Iterator[None]:
    """Run one of the lab's services on `port`."""
    with process([module], {**given, "LAB_PORT": str(port)}, f"http://127.0.0.1:{port}/health"):
        yield


@contextmanager
def services_stopped(runtime: Runtime) -> Iterator[None]:
    """The lab's brokers without its services, which are started again afterwards."""
    names = [service.name for service in stack().services]
    for name in names:
        runtime.stop(name)
    try:
        yield
    finally:
        for name in names:
            runtime.start(name)
