"""One order is one trace: who calls or tells whom, in all three models, as Jaeger has it."""

import itertools
import json
import uuid
from typing import NamedTuple

import pytest

from lab.errors import LabError
from lab.experiments.messages import publish
from lab.http import get, post
from lab.prometheus import of_stack
from lab.runtime.base import Runtime
from lab.waiting import wait_until
from tests.observability.jaeger import Trace, awaited, search

pytestmark = pytest.mark.usefixtures("on_the_shelf")


class Edge(NamedTuple):
    """A span and its child, each as (service, name, kind)."""

    parent: tuple[str, str, str]
    child: tuple[str, str, str]


def _chain(*spans: tuple[str, str, str]) -> list[Edge]:
    return [Edge(parent, child) for parent, child in itertools.pairwise(spans)]


_ORDER = "POST /order"
MATRIX: dict[str, list[Edge]] = {
    "sync": [
        *_chain(
            ("sync-order", _ORDER, "server"),
            ("sync-order", "POST", "client"),
            ("sync-inventory", "POST /reserve", "server"),
        ),
        *_chain(("sync-order", "POST", "client"), ("sync-notification", "POST /send", "server")),
    ],
    "async": [
        *_chain(
            ("async-order", _ORDER, "server"),
            ("async-order", "send inventory_queue", "producer"),
            ("async-inventory", "process inventory_queue", "consumer"),
            ("async-inventory", "send notification_queue", "producer"),
            ("async-notification", "process notification_queue", "consumer"),
        ),
        Edge(
            ("async-inventory", "send notification_queue", "producer"),
            ("async-order", "process order_status_queue", "consumer"),
        ),
    ],
    "streaming": [
        *_chain(
            ("streaming-order", _ORDER, "server"),
            ("streaming-order", "send order-events", "producer"),
            ("streaming-inventory", "process order-events", "consumer"),
            ("streaming-inventory", "send inventory-events", "producer"),
            ("streaming-analytics", "process inventory-events", "consumer"),
        ),
        Edge(
            ("streaming-order", "send order-events", "producer"),
            ("streaming-analytics", "process order-events", "consumer"),
        ),
        Edge(
            ("streaming-inventory", "send inventory-events", "producer"),
            ("streaming-order", "process inventory-events", "consumer"),
        ),
    ],
}
"""Every edge between two services that a reserved order's trace has, with the spans within them that lead there."""


def _missing(model: str, trace: Trace) -> str | None:
    seen = {
        Edge((p.service, p.name, p.kind), (c.service, c.name, c.kind)) for p, c in trace.edges()
    }  # one trace id: edges are within the trace alone
    absent = [edge for edge in MATRIX[model] if edge not in seen]
    return f"no {absent[0].parent} -> {absent[0].child}" if absent else None


def _trace_of(model: str, order_id: str, service: str) -> Trace:
    tags = json.dumps({"campus.order.id": order_id})
    return awaited(lambda: search(service, tags=tags), lambda trace: _missing(model, trace), f"{model}'s whole trace")


@pytest.mark.parametrize("model", MATRIX)
def test_one_order_is_one_trace(model: str, stack: Runtime) -> None:
    """Every declared edge is in the one trace that begins with POST /order, which has no other beginning."""
    order = post(f"{model}-order", "/order", {"item": "pizza", "quantity": 1})
    trace = _trace_of(model, order["order_id"], f"{model}-order")
    assert [span.name for span in trace.spans if not span.parents] == [_ORDER]


def test_a_cut_propagation_is_noticed(stack: Runtime) -> None:
    """Control: an order whose message carries no context has no trace with every edge."""
    message = json.loads(publish("async", "1", "twice")[0])
    tags = json.dumps({"campus.order.id": message["order_id"]})
    found = awaited(lambda: search("async-inventory", tags=tags), lambda _trace: None, "a trace of the bare message")
    assert _missing("async", found) is not None


def test_messages_carry_the_conventions_attributes(stack: Runtime) -> None:
    """Send and process spans have the attributes that the messaging conventions want."""
    wanted = {"messaging.system", "messaging.operation.name", "messaging.operation.type", "messaging.destination.name"}
    for model in ("async", "streaming"):
        order = post(f"{model}-order", "/order", {"item": "salad", "quantity": 1})
        trace = _trace_of(model, order["order_id"], f"{model}-order")
        messaging = [span for span in trace.spans if span.kind in {"producer", "consumer"}]
        assert len(messaging) >= 5
        assert all(wanted <= span.attributes.keys() for span in messaging)
        consumers = [span for span in messaging if span.kind == "consumer"]
        assert {span.attributes["campus.order.id"] for span in consumers} == {order["order_id"]}


@pytest.mark.parametrize(("model", "source"), [("async", "inventory_queue"), ("streaming", "order-events")])
def test_a_batch_links_to_each_message(model: str, source: str, stack: Runtime) -> None:
    """Orders that wait for inventory are worked on as a batch: its span links to the send span of each."""
    service = f"{model}-inventory"
    post(service, "/admin/pause", {"enabled": True})
    try:
        orders = [post(f"{model}-order", "/order", {"item": "salad", "quantity": 1})["order_id"] for _ in range(4)]
    finally:
        post(service, "/admin/pause", {"enabled": False})
    traces = [_trace_of(model, order_id, f"{model}-order") for order_id in orders]
    sends = {s.span_id for trace in traces for s in trace.spans if s.name == f"send {source}"}

    def linked() -> set[str]:
        batches = [span for trace in search(service, operation=f"process {source}") for span in trace.spans]
        return {link for span in batches if "messaging.batch.message_count" in span.attributes for link in span.links}

    # A message that was taken alone, before or after the batch, has a parent and needs no link.
    wait_until(lambda: None if len(sends & linked()) >= 2 else "no batch yet", limit=30, what="The batch's links")


def test_a_dead_letter_stays_in_its_trace(stack: Runtime) -> None:
    """What is set aside after every try is sent to the dead-letter queue within the order's own trace."""
    post("async-inventory", "/admin/fail", {"enabled": True})
    try:
        order = post("async-order", "/order", {"item": "salad", "quantity": 1})
        tags = json.dumps({"campus.order.id": order["order_id"]})
        trace = awaited(
            lambda: search("async-order", tags=tags),
            lambda trace: None if any(s.name == "send dlq_queue" for s in trace.spans) else "not set aside yet",
            "the dead letter's span",
        )
    finally:
        post("async-inventory", "/admin/reset", {})
    tries = [span for span in trace.spans if span.name == "process inventory_queue"]
    assert len(tries) == 6
    assert all(span.attributes.get("error") for span in tries)


def test_orders_go_on_without_jaeger(stack: Runtime) -> None:
    """With nobody to receive spans orders are accepted and decided, and the spans that are lost are counted."""
    prometheus = of_stack()
    lost = 'sum(otel_sdk_exporter_span_exported_total{error_type!="",job="sync-order"}) or vector(0)'
    before = prometheus.value(lost)
    stack.stop("jaeger")
    try:
        for model in MATRIX:
            order_id = post(f"{model}-order", "/order", {"item": "salad", "quantity": 1})["order_id"]
            wait_until(lambda m=model, o=order_id: _undecided(m, o), limit=20, what=f"{model}'s decision")  # type: ignore[misc]
        prometheus.until(lost, limit=40, what="The count of lost spans", holds=lambda value: value > before)
    finally:
        stack.start("jaeger")


def _undecided(model: str, order_id: str) -> str | None:
    status = get(f"{model}-order", f"/orders/{order_id}")["status"]
    return None if status in {"reserved", "notified"} else f"it is {status}"


def test_an_order_that_never_was_has_no_trace(stack: Runtime) -> None:
    """Control of the search itself: an unknown order id finds nothing, so the other tests find what they name."""
    with pytest.raises(LabError, match="there is no such trace"):
        awaited(
            lambda: search("sync-order", tags=json.dumps({"campus.order.id": str(uuid.uuid4())})),
            lambda _trace: None,
            "a trace",
            limit=2,
        )
