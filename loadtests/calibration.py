"""How many requests a second one generator starts on time on this machine: `python -m loadtests.calibration`.

The generator plays short constant schedules, each faster than the one before, against a service that does nothing,
and prints what came of it as JSON: `rate` (the highest that it kept, 0 when it kept none), `max_lag` (seconds by which
the 99th percentile of requests may start late) and `levels`, each a `rate` with the `p99` of its dispatch lag, at most
the length of its schedule.
"""

import json
import math
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from locust.env import Environment

from loadtests.open_loop import Generator
from loadtests.plan import LoadSettings
from loadtests.schedule import Schedule
from loadtests.tally import quantile

RATES = (250.0, 500.0, 1000.0, 1500.0, 2000.0, 3000.0, 4000.0)
SECONDS = 1.0
TRIES = 2
"""Tries of a rate: other work may have held the generator up for a moment."""


def calibrate(host: str, rates: Sequence[float] = RATES, seconds: float = SECONDS) -> dict[str, Any]:
    """Play ever faster schedules against `host` until one is not kept.

    Args:
        host: The address of a service that answers `POST /order` at once.
        rates: Requests per second, ascending.
        seconds: How long each schedule is.

    Returns:
        What this module's first lines say.
    """
    environment = Environment()
    environment.create_local_runner()
    levels: list[dict[str, float]] = []
    kept = 0.0
    limit = float(LoadSettings.model_fields["max_lag"].default)
    for rate in rates:
        settings = LoadSettings(schedule=Schedule.CONSTANT, rate=rate, duration=seconds, timeout=5)
        lag = min(_lags(environment, host, settings))
        levels.append({"rate": rate, "p99": min(lag, seconds)})
        if lag > limit:
            break
        kept = rate
    return {"rate": kept, "max_lag": limit, "levels": levels}


def _lags(environment: Environment, host: str, settings: LoadSettings) -> list[float]:
    """The 99th percentile of the dispatch lag of each try; the last is the first within the limit."""
    found: list[float] = []
    while len(found) < TRIES and not (found and found[-1] <= settings.max_lag):
        generator = Generator(environment, host, settings)
        generator.play(settings.arrivals(), time.time() + 0.05)
        late = quantile(generator.tally.lags, 0.99) or 0.0
        found.append(math.inf if generator.tally.dropped else late)
    return found


def main() -> None:
    """Calibrate against a sink of its own."""
    sink = subprocess.Popen([sys.executable, "-m", "loadtests.sink"], stdout=subprocess.PIPE)
    try:
        assert sink.stdout is not None  # noqa: S101 - it was asked for
        port = int(sink.stdout.readline())
        print(json.dumps(calibrate(f"http://127.0.0.1:{port}")))
    finally:
        sink.terminate()
        sink.wait()


if __name__ == "__main__":
    main()
