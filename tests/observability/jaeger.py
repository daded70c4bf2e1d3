"""Traces as Jaeger's API gives them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx

from lab.stack import stack
from lab.waiting import wait_until


@dataclass(frozen=True)
class Span:
    """One span: who made it, its name and kind, its parent and links, its attributes."""

    span_id: str
    service: str
    name: str
    kind: str
    parents: tuple[str, ...]
    links: tuple[str, ...]
    attributes: dict[str, Any]


class Trace:
    """The spans of one trace."""

    def __init__(self, data: dict[str, Any]) -> None:
        self.trace_id = data["traceID"]
        services = {key: process["serviceName"] for key, process in data["processes"].items()}
        self.spans = [_span(span, services[span["processID"]]) for span in data["spans"]]

    def edges(self) -> Iterator[tuple[Span, Span]]:
        """Each parent with its child."""
        by_id = {span.span_id: span for span in self.spans}
        for child in self.spans:
            for parent in child.parents:
                if parent in by_id:
                    yield by_id[parent], child


def _span(data: dict[str, Any], service: str) -> Span:
    attributes = {tag["key"]: tag["value"] for tag in data["tags"]}
    references = [(reference["refType"], reference["spanID"]) for reference in data["references"]]
    return Span(
        data["spanID"],
        service,
        data["operationName"],
        attributes.get("span.kind", "internal"),
        tuple(span_id for kind, span_id in references if kind == "CHILD_OF"),
        tuple(span_id for kind, span_id in references if kind == "FOLLOWS_FROM"),
        attributes,
    )


def search(service: str, *, tags: str = "{}", operation: str | None = None) -> list[Trace]:
    """The traces of the last minutes in which `service` has a span with these tags, a JSON object."""
    asked = {"service": service, "tags": tags, "lookback": "10m", "limit": "20"}
    asked |= {"operation": operation} if operation else {}
    reply = httpx.get(f"http://127.0.0.1:{stack().ports['jaeger']}/api/traces", params=asked, trust_env=False)
    return [Trace(trace) for trace in reply.raise_for_status().json()["data"]]


def awaited(
    find: Callable[[], list[Trace]], complete: Callable[[Trace], str | None], what: str, *, limit: float = 30
) -> Trace:
    """The first trace that `find` finds once `complete` finds nothing missing in it.

    Raises:
        LabError: It did not come within `limit` seconds; the message says what was missing last.
    """
    found: list[Trace] = []

    def missing() -> str | None:
        found[:] = find()
        return complete(found[0]) if found else "there is no such trace"

    wait_until(missing, limit=limit, what=what, interval=0.5)
    return found[0]
