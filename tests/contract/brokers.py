"""Raw access to both brokers, past the services: publish anything, and see what was set aside."""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import confluent_kafka as kafka
import pika
from pika.adapters.blocking_connection import BlockingChannel

from lab.runtime.health import rabbitmq_url
from lab.stack import stack
from tests.contract.calls import eventually

DEAD_LETTERS = "dead-letter-events"


Position = tuple[str, int, int]
"""A record's topic, partition and offset."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that was set aside: by whom (queue or group), why, and its body."""

    consumer: str
    reason: str
    error: str
    body: bytes
    headers: dict[str, str]


def placed(order_id: str, item: str = "burger", quantity: int = 1, **changes: object) -> dict[str, object]:
    """The fields of an order.placed message, with `changes`."""
    message = {
        "event": "order.placed",
        "order_id": order_id,
        "message_id": order_id,
        "item": item,
        "quantity": quantity,
        "timestamp": time.time(),
    }
    return message | changes


def as_body(message: object) -> bytes:
    """A message as JSON; bytes are sent as they are."""
    return message if isinstance(message, bytes) else json.dumps(message).encode()


@contextmanager
def channel() -> Iterator[BlockingChannel]:
    """A channel of its own to RabbitMQ."""
    connection = pika.BlockingConnection(pika.URLParameters(rabbitmq_url("127.0.0.1", stack().ports["rabbitmq"])))
    try:
        yield connection.channel()
    finally:
        connection.close()


def publish(routing_key: str, message: object, message_id: str) -> None:
    """Publish to orders_exchange and return once RabbitMQ has it."""
    properties = pika.BasicProperties(delivery_mode=pika.DeliveryMode.Persistent, message_id=message_id)
    with channel() as open_channel:
        open_channel.confirm_delivery()
        open_channel.basic_publish("orders_exchange", routing_key, as_body(message), properties, mandatory=True)


def take_dead_letters(message_id: str, expected: int) -> list[DeadLetter]:
    """Wait for `expected` dead letters of a message and take them out of dlq_queue; others stay in it."""
    found: list[DeadLetter] = []

    def look() -> str | None:
        with channel() as open_channel:
            others = []
            while True:
                method, properties, body = open_channel.basic_get("dlq_queue")
                if method is None:
                    break
                if properties.message_id != message_id:
                    others.append(method.delivery_tag)
                    continue
                headers = dict(properties.headers or {})
                found.append(
                    DeadLetter(headers["x-queue"], headers["x-reason"], headers["x-error"], body or b"", headers)
                )
                open_channel.basic_ack(method.delivery_tag)
            for tag in others:
                open_channel.basic_nack(tag, requeue=True)
        return None if len(found) >= expected else f"{len(found)} of {expected} are there"

    eventually(look, f"dead letters of {message_id} in dlq_queue")
    return found


def produce(topic: str, message: object, key: str) -> Position:
    """Produce a record and return its topic, partition and offset once the broker has it."""
    reports: list[tuple[Any, kafka.Message]] = []
    producer = kafka.Producer({"bootstrap.servers": _bootstrap(), "acks": "all"})
    producer.produce(topic, as_body(message), key, on_delivery=lambda error, record: reports.append((error, record)))
    assert producer.flush(20) == 0, "Kafka did not take the record within 20 s"
    error, record = reports[0]
    assert error is None, error
    return topic, record.partition() or 0, record.offset() or 0


def await_dead_letters(of: str | Sequence[Position], expected: int) -> list[DeadLetter]:
    """Wait for `expected` dead letters of the records with this key, or of those at these positions."""
    found: list[DeadLetter] = []
    positions = () if isinstance(of, str) else of
    consumer = kafka.Consumer(
        {
            "bootstrap.servers": _bootstrap(),
            "group.id": "contract-tests",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
        }
    )
    consumer.assign([kafka.TopicPartition(DEAD_LETTERS, 0, kafka.OFFSET_BEGINNING)])

    def look() -> str | None:
        for record in consumer.consume(500, 0.3):
            assert record.error() is None, record.error()
            headers = {name: value.decode() for name, value in cast(list[tuple[str, bytes]], record.headers() or [])}
            if "topic" not in headers:
                continue  # no dead letter of the lab's: the topic may hold what others produced
            position = (headers["topic"], int(headers["partition"]), int(headers["offset"]))
            if (record.key() or b"").decode() == of or position in positions:
                letter = DeadLetter(
                    headers["group"], headers["reason"], headers["error"], record.value() or b"", headers
                )
                found.append(letter)
        return None if len(found) >= expected else f"{len(found)} of {expected} are there"

    try:
        eventually(look, f"{expected} dead letters in {DEAD_LETTERS}")
    finally:
        consumer.close()
    return found


def _bootstrap() -> str:
    return f"127.0.0.1:{stack().ports['kafka']}"
