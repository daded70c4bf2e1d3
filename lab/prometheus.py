"""Prometheus as the judge: instant queries at stated times, each after a fresh scrape.

`increase()` and `rate()` extrapolate; the difference of two instant readings of a counter does not. Every figure of
the lab is one PromQL expression with `@` times in it, so that anyone can ask for it again.
"""

import math
import time
from collections.abc import Callable
from typing import Any

import httpx

from lab.errors import LabError
from lab.stack import stack
from lab.waiting import wait_until

FRESH_LIMIT = 15.0
"""Seconds within which every job is scraped anew; the interval is one second."""


class Prometheus:
    """Asks one Prometheus server.

    Args:
        url: Its address.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._client = httpx.Client(base_url=url, timeout=10)

    def vector(self, promql: str, at: float | None = None) -> dict[tuple[tuple[str, str], ...], float]:
        """The samples of an instant query, by their labels (sorted pairs, without the name), at a Unix time.

        Raises:
            LabError: Prometheus cannot be asked, or does not understand the query.
        """
        parameters = {"query": promql} | ({} if at is None else {"time": f"{at:.3f}"})
        data = self._get("/api/v1/query", parameters)
        if data["resultType"] == "scalar":
            return {(): float(data["result"][1])}
        return {
            tuple(sorted((k, v) for k, v in sample["metric"].items() if k != "__name__")): float(sample["value"][1])
            for sample in data["result"]
        }

    def value(self, promql: str, at: float | None = None) -> float:
        """The one value of an instant query; NaN when there is no sample.

        Raises:
            LabError: As `vector`, or the query has more than one sample.
        """
        samples = self.vector(promql, at)
        if len(samples) > 1:
            raise LabError(f"This query has {len(samples)} samples where one is wanted: {promql}")
        return next(iter(samples.values()), math.nan)

    def series(
        self, promql: str, start: float, end: float, step: float
    ) -> list[tuple[dict[str, str], list[tuple[float, float]]]]:
        """The labels and the (Unix time, value) points of each series of a range query."""
        parameters = {"query": promql, "start": f"{start:.3f}", "end": f"{end:.3f}", "step": f"{step:g}"}
        data = self._get("/api/v1/query_range", parameters)
        return [
            (entry["metric"], [(float(at), float(value)) for at, value in entry["values"]]) for entry in data["result"]
        ]

    def now(self) -> float:
        """A time, in Unix seconds, at which every target has been scraped after this call; waits for it.

        Raises:
            LabError: Some target is not scraped any more.
        """
        asked = time.time()

        def stale() -> str | None:
            scraped = self.vector("timestamp(up)")
            old = [dict(labels)["job"] for labels, at in scraped.items() if at <= asked]
            return f"{', '.join(sorted(old))} not scraped yet" if old or not scraped else None

        wait_until(stale, limit=FRESH_LIMIT, what="A fresh scrape of every target", hint="see `lab status`")
        return time.time()

    def until(self, promql: str, *, limit: float, what: str, holds: Callable[[float], bool]) -> float:
        """Ask until `holds` is true of the value, and return it.

        Raises:
            LabError: It was not within `limit` seconds; the message says what was awaited and the last value.
        """
        value = math.nan

        def missing() -> str | None:
            nonlocal value
            value = self.value(promql)
            return None if holds(value) else f"it is {value:g}"

        wait_until(missing, limit=limit, what=what, hint=f"ask Prometheus: {promql}")
        return value

    def _get(self, path: str, parameters: dict[str, str]) -> Any:
        try:
            reply = self._client.post(path, data=parameters)
        except httpx.HTTPError as error:
            raise LabError(
                f"Prometheus at {self.url} does not answer ({error}); start the lab with `lab up`."
            ) from error
        body = reply.json()
        if body.get("status") != "success":
            raise LabError(f"Prometheus refuses a query ({body.get('error')}): {parameters.get('query')}")
        return body["data"]


def of_stack() -> Prometheus:
    """The Prometheus of the stack on this machine."""
    return Prometheus(f"http://127.0.0.1:{stack().ports['prometheus']}")
