"""Real faults make alerts fire in the running Prometheus, and resolve when they end."""

import itertools
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import yaml

from lab.errors import LabError
from lab.experiments.messages import publish
from lab.http import post
from lab.paths import CHECKOUT
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
    ("ErrorRatio", "sync"),
    ("LatencyObjective", "sync"),
}


def _firing() -> set[tuple[str, str]]:
    reply = httpx.get(f"{of_stack().url}/api/v1/alerts", trust_env=False).raise_for_status().json()
    alerts: list[dict[str, Any]] = reply["data"]["alerts"]
    firing = [alert["labels"] for alert in alerts if alert["state"] == "firing"]
    about = ("queue", "group", "job", "model")
    return {(labels["alertname"], next(labels[key] for key in about if key in labels)) for labels in firing}


def _still(alerts: set[tuple[str, str]]) -> str | None:
    return ", ".join(" ".join(alert) for alert in sorted(alerts)) or None


def _mend(stack: Runtime) -> None:
    stack.start("async-inventory")
    for service in ("streaming-analytics", "sync-inventory"):
        post(service, "/admin/reset", {})


@pytest.fixture
def faulty(stack: Runtime, on_the_shelf: None) -> Iterator[None]:
    """A dead async inventory, a paused analytics and a slow, failing sync inventory, each under load; a bad message."""
    # The alerts of an earlier test resolve first.
    wait_until(lambda: _still(_firing() & EXPECTED), limit=60, what="Quiet before the faults")
    post("streaming-analytics", "/admin/pause", {"enabled": True})
    post("sync-inventory", "/admin/delay", {"seconds": 0.7})
    post("sync-inventory", "/admin/fail", {"enabled": True})
    stack.kill("async-inventory")
    try:
        post("streaming-order", "/orders/bulk", {"count": ORDERS, "item": "salad"})
        for _ in itertools.repeat(None, ORDERS):
            post("async-order", "/order", {"item": "salad", "quantity": 1})
        publish("streaming", "1", "malformed")
        with pytest.raises(LabError, match="answered 502"):
            post("sync-order", "/order", {"item": "salad", "quantity": 1})
        yield
    finally:
        _mend(stack)


@pytest.mark.usefixtures("faulty")
def test_each_fault_fires_its_alert_until_it_ends(stack: Runtime) -> None:
    """Every fault is told by the names of its alert and of its place; the alerts were not there before."""
    seen: set[tuple[str, str]] = set()

    def unseen() -> str | None:
        seen.update(_firing())
        return _still(EXPECTED - seen)

    wait_until(unseen, limit=40, what="Alerts that fire")
    _mend(stack)
    wait_until(lambda: _still(_firing() & EXPECTED), limit=60, what="Alerts that resolve")


def test_prometheus_evaluates_every_rule(stack: Runtime) -> None:
    """The running Prometheus has all the rules of the repository, and none of them errs."""
    written = yaml.safe_load((CHECKOUT / "observability/prometheus/rules/alerts.yml").read_text())["groups"]
    names = [rule.get("alert") or rule["record"] for group in written for rule in group["rules"]]
    reply = httpx.get(f"{of_stack().url}/api/v1/rules", trust_env=False).raise_for_status().json()
    rules = [rule for group in reply["data"]["groups"] for rule in group["rules"]]
    assert [(rule["name"], rule["health"]) for rule in rules] == [(name, "ok") for name in names]
