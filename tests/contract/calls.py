"""How the contract tests reach a service: requests as a client sends them, its metrics, and waiting."""

import os
import uuid
from collections.abc import Callable
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from lab.stack import stack
from lab.waiting import wait_until

ANSWER_LIMIT = 30.0
"""Seconds in which a service answers anything, also what it refuses; longer than every timeout of its own."""

SETTLE_LIMIT = 30.0
"""Seconds in which the flow comes to rest."""

SERVICES = tuple(service.name for service in stack().services)

_client = httpx.Client(timeout=ANSWER_LIMIT, trust_env=False)


def url(service: str, path: str) -> str:
    """Where a path of a service is."""
    return f"http://127.0.0.1:{stack().service(service).port}{path}"


def call(method: str, service: str, path: str, **request: Any) -> httpx.Response:
    """Send a request (httpx's arguments) and return the reply, whatever its status."""
    headers = dict(request.pop("headers", {}))
    if (token := os.environ.get("LAB_ADMIN_TOKEN")) and path.startswith("/admin/"):
        headers["Authorization"] = f"Bearer {token}"
    return _client.request(method, url(service, path), headers=headers, **request)


def get(service: str, path: str, **parameters: Any) -> Any:
    """The JSON of a GET that succeeds."""
    reply = call("GET", service, path, params=parameters)
    assert reply.status_code == 200, f"{service}{path}: {reply.status_code} {reply.text}"
    return reply.json()


def post(service: str, path: str, body: object = None) -> Any:
    """The JSON of a POST that succeeds."""
    reply = call("POST", service, path, json=body)
    assert reply.is_success, f"{service}{path}: {reply.status_code} {reply.text}"
    return reply.json()


def metric(service: str, name: str, **labels: str) -> float:
    """The sum of the samples of that name which have these labels, as the service shows it now."""
    return sum(value for sample_labels, value in samples(service, name) if labels.items() <= sample_labels.items())


def samples(service: str, name: str) -> list[tuple[dict[str, str], float]]:
    """Labels and value of every sample of that name."""
    return samples_at(f"http://127.0.0.1:{stack().service(service).metrics_port}/metrics", name)


def samples_at(address: str, name: str) -> list[tuple[dict[str, str], float]]:
    """Labels and value of every sample of that name at a metrics address."""
    reply = _client.get(address)
    assert reply.status_code == 200, f"{address}: {reply.status_code}"
    return [
        (sample.labels, sample.value)
        for family in text_string_to_metric_families(reply.text)
        for sample in family.samples
        if sample.name == name
    ]


def eventually(check: Callable[[], str | None], what: str, limit: float = SETTLE_LIMIT) -> None:
    """Wait until `check` finds nothing wrong; fails with what was wrong last."""
    wait_until(check, limit=limit, what=what, interval=0.05)


def becomes(read: Callable[[], object], wanted: object, what: str, limit: float = SETTLE_LIMIT) -> None:
    """Wait until `read` returns `wanted`."""

    def differs() -> str | None:
        value = read()
        return None if value == wanted else f"it is {value!r} instead of {wanted!r}"

    eventually(differs, what, limit)


def new_id() -> str:
    """An order id that no other test has."""
    return f"test-{uuid.uuid4()}"
