"""How much faster the lab's services are than the way people begin, as ratios measured in one run.

`python -m benchmarks.speed` on a lab that is up: its services are stopped meanwhile, its brokers are used. The
lab's side is durable, idempotent and measured (metrics on, traces off); the naive side (`naive.py`) is neither.
Prints a table; exits with 1 when a ratio is below its target.
"""

import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import confluent_kafka as kafka
import httpx
from rich.console import Console
from rich.table import Table

from benchmarks.harness import SYNC, environment, lab_service, orders_per_second, process, services_stopped
from benchmarks.naive import streaming_inventory
from lab.console import say
from lab.experiments.actions import perform
from lab.runtime.base import Runtime
from lab.runtime.choose import choose
from lab.stack import stack
from lab.waiting import wait_until
from services.common.wire import encode
from services.domain.events import OrderPlaced
from services.streaming_kafka.log import INVENTORY_EVENTS, ORDER_EVENTS

OURS, NAIVE = 8100, 8200
"""First ports of the two sides."""

SECONDS = 6.0
CLIENTS = 32
EVENTS, NAIVE_EVENTS = 60_000, 3_000


def main() -> int:
    """Measure and print; 0 when every ratio reaches its target."""
    runtime = choose(None)
    bootstrap = f"127.0.0.1:{stack().ports['kafka']}"
    with tempfile.TemporaryDirectory() as data, services_stopped(runtime):
        given = environment(data, OURS) | {"LAB_TRACES": "off"}
        rows: list[tuple[str, str, float, float, int | None]] = []
        perform("purge streaming", runtime)
        say("measuring sync: complete orders/s")
        rows.append(("sync: complete orders/s", "a client per call", *_sync(given), 25))
        say(f"  {rows[-1]}")
        say("measuring async: orders accepted/s")
        accepted, blocking, threads = _async(given, runtime)
        rows.append(("async: orders accepted/s", "a connection per publish", accepted, blocking, 15))
        rows.append(("", "the same, in 40 threads", accepted, threads, None))
        say(f"  {accepted:.0f}, {blocking:.0f}, {threads:.0f}")
        say("measuring streaming: decisions/s")
        rows.append(("streaming: decisions/s", "flush, commit per message", *_streaming(given, bootstrap), 10))
        perform("purge streaming", runtime)
    perform("replay", runtime)
    table = Table("what", "the lab", "people begin with", "", "ratio", "target")
    for what, way, ours, naive, target in rows:
        table.add_row(
            what, f"{ours:,.0f}", f"{naive:,.0f}", way, f"{ours / naive:.1f}x", f"≥ {target}x" if target else ""
        )
    Console().print(table)
    return 0 if all(ours / naive >= (target or 0) for _what, _way, ours, naive, target in rows) else 1


def _sync(given: dict[str, str]) -> tuple[float, float]:
    with ExitStack() as running:
        for module, offset in SYNC.items():
            running.enter_context(lab_service(module, OURS + offset, given))
        ours = orders_per_second(OURS, seconds=SECONDS, clients=CLIENTS)
    with ExitStack() as running:
        for offset, name in enumerate(("sync-order", "sync-inventory", "sync-notification")):
            running.enter_context(_naive(name, NAIVE if not offset else NAIVE + offset, given))
        naive = orders_per_second(NAIVE, seconds=SECONDS, clients=CLIENTS)
    return ours, naive


def _async(given: dict[str, str], runtime: Runtime) -> tuple[float, float, float]:
    with lab_service("services.async_rabbitmq.order", OURS + 10, given):
        ours = orders_per_second(OURS + 10, seconds=SECONDS, clients=CLIENTS)
    naive = []
    for name in ("async-order", "async-order-threads"):
        with _naive(name, NAIVE + 10, given):
            naive.append(orders_per_second(NAIVE + 10, seconds=SECONDS, clients=CLIENTS))
    perform("purge async", runtime)
    return ours, naive[0], naive[1]


def _streaming(given: dict[str, str], bootstrap: str) -> tuple[float, float]:
    since = time.time()
    producer = kafka.Producer({"bootstrap.servers": bootstrap, "acks": "all", "queue.buffering.max.messages": 200_000})
    for number in range(EVENTS):
        order_id = f"speed-{since:.0f}-{number}"
        event = OrderPlaced(order_id, order_id, "burger", 1, time.time())
        producer.produce(ORDER_EVENTS, encode(event), order_id)
    producer.flush()
    with lab_service("services.streaming_kafka.inventory", OURS + 21, given):
        wait_until(lambda: _unprocessed(OURS + 21), limit=120, what="The last inventory event")
    ours = _rate_of_records(bootstrap, since)
    return ours, streaming_inventory(bootstrap, NAIVE_EVENTS, "dead-letter-events")


def _unprocessed(port: int) -> str | None:
    done = int(httpx.get(f"http://127.0.0.1:{port}/stats", trust_env=False).json()["processed_count"])
    return None if done >= EVENTS else f"{done} of {EVENTS} done"


def _rate_of_records(bootstrap: str, since: float) -> float:
    """Events per second by the brokers' timestamps of the first and the last decision after `since`."""
    consumer = kafka.Consumer({"bootstrap.servers": bootstrap, "group.id": "speed", "enable.auto.commit": False})
    partitions = range(len(consumer.list_topics(INVENTORY_EVENTS, timeout=10).topics[INVENTORY_EVENTS].partitions))
    wanted = [kafka.TopicPartition(INVENTORY_EVENTS, partition, int(since * 1000)) for partition in partitions]
    consumer.assign(consumer.offsets_for_times(wanted, timeout=10))
    stamps: list[int] = []
    while len(stamps) < EVENTS:
        stamps += [message.timestamp()[1] for message in consumer.consume(1000, 5) if not message.error()]
    consumer.close()
    return len(stamps) * 1000 / (max(stamps) - min(stamps))


@contextmanager
def _naive(name: str, port: int, given: dict[str, str]) -> Iterator[None]:
    with process(["benchmarks.naive", name, str(port)], given, f"http://127.0.0.1:{port}/docs"):
        yield


if __name__ == "__main__":
    sys.exit(main())
