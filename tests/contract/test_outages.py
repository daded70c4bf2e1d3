"""A broker that is gone: health says so, orders are refused in bounded time, and all recovers by itself.

Each broker is stopped once; the tests of a class see the same outage, in the order in which they stand.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import httpx
import pytest

from lab.runtime.base import Runtime
from tests.contract.calls import SERVICES, becomes, call, eventually, get, metric, new_id
from tests.contract.models import EVENTUAL, MODELS, STOCK, Model

ASYNC, STREAMING = EVENTUAL


@dataclass
class Outage:
    """A broker that was stopped and the model that needs it.

    Attributes:
        settled: An order that ended before the outage, and its idempotency key.
        refused: An idempotency key under which an order was refused during the outage.
    """

    broker: str
    model: Model
    settled: tuple[str, str]
    refused: str


@pytest.fixture(scope="module", params=[("rabbitmq", ASYNC), ("kafka", STREAMING)], ids=["rabbitmq", "kafka"])
def outage(request: pytest.FixtureRequest, stack: Runtime) -> Iterator[Outage]:
    """An outage of each broker in turn, over at the end of its tests at the latest."""
    broker, model = request.param
    for each in MODELS:
        each.restock(STOCK)
    key = new_id()
    order_id = model.place(key=key)["order_id"]
    model.ends(order_id)
    stack.stop(broker)
    try:
        yield Outage(broker, model, (order_id, key), new_id())
    finally:
        stack.start(broker)


@pytest.fixture(autouse=True)
def calm() -> None:
    """Nothing is put back between the tests of one outage: it is one story."""


def _failing(service: str) -> list[str]:
    reply = call("GET", service, "/health")
    return list(reply.json()["failing"]) if reply.status_code == 503 else []


def _is_failing(service: str) -> bool:
    return bool(_failing(service))


def test_health_names_what_fails(outage: Outage) -> None:
    """Each service that needs the broker turns 503 and names the parts that lost it; liveness stays 200."""
    for service in outage.model.services:
        becomes(partial(_is_failing, service), True, f"503 of {service}")
        reply = call("GET", service, "/health").json()
        assert reply["status"] == "unavailable"
        assert outage.broker in " ".join(reply["checks"][part] for part in reply["failing"]).lower()
        assert call("GET", service, "/health/live").status_code == 200


def test_the_other_models_work_on(outage: Outage) -> None:
    """An outage of one broker leaves the two other models healthy and taking orders."""
    for model in MODELS:
        if model is outage.model:
            continue
        for service in model.services:
            assert call("GET", service, "/health").status_code == 200
        model.ends(model.place()["order_id"])


def test_orders_are_refused_in_bounded_time(outage: Outage) -> None:
    """POST /order gives 503 with the order and the reason, within the limits of the service, and counts it."""
    before = metric(outage.model.order, "campus_orders_rejected_total", reason="unconfirmed")
    headers = {"Idempotency-Key": outage.refused}
    reply = call("POST", outage.model.order, "/order", json={"item": "burger", "quantity": 1}, headers=headers)
    assert reply.status_code == 503, reply.text
    detail = reply.json()["detail"]
    assert detail["order"]["status"] == "rejected"
    assert outage.broker in detail["reason"].lower()
    assert metric(outage.model.order, "campus_orders_rejected_total", reason="unconfirmed") == before + 1


def test_what_needs_no_broker_is_answered(outage: Outage) -> None:
    """Earlier orders, stock and faults can still be asked for, and a known key still gives its order."""
    order_id, key = outage.settled
    assert outage.model.place(key=key)["order_id"] == order_id
    assert outage.model.status(order_id) == "reserved"
    assert set(get(outage.model.inventory, "/stock")) == {"burger", "pizza", "salad"}
    for service in SERVICES:
        assert get(service, "/admin/faults")["fail"] is False


def test_all_recovers_when_the_broker_is_back(outage: Outage, stack: Runtime) -> None:
    """Services that lived through the outage, and those started in it, turn healthy by themselves and take orders."""
    stack.kill(outage.model.inventory)
    with ThreadPoolExecutor(1) as pool:
        # It returns once the service is healthy, which cannot be before its broker is there.
        starting = pool.submit(stack.start, outage.model.inventory)
        eventually(lambda: None if _alive(outage.model.inventory) else "no answer", "the service without its broker")
        assert _failing(outage.model.inventory)
        assert not starting.done()
        stack.start(outage.broker)
        starting.result()
    for service in outage.model.services:
        becomes(partial(_failing, service), [], f"health of {service}", limit=60)
    reached = outage.model.watch_last()
    order_id = outage.model.place()["order_id"]
    outage.model.ends(order_id)
    if outage.model is ASYNC:
        eventually(lambda: reached(order_id), "the notification")
    again = outage.model.place(key=outage.refused)["order_id"]
    outage.model.ends(again)


def _alive(service: str) -> bool:
    try:
        return call("GET", service, "/health/live").status_code == 200
    except httpx.TransportError:
        return False
