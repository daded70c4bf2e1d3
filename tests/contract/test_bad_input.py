"""Bad input at every endpoint: a 4xx that names the field, never a 500, and nothing done."""

import json
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from lab.stack import stack as parts
from tests.contract.calls import ANSWER_LIMIT, SERVICES, call, get, metric, new_id, url
from tests.contract.models import MODELS, Model

BODY_MAX = 64 * 1024

VALID: dict[str, dict[str, Any]] = {
    "/order": {"item": "burger", "quantity": 1},
    "/orders/bulk": {"count": 5, "item": "burger", "quantity": 1},
    "/reserve": {"order_id": "never", "item": "burger", "quantity": 1},
    "/release": {"order_id": "never"},
    "/send": {"order_id": "never", "status": "reserved", "item": "burger"},
    "/admin/restock": {"item": "burger", "quantity": 1},
    "/admin/delay": {"seconds": 0.01},
    "/admin/throttle": {"seconds": 0.01},
    "/admin/fail": {"enabled": True},
    "/admin/pause": {"enabled": True},
}
"""A body that each endpoint would take; every wrong one below differs from it in one thing."""

OPTIONAL = {("/orders/bulk", "item"), ("/orders/bulk", "quantity"), ("/admin/restock", "item")}

_TEXTS: list[Any] = [1, None, True, ["burger"], {}, 1.5, "", "x" * 10_000]
_NUMBERS: list[Any] = [
    "1",
    "two",
    None,
    True,
    [1],
    {},
    -1,
    float("nan"),
    float("inf"),
    float("-inf"),
    10**30,
    -(10**30),
    1e308,
]
WRONG: dict[str, list[Any]] = {
    "item": [*_TEXTS, "sushi", "BURGER", "burger\x00", "\ud800"],
    "order_id": [*_TEXTS, "two words", "\u00e9", "a\nb", "\x00", "\ud800"],
    "status": _TEXTS,
    "quantity": [*_NUMBERS, 1.0, 1.5],
    "count": [*_NUMBERS, 0, 100_001, 1.0],
    "seconds": [value for value in _NUMBERS if value not in ("1", True)] + [3601],
    "enabled": ["true", 1, 0, None, [], {}, "yes", 1.5],
}
"""For each field, by name, what it may not hold."""

NOT_MENU = {"/reserve", "/send"}
"""Endpoints to which any item name is a name; whether it is on the menu is a question for the inventory."""

UNREADABLE: dict[str, bytes] = {
    "empty": b"",
    "not JSON": b"two burgers, please",
    "cut off": b'{"item": "burger", ',
    "invalid UTF-8": b'{"item": "\xff\xfe", "quantity": 1}',
    "nested deeply": b'{"item":' * 5_000 + b"1" + b"}" * 5_000,
    "lists nested deeply": b"[" * 10_000 + b"]" * 10_000,
    "a list": b"[1, 2]",
    "a string": b'"burger"',
    "a number": b"7",
    "null": b"null",
    "a number of 30 kB": b"9" * 30_000,
    "NUL bytes": b"\x00" * 100,
}

PLACES = [
    (service, path)
    for service in SERVICES
    for path in VALID
    if (path != "/order" or service.endswith("-order"))
    and (path != "/orders/bulk" or service == "streaming-order")
    and (path not in ("/reserve", "/release") or service == "sync-inventory")
    and (path != "/send" or service == "sync-notification")
    and (path != "/admin/restock" or service.endswith("-inventory"))
    and (path not in ("/admin/throttle", "/admin/pause") or not service.startswith("sync"))
]
"""Every endpoint that takes a body, with its service."""

EACH = pytest.mark.parametrize("service", SERVICES)


@pytest.fixture(autouse=True)
def untouched(calm: None) -> Iterator[None]:
    """What was refused has left no trace: stock, orders and faults are as before."""
    before = _state()
    yield
    assert _state() == before


def _state() -> list[object]:
    stocks = [get(model.inventory, "/stock") for model in MODELS]
    orders = [sum(get(model.order, "/orders/summary").values()) for model in MODELS]
    return [stocks, orders, [get(service, "/admin/faults") for service in SERVICES]]


def _refused(reply: httpx.Response, field: str | None) -> str | None:
    """What is wrong with a reply that should be a 422 naming `field`."""
    if reply.status_code != 422:
        return f"{reply.status_code} {reply.text[:200]}"
    entries = reply.json()["detail"]
    if not isinstance(entries, list) or not all({"loc", "msg"} <= set(entry) for entry in entries):
        return f"no places are named: {reply.text[:200]}"
    if field is not None and not any(field in entry["loc"] for entry in entries):
        return f"{field} is not named: {reply.text[:200]}"
    return None


def test_every_endpoint_that_takes_a_body_is_tested() -> None:
    """The list of places above is what the services themselves say they offer."""
    offered = {
        (service, path)
        for service in SERVICES
        for path, methods in get(service, "/openapi.json")["paths"].items()
        if "requestBody" in methods.get("post", {})
    }
    assert offered == set(PLACES)


def _paths(service: str) -> list[str]:
    return [path for at, path in PLACES if at == service]


def _send(service: str, path: str, content: Any, content_type: str = "application/json") -> httpx.Response:
    return call("POST", service, path, content=content, headers={"Content-Type": content_type})


@EACH
def test_a_wrong_field_is_named(service: str) -> None:
    """Each wrong value of each field of each body, and its absence, gives 422 with the field's name."""
    problems = []
    for path in _paths(service):
        for field, body in _wrong_bodies(path):
            raw = json.dumps(body).encode()
            # A lone surrogate is no JSON in UTF-8: it is the body that is named.
            if problem := _refused(_send(service, path, raw), None if b"\\ud8" in raw else field):
                problems.append(f"{path} {raw[:120]!r}: {problem}")
    assert not problems, "\n".join(problems)


def _wrong_bodies(path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    valid = VALID[path]
    for field in valid:
        values = WRONG[field]
        if field == "item" and path in NOT_MENU:
            values = [*_TEXTS, "\ud800"]
        if (path, field) == ("/admin/restock", "item"):
            values = [value for value in values if value is not None]
        for value in values:
            yield field, valid | {field: value}
        if (path, field) not in OPTIONAL:
            yield field, {name: value for name, value in valid.items() if name != field}


@EACH
def test_an_unreadable_body_is_refused(service: str) -> None:
    """A body that is not a JSON object in UTF-8 gives 422, whatever its bytes."""
    problems = []
    for path in _paths(service):
        for name, raw in UNREADABLE.items():
            if problem := _refused(_send(service, path, raw), None):
                problems.append(f"{path} {name}: {problem}")
    assert not problems, "\n".join(problems)


@EACH
def test_another_content_type_is_refused(service: str) -> None:
    """A body that is not declared as JSON gives 422, although its bytes would do."""
    problems = []
    for path in _paths(service):
        for content_type in ("text/plain", "application/x-www-form-urlencoded", "application/xml"):
            if problem := _refused(_send(service, path, json.dumps(VALID[path]).encode(), content_type), None):
                problems.append(f"{path} {content_type}: {problem}")
    assert not problems, "\n".join(problems)


@EACH
@pytest.mark.parametrize("declared", [True, False], ids=["declared", "chunked"])
def test_a_body_over_64_kib_is_refused(service: str, declared: bool) -> None:
    """One byte more than 64 KiB gives 413, whether the length is declared or found out."""
    for path in _paths(service):
        raw = json.dumps(VALID[path]).encode()
        raw += b" " * (BODY_MAX + 1 - len(raw))
        reply = _send(service, path, raw if declared else iter([raw[:40_000], raw[40_000:]]))
        assert reply.status_code == 413, f"{path}: {reply.text}"
        assert str(BODY_MAX) in reply.json()["detail"]


@pytest.mark.parametrize("raw_path", ["/orders/%FF%FE", "/orders/%00", "/orders?after=%FF", "/orders?limit=1e1"])
def test_a_strange_path_is_refused(model: Model, raw_path: str) -> None:
    """A path or query of bytes that are no text, or of numbers in another notation, gives a 4xx."""
    reply = httpx.get(url(model.order, raw_path), timeout=ANSWER_LIMIT, trust_env=False)
    assert reply.status_code in (404, 422), reply.text


def test_a_wrong_content_length_is_refused(model: Model) -> None:
    """A Content-Length that is no number gives a 4xx from the server."""
    raw = b"POST /order HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: two\r\n\r\n{}"
    assert _answer_to(model.order, raw).split()[1].startswith(b"4")


def _answer_to(service: str, raw: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", parts().service(service).port), timeout=ANSWER_LIMIT) as connection:
        connection.sendall(raw)
        return connection.recv(4096)


def test_a_refused_body_is_counted_as_invalid(model: Model) -> None:
    """A bad order adds one to campus_orders_rejected_total{reason="invalid"}, and nothing to the accepted ones."""
    before = metric(model.order, "campus_orders_rejected_total", reason="invalid")
    accepted = metric(model.order, "campus_orders_accepted_total")
    assert call("POST", model.order, "/order", json={"item": new_id(), "quantity": 1}).status_code == 422
    assert metric(model.order, "campus_orders_rejected_total", reason="invalid") == before + 1
    assert metric(model.order, "campus_orders_accepted_total") == accepted


def test_an_unknown_path_or_method_answers_in_the_same_shape(model: Model) -> None:
    """404 and 405 are {"detail": …} like every other error."""
    for service in model.services:
        assert call("GET", service, "/nowhere").json() == {"detail": "Not Found"}
        reply = call("DELETE", service, "/health")
        assert (reply.status_code, reply.json()) == (405, {"detail": "Method Not Allowed"})
