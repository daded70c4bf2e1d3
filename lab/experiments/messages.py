"""Messages that no service would send: the same one twice, and such as nobody can understand."""

import itertools
import json
import time
import uuid
from collections.abc import Iterator

import httpx
from confluent_kafka import Producer

from lab.errors import LabError
from lab.http import post
from lab.runtime.health import rabbitmq_user
from lab.runtime.topics import client_settings
from lab.stack import stack


def publish(model: str, count: str, kind: str) -> list[str]:
    """Send `count` orders for inventory past the order service: each "twice", or "malformed" ones.

    Returns:
        The messages' bodies, in the sequence in which they were sent.

    Raises:
        LabError: The model or the kind is unknown, or the broker does not take them.
    """
    kinds = {"twice": _twice, "malformed": _malformed}
    senders = {"sync": _reserve, "async": _to_queue, "streaming": _to_log}
    if kind not in kinds or model not in senders:
        raise LabError(f"Messages are {' or '.join(kinds)}, for {', '.join(senders)}; not {kind!r} for {model!r}.")
    messages = list(kinds[kind](int(count)))
    senders[model](messages)
    return messages


def _order() -> dict[str, object]:
    order_id = str(uuid.uuid4())
    return {"order_id": order_id, "message_id": order_id, "item": "burger", "quantity": 1, "timestamp": time.time()}


def _twice(count: int) -> Iterator[str]:
    for _ in range(count):
        message = json.dumps(_order())
        yield message
        yield message


def _malformed(count: int) -> Iterator[str]:
    absent = {name: value for name, value in _order().items() if name != "item"}
    kinds = (
        "not json",
        json.dumps(absent),
        json.dumps(_order() | {"quantity": "two"}),
        json.dumps(_order() | {"quantity": -1}),
    )
    yield from itertools.islice(itertools.cycle(kinds), count)


def _reserve(messages: list[str]) -> None:
    for message in messages:
        fields = json.loads(message)
        post("sync-inventory", "/reserve", {name: fields[name] for name in ("order_id", "item", "quantity")})


def _to_queue(messages: list[str]) -> None:
    url = f"http://127.0.0.1:{stack().ports['rabbitmq-management']}/api/exchanges/%2F/orders_exchange/publish"
    with httpx.Client(auth=rabbitmq_user(), timeout=10, trust_env=False) as client:
        for message in messages:
            letter = {"routing_key": "order.placed", "payload": message, "payload_encoding": "string"}
            try:
                client.post(url, json=letter | {"properties": {"delivery_mode": 2}}).raise_for_status()
            except httpx.HTTPError as error:
                raise LabError(f"RabbitMQ does not take a message ({error}); see `lab status`.") from error


def _to_log(messages: list[str]) -> None:
    producer = Producer(client_settings(f"127.0.0.1:{stack().ports['kafka']}") | {"acks": "all"})
    for message in messages:
        producer.produce("order-events", message)
    if producer.flush(10):
        raise LabError("Kafka does not take the messages; see `lab status`.")
