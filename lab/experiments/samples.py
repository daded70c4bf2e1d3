"""What a run looked like second by second, read from Prometheus once it is over, so that a plot needs no server."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

from lab.errors import LabError
from lab.prometheus import Prometheus

SAMPLES = "samples.json"
STEP = 1.0
"""Seconds from one point to the next: the scrape interval."""
WINDOW = "5s"
"""What a rate looks back on: five scrapes, so that one that is late leaves no gap."""


@dataclass(frozen=True, slots=True)
class Series:
    """A figure over time.

    Attributes:
        name: The name of its series in the samples.
        promql: The expression, with $model, $start (Unix seconds) and $window.
        by: The label whose values tell its series apart, where one expression has several.
    """

    name: str
    promql: str
    by: Sequence[str] = ()

    @property
    def per_model(self) -> bool:
        """Whether it is asked once for each model."""
        return "$model" in self.promql


def _quantile(quantile: float, histogram: str) -> str:
    return f'histogram_quantile({quantile:g}, sum by (le) (rate({histogram}_bucket{{model="$model"}}[$window])))'


def _grown(counter: str) -> str:
    now = f'sum(last_over_time({counter}{{model="$model"}}[10m]))'
    then = f'sum(last_over_time({counter}{{model="$model"}}[10m] @ $start))'
    return f"({now} - {then})"


SERIES = (
    Series("accept_p50", _quantile(0.5, "campus_order_accept_seconds")),
    Series("accept_p95", _quantile(0.95, "campus_order_accept_seconds")),
    Series("completion_p95", _quantile(0.95, "campus_order_completion_seconds")),
    Series("accepted_rate", 'sum(rate(campus_orders_accepted_total{model="$model"}[$window]))'),
    Series("rejected_rate", 'sum(rate(campus_orders_rejected_total{model="$model"}[$window]))'),
    Series("waiting", f"{_grown('campus_orders_accepted_total')} - {_grown('campus_order_completion_seconds_count')}"),
    Series("queue", 'sum by (queue) (rabbitmq_queue_messages_ready{queue="inventory_queue"})', ("queue",)),
    Series("lag", "sum by (group) (kafka_consumer_group_lag)", ("group",)),
    Series("fault", "max by (service, fault) (campus_fault_active) > 0", ("service", "fault")),
    Series("down", "up == 0", ("job",)),
)

HISTOGRAMS = {"accept": "campus_order_accept_seconds", "completion": "campus_order_completion_seconds"}
"""The distributions of a run, by the metric they come from."""


def sample(prometheus: Prometheus, start: float, end: float, models: Sequence[str]) -> dict[str, Any]:
    """Every series and distribution of a run, as JSON has them; each keeps the PromQL that gave it.

    Args:
        prometheus: What is asked.
        start: When the run began, in Unix seconds.
        end: When it ended.
        models: Those that took part.

    Returns:
        `start`, `end`, `step`; `series`: `name`, `model` (or null), `labels`, `promql` and `points`, pairs of seconds
        since `start` and value; `distributions`: `name`, `model`, `promql` and `buckets`, pairs of an upper bound in
        seconds (null: none) and the orders of the run that took no longer.

    Raises:
        LabError: Prometheus cannot be asked.
    """
    series = [entry for one in SERIES for entry in _series(prometheus, one, start, end, models)]
    distributions = [
        _distribution(prometheus, name, metric, model, (start, end))
        for name, metric in HISTOGRAMS.items()
        for model in models
    ]
    return {
        "start": start,
        "end": end,
        "step": STEP,
        "series": series,
        "distributions": [entry for entry in distributions if entry["buckets"]],
    }


def _series(
    prometheus: Prometheus, series: Series, start: float, end: float, models: Sequence[str]
) -> Iterator[dict[str, Any]]:
    for model in models if series.per_model else (None,):
        values = {"model": model or "", "start": f"{start:.3f}", "window": WINDOW}
        promql = Template(series.promql).substitute(values)
        for labels, points in prometheus.series(promql, start, end, STEP):
            shown = [[round(at - start, 3), value] for at, value in points if math.isfinite(value)]
            if shown:
                kept = {label: labels[label] for label in series.by}
                yield {"name": series.name, "model": model, "labels": kept, "promql": promql, "points": shown}


def _distribution(
    prometheus: Prometheus, name: str, metric: str, model: str, span: tuple[float, float]
) -> dict[str, Any]:
    start, end = span
    bucket = f'{metric}_bucket{{model="{model}"}}'
    promql = f"sum by (le) ({bucket} @ {end:.3f} - {bucket} @ {start:.3f})"
    counts = {float(dict(labels)["le"]): value for labels, value in prometheus.vector(promql).items()}
    buckets = [[le if math.isfinite(le) else None, count] for le, count in sorted(counts.items())]
    return {"name": name, "model": model, "promql": promql, "buckets": buckets}


def save(samples: Mapping[str, Any], folder: Path) -> None:
    """Write a run's samples into its folder.

    Raises:
        LabError: They cannot be written.
    """
    try:
        (folder / SAMPLES).write_text(json.dumps(samples) + "\n")
    except OSError as error:
        raise LabError(f"{folder} cannot be written ({error.strerror}); free some space or set LAB_HOME.") from error


def saved(folder: Path) -> dict[str, Any] | None:
    """The samples of a run, or None where it has none.

    Raises:
        LabError: They cannot be read.
    """
    try:
        data: dict[str, Any] = json.loads((folder / SAMPLES).read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise LabError(f"The samples in {folder} cannot be read ({error}); remove the run.") from error
    return data
