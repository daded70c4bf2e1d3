"""Messages that cannot be understood, and work that fails at every try: set aside with a reason, nothing lost."""

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from tests.contract.brokers import (
    DeadLetter,
    as_body,
    await_dead_letters,
    placed,
    produce,
    publish,
    take_dead_letters,
)
from tests.contract.calls import becomes, eventually, metric, new_id, post
from tests.contract.models import EVENTUAL, Model

ASYNC, STREAMING = EVENTUAL


def _without(field: str) -> Callable[[dict[str, Any]], object]:
    return lambda message: {name: value for name, value in message.items() if name != field}


def _with(**changes: object) -> Callable[[dict[str, Any]], object]:
    return lambda message: message | changes


POISON: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "not JSON": (lambda _message: b"two burgers, please", "not JSON"),
    "no bytes": (lambda _message: b"", "not JSON"),
    "invalid UTF-8": (lambda message: as_body(message).replace(b"burger", b"\xff\xfe"), "not JSON"),
    "a lone surrogate": (lambda message: as_body(message).replace(b"burger", b"\\ud800"), "not JSON"),
    "nested deeply": (lambda _message: b"[" * 10_000 + b"]" * 10_000, "message"),
    "a list": (lambda message: [message], "message"),
    "null": (lambda _message: b"null", "message"),
    "another event": (_with(event="order.eaten"), "event"),
    "no order_id": (_without("order_id"), "order_id"),
    "no message_id": (_without("message_id"), "message_id"),
    "no item": (_without("item"), "item"),
    "no quantity": (_without("quantity"), "quantity"),
    "no timestamp": (_without("timestamp"), "timestamp"),
    "order_id 7": (_with(order_id=7), "order_id"),
    "order_id empty": (_with(order_id=""), "order_id"),
    "order_id with NUL": (_with(order_id="a\x00b"), "order_id"),
    "item of 10 kB": (_with(item="x" * 10_000), "item"),
    "quantity two": (_with(quantity="two"), "quantity"),
    "quantity true": (_with(quantity=True), "quantity"),
    "quantity -1": (_with(quantity=-1), "quantity"),
    "quantity 0": (_with(quantity=0), "quantity"),
    "quantity 1001": (_with(quantity=1001), "quantity"),
    "quantity 1.5": (_with(quantity=1.5), "quantity"),
    "quantity 10^30": (_with(quantity=10**30), "quantity"),
    "quantity null": (_with(quantity=None), "quantity"),
    "timestamp now": (_with(timestamp="now"), "timestamp"),
    "timestamp -1": (_with(timestamp=-1), "timestamp"),
}
"""What may be wrong with a message: how it is made of a good one, and what its error says."""

RABBITMQ = {
    "order.placed": {"inventory_queue": "async-inventory"},
    "inventory.reserved": {"notification_queue": "async-notification", "order_status_queue": "async-order"},
    "inventory.failed": {"order_status_queue": "async-order"},
}
"""Who meets a message, by routing key: queue and service."""

KAFKA = {
    ("order-events", "order.placed"): {
        "inventory-group": "streaming-inventory",
        "analytics-group": "streaming-analytics",
    },
    ("inventory-events", "inventory.reserved"): {
        "order-status-group": "streaming-order",
        "analytics-group": "streaming-analytics",
    },
}
"""Who meets a record, by topic: group and service."""


def _dead(service: str, reason: str) -> float:
    return metric(service, "campus_messages_dead_lettered_total", reason=reason)


@pytest.mark.parametrize(("routing_key", "readers"), RABBITMQ.items(), ids=list(RABBITMQ))
def test_poison_is_set_aside_by_every_consumer_of_rabbitmq(routing_key: str, readers: dict[str, str]) -> None:
    """Each malformed message lands in dlq_queue once per queue, unchanged, with its reason; consumers go on."""
    before = {service: _dead(service, "malformed") for service in readers.values()}
    sent = {}
    marker = new_id()
    for name, (spoil, word) in POISON.items():
        body = as_body(spoil(placed(new_id(), event=routing_key)))
        publish(routing_key, body, marker)
        sent[body] = (name, word)
    letters = take_dead_letters(marker, len(POISON) * len(readers))
    assert {(letter.consumer, letter.body) for letter in letters} == {
        (queue, body) for queue in readers for body in sent
    }
    assert len(letters) == len(POISON) * len(readers)
    _assert_reasons(letters, sent)
    assert {letter.headers["x-routing-key"] for letter in letters} == {routing_key}
    for service, count in before.items():
        becomes(partial(_dead, service, "malformed"), count + len(POISON), f"the dead letters {service} counts")
    ASYNC.ends(ASYNC.place()["order_id"])


@pytest.mark.parametrize(("where", "readers"), KAFKA.items(), ids=[topic for topic, _event in KAFKA])
def test_poison_is_set_aside_by_every_consumer_of_kafka(where: tuple[str, str], readers: dict[str, str]) -> None:
    """Each malformed record lands in dead-letter-events once per group, unchanged, with its place; consumers go on."""
    topic, event = where
    before = {service: _dead(service, "malformed") for service in readers.values()}
    sent, positions = {}, []
    for name, (spoil, word) in POISON.items():
        body = as_body(spoil(placed(new_id(), event=event)))
        positions.append(produce(topic, body, new_id()))
        sent[body] = (name, word)
    letters = await_dead_letters(positions, len(POISON) * len(readers))
    assert {(letter.consumer, letter.body) for letter in letters} == {
        (group, body) for group in readers for body in sent
    }
    assert len(letters) == len(POISON) * len(readers)
    _assert_reasons(letters, sent)
    for service, count in before.items():
        becomes(partial(_dead, service, "malformed"), count + len(POISON), f"the dead letters {service} counts")
    reached = STREAMING.watch_last()
    order_id = STREAMING.place()["order_id"]
    STREAMING.ends(order_id)
    eventually(lambda: reached(order_id), "an order in the analytics after the poison")


def _assert_reasons(letters: list[DeadLetter], sent: dict[bytes, tuple[str, str]]) -> None:
    for letter in letters:
        name, word = sent[letter.body]
        assert letter.reason == "malformed", name
        assert word in letter.error, f"{name}: {letter.error}"


def test_a_failure_that_ends_in_time_loses_nothing(eventual: Model) -> None:
    """An order whose processing failed at first is tried again and ends as reserved, with nothing set aside."""
    exhausted = _dead(eventual.inventory, "exhausted")
    post(eventual.inventory, "/admin/fail", {"enabled": True})
    order_id = eventual.place()["order_id"]
    assert eventual.status(order_id) == "placed"
    post(eventual.inventory, "/admin/fail", {"enabled": False})
    eventual.ends(order_id)
    assert _dead(eventual.inventory, "exhausted") == exhausted


def test_a_message_that_always_fails_is_set_aside_and_can_be_redriven(eventual: Model) -> None:
    """Work that fails at every try ends as a dead letter; sent again after the failure, the order is carried out."""
    before, stock = _dead(eventual.inventory, "exhausted"), eventual.stock()
    post(eventual.inventory, "/admin/fail", {"enabled": True})
    order_id = eventual.place()["order_id"]
    becomes(lambda: _dead(eventual.inventory, "exhausted"), before + 1, "the exhausted message")
    assert (eventual.status(order_id), eventual.stock()) == ("placed", stock)
    post(eventual.inventory, "/admin/fail", {"enabled": False})
    if eventual is ASYNC:
        [letter] = take_dead_letters(order_id, 1)
        assert letter.consumer == "inventory_queue"
    else:
        [letter] = await_dead_letters(order_id, 1)
        assert letter.consumer == "inventory-group"
    assert letter.reason == "exhausted"
    assert json.loads(letter.body)["order_id"] == order_id
    if eventual is ASYNC:
        publish("order.placed", letter.body, order_id)
    else:
        produce("order-events", letter.body, order_id)
    eventual.ends(order_id)
    assert eventual.stock() == stock - 1
