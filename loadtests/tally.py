"""What a load test measured: counts and times of each generator, put together and judged."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loadtests.plan import LoadSettings

QUANTILES = (0.5, 0.9, 0.95, 0.99, 0.999)

Spread = Counter[float]
"""How often each time was seen, in seconds, at three significant digits."""


def quantile(spread: Spread, share: float) -> float | None:
    """The smallest time in seconds that at least `share` of all times do not exceed; None when there are none."""
    rank = share * spread.total()
    seen = 0
    for time in sorted(spread):
        seen += spread[time]
        if seen >= rank:
            return time
    return None


def quantiles(spread: Spread, shares: Sequence[float] = QUANTILES) -> dict[str, float | None]:
    """The quantiles by name (`p50`, `p99` …) and `max`, in seconds; None where nothing was measured."""
    return {f"p{100 * share:g}": quantile(spread, share) for share in shares} | {"max": max(spread, default=None)}


@dataclass
class Tally:
    """Counts and times of one generator, or of several added up.

    Attributes:
        sent: Requests started.
        ok: Requests answered with a 2xx.
        dropped: Requests not started because `max_in_flight` were open.
        failed: All others by HTTP status, or `timeout`, `connection` or `unfinished`.
        lags: How late requests started, after their intended instant.
        latencies: From the intended instant to the end of the answer or the failure, all requests.
        accepted: The same, only those answered with a 2xx.
        ended_at: When the last request ended, in Unix seconds; 0 when none did.
    """

    sent: int = 0
    ok: int = 0
    dropped: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    lags: Spread = field(default_factory=Counter)
    latencies: Spread = field(default_factory=Counter)
    accepted: Spread = field(default_factory=Counter)
    ended_at: float = 0.0

    def start(self, lag: float) -> None:
        """Count a request that starts now, `lag` seconds after it was due."""
        self.sent += 1
        self.lags[_rounded(lag)] += 1

    def end(self, latency: float, failure: str | None, now: float) -> None:
        """Count a started request's end: `failure` is None for a 2xx; `now` is in Unix seconds."""
        time = _rounded(latency)
        self.latencies[time] += 1
        if failure is None:
            self.ok += 1
            self.accepted[time] += 1
        else:
            self.failed[failure] += 1
        self.ended_at = max(self.ended_at, now)

    def add(self, other: "Tally") -> None:
        """Count everything that `other` counted."""
        self.sent += other.sent
        self.ok += other.ok
        self.dropped += other.dropped
        self.failed += other.failed
        self.lags += other.lags
        self.latencies += other.latencies
        self.accepted += other.accepted
        self.ended_at = max(self.ended_at, other.ended_at)

    def to_message(self) -> dict[str, Any]:
        """The tally as plain lists and numbers; `from_message` reads it."""
        spreads = {name: list(getattr(self, name).items()) for name in ("failed", "lags", "latencies", "accepted")}
        return spreads | {name: getattr(self, name) for name in ("sent", "ok", "dropped", "ended_at")}

    @classmethod
    def from_message(cls, message: Mapping[str, Any]) -> "Tally":
        """The tally that `to_message` wrote."""
        return cls(
            sent=message["sent"],
            ok=message["ok"],
            dropped=message["dropped"],
            failed=Counter(dict(message["failed"])),
            lags=Counter(dict(message["lags"])),
            latencies=Counter(dict(message["latencies"])),
            accepted=Counter(dict(message["accepted"])),
            ended_at=message["ended_at"],
        )


def _rounded(seconds: float) -> float:
    return float(f"{max(seconds, 0.0):.3g}")


def fault(tally: Tally, settings: LoadSettings, *, planned: int, missing: int) -> str | None:
    """Why the run says nothing about the service: one sentence, or None when the generator kept its schedule.

    Args:
        tally: What all generators counted.
        settings: The run's.
        planned: Requests in the schedule.
        missing: Generators that never reported.
    """
    if missing:
        return f"{missing} of the Locust workers did not report: look at their logs, then run again."
    if tally.dropped:
        return (
            f"{tally.dropped} requests were not sent because {settings.max_in_flight} were already open: "
            "lower --rate or raise --max-in-flight."
        )
    if tally.sent < planned:
        return f"The run was stopped after {tally.sent} of {planned} requests: let it end by itself."
    late = quantile(tally.lags, 0.99) or 0.0
    if late > settings.max_lag:
        return (
            f"The generator could not keep its schedule (99 % started within {late:.3g} s of their instant, "
            f"and --max-lag is {settings.max_lag:g} s): lower --rate, add --processes, or stop other work here."
        )
    return None


def summary(
    tally: Tally,
    settings: LoadSettings,
    *,
    model: str,
    host: str,
    planned: int,
    generators: int,
    missing: int,
    started_at: float,
) -> dict[str, Any]:
    """The machine-readable result of a run; times are in seconds, instants in Unix seconds.

    `latency` is counted from the intended instant, over all requests; `accepted_latency` over the 2xx alone.
    """
    reason = fault(tally, settings, planned=planned, missing=missing)
    return {
        "model": model,
        "host": host,
        "settings": settings.model_dump(mode="json", exclude={"summary"}),
        "schedule": settings.schedule.value,
        "seed": settings.seed,
        "rate": settings.rate,
        "generators": generators,
        "planned": planned,
        "sent": tally.sent,
        "ok": tally.ok,
        "orders_accepted": tally.ok * settings.orders_each,
        "failed": dict(sorted(tally.failed.items())),
        "dropped": tally.dropped,
        "started_at": started_at,
        "ended_at": max(tally.ended_at, started_at),
        "dispatch_lag": quantiles(tally.lags, (0.5, 0.99)),
        "latency": quantiles(tally.latencies),
        "accepted_latency": quantiles(tally.accepted),
        "valid": reason is None,
        "reason": reason,
    }


def write(result: Mapping[str, Any], path: Path) -> None:
    """Write a summary as JSON, with its folder.

    Raises:
        OSError: The file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n")
