"""One order is one trace: who calls or tells whom, in all three models, as Jaeger has it."""

import itertools
import json
import re
import secrets
import uuid
from typing import Any, NamedTuple

import httpx
import pytest
from confluent_kafka import Producer

from lab.errors import LabError
from lab.experiments.messages import publish
from lab.http import get, post
from lab.prometheus import of_stack
from lab.runtime.base import Runtime
from lab.runtime.health import rabbitmq_user
from lab.runtime.topics import client_settings
from lab.stack import stack as declared
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


def test_requests_carry_the_conventions_attributes(stack: Runtime) -> None:
    """Spans of requests have the attributes of the stable HTTP conventions, at both ends."""
    both = {"http.request.method", "http.response.status_code"}
    wanted = {"server": both | {"http.route", "url.path"}, "client": both | {"url.full", "server.address"}}
    order = post("sync-order", "/order", {"item": "salad", "quantity": 1})
    trace = _trace_of("sync", order["order_id"], "sync-order")
    requests = [span for span in trace.spans if "http.request.method" in span.attributes]
    assert sorted(span.kind for span in requests) == ["client"] * 2 + ["server"] * 3
    assert all(wanted[span.kind] <= span.attributes.keys() for span in requests)


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


def test_a_redriven_message_goes_on_in_its_trace(stack: Runtime) -> None:
    """A dead letter that is sent again with the headers it was set aside with is worked on in the order's trace."""
    post("async-inventory", "/admin/fail", {"enabled": True})
    try:
        order_id = post("async-order", "/order", {"item": "salad", "quantity": 1})["order_id"]
        letter: dict[str, Any] = {}

        def absent() -> str | None:
            letter.update(next((found for found in _dead_letters() if order_id in found["payload"]), {}))
            return None if letter else "it is not in dlq_queue"

        wait_until(absent, limit=30, what="The dead letter")
    finally:
        post("async-inventory", "/admin/reset", {})
    again = {key: letter[key] for key in ("payload", "payload_encoding", "properties")}
    _rabbitmq("exchanges/%2F/orders_exchange/publish", again | {"routing_key": "order.placed"})
    trace = _trace_of("async", order_id, "async-order")
    tried = [span for span in trace.spans if span.name == "process inventory_queue"]
    assert len([span for span in tried if span.attributes.get("error")]) == 6
    assert len([span for span in tried if not span.attributes.get("error")]) == 1


def _dead_letters() -> list[dict[str, Any]]:
    looked = {"count": 1000, "ackmode": "ack_requeue_true", "encoding": "auto"}
    letters: list[dict[str, Any]] = _rabbitmq("queues/%2F/dlq_queue/get", looked)
    return letters


def _rabbitmq(path: str, body: dict[str, Any]) -> Any:
    url = f"http://127.0.0.1:{declared().ports['rabbitmq-management']}/api/{path}"
    reply = httpx.post(url, json=body, auth=rabbitmq_user(), timeout=10, trust_env=False)
    return reply.raise_for_status().json()


def test_a_record_nobody_understands_stays_in_its_trace(stack: Runtime) -> None:
    """Its dead letter is sent within the trace that the record carried."""
    trace_id, span_id = secrets.token_hex(16), secrets.token_hex(8)
    producer = Producer(client_settings(f"127.0.0.1:{declared().ports['kafka']}"))
    producer.produce("order-events", "not json", headers={"traceparent": f"00-{trace_id}-{span_id}-01"})
    assert producer.flush(10) == 0
    sent = "send dead-letter-events"

    def found() -> list[Trace]:
        return [trace for trace in search("streaming-inventory", operation=sent) if trace.trace_id == trace_id]

    trace = awaited(found, lambda _trace: None, "the dead letter's span")
    # Analytics reads the same topic and sets the record aside as well.
    sends = [(span.service, span.name) for span in trace.spans if span.kind == "producer"]
    assert sends.count(("streaming-inventory", sent)) == 1
    assert {name for _service, name in sends} == {sent}


WORK = {"sync": "POST /reserve", "async": "process inventory_queue", "streaming": "process order-events"}
"""The span in which inventory decides one order."""


@pytest.mark.parametrize("model", WORK)
def test_time_is_explained(model: str, stack: Runtime) -> None:
    """An injected delay and the commit of the decision are spans of their own, within inventory's."""
    service = f"{model}-inventory"
    post(service, "/admin/delay", {"seconds": 0.3})
    try:
        order_id = post(f"{model}-order", "/order", {"item": "salad", "quantity": 1})["order_id"]
        trace = _trace_of(model, order_id, f"{model}-order")
    finally:
        post(service, "/admin/reset", {})
    within = {child.name: child for parent, child in trace.edges() if parent.name == WORK[model]}
    assert within["fault"].attributes["campus.fault.seconds"] == 0.3
    assert within["commit"].attributes["db.system.name"] == "sqlite"


def test_logs_carry_trace_and_order_ids(stack: Runtime, capfd: pytest.CaptureFixture[str]) -> None:
    """A line about a rejected order names it, its trace and its span, as JSON."""
    post("sync-inventory", "/admin/fail", {"enabled": True})
    try:
        with pytest.raises(LabError) as rejected:
            post("sync-order", "/order", {"item": "salad", "quantity": 1})
    finally:
        post("sync-inventory", "/admin/reset", {})
    order_id = re.findall(r"[0-9a-f]{8}-[0-9a-f-]{27}", str(rejected.value))[0]
    stack.logs("sync-order", lines=50)
    lines = [line[line.index("{") :] for line in capfd.readouterr().out.splitlines() if order_id in line]
    [line] = [line for line in map(json.loads, lines) if line["event"] == "order rejected"]
    assert (line["service"], line["order_id"]) == ("sync-order", order_id)
    tags = json.dumps({"campus.order.id": order_id})
    trace = awaited(lambda: search("sync-order", tags=tags), lambda _trace: None, "the rejected order's trace")
    assert trace.trace_id == line["trace_id"]
    assert line["span_id"] in {span.span_id for span in trace.spans}


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
