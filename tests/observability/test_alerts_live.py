"""Real faults make alerts fire in the running Prometheus, and resolve when they end."""

import itertools
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from lab.experiments.messages import publish
from lab.http import post
from lab.prometheus import of_stack
from lab.runtime.base import Runtime
from lab.waiting import wait_until

ORDERS = 40

EXPECTED = {
    ("ServiceDown", "async-inventory"),
    ("ConsumerDead", "inventory_queue"),
    ("BacklogGrowing", "inventory_queue"),
    ("LagGrowing", "analytics-group"),
    ("ConsumerDead", "analytics-group"),
    ("DeadLetters", "streaming"),
}


def _firing() -> set[tuple[str, str]]:
    reply = httpx.get(f"{of_stack().url}/api/v1/alerts", trust_env=False).raise_for_status().json()
    alerts: list[dict[str, Any]] = reply["data"]["alerts"]
    firing = [alert["labels"] for alert in alerts if alert["state"] == "firing"]
    about = ("queue", "group", "job", "model")
    return {(labels["alertname"], next(labels[key] for key in about if key in labels)) for labels in firing}


def _still(alerts: set[tuple[str, str]]) -> str | None:
    return ", ".join(" ".join(alert) for alert in sorted(alerts)) or None


@pytest.fixture
def faulty(stack: Runtime, on_the_shelf: None) -> Iterator[None]:
    """A dead async inventory under load, a paused analytics under load, and a message nobody understands."""
    # The alerts of an earlier test resolve first.
    wait_until(lambda: _still(_firing() & EXPECTED), limit=60, what="Quiet before the faults")
    post("streaming-analytics", "/admin/pause", {"enabled": True})
    stack.kill("async-inventory")
    try:
        post("streaming-order", "/orders/bulk", {"count": ORDERS, "item": "salad"})
        for _ in itertools.repeat(None, ORDERS):
            post("async-order", "/order", {"item": "salad", "quantity": 1})
        publish("streaming", "1", "malformed")
        yield
    finally:
        stack.start("async-inventory")
        post("streaming-analytics", "/admin/reset", {})


@pytest.mark.usefixtures("faulty")
def test_each_fault_fires_its_alert_until_it_ends(stack: Runtime) -> None:
    """Backlog, lag, dead letters and a dead service are each told by name; the alerts were not there before."""
    seen: set[tuple[str, str]] = set()

    def unseen() -> str | None:
        seen.update(_firing())
        return _still(EXPECTED - seen)

    wait_until(unseen, limit=40, what="Alerts that fire")
    stack.start("async-inventory")
    post("streaming-analytics", "/admin/reset", {})
    wait_until(lambda: _still(_firing() & EXPECTED), limit=60, what="Alerts that resolve")
