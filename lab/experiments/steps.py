"""Finds a model's knee: the rate is raised step by step, each on a quiet system, until a step is not kept."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.experiments.calibration import Calibration
from lab.experiments.definition import Experiment, Stretch, claimed, measured
from lab.experiments.load import Load
from lab.prometheus import Prometheus
from lab.stack import Model
from lab.waiting import wait_until

LATE_SHARE = 0.04
"""Share of a step by which the 99th percentile of its requests may start late. The rate is off by as much at most: by
less than the twentieth that a kept step may lack, so that lateness alone makes no knee."""

TRIES = 2
"""Tries of a step: other work on the machine may have spoilt one, and a knee is not where that happened."""

SETTLED_LIMIT = 120.0
"""Seconds in which the orders of a step that was too much are worked off."""


@dataclass(frozen=True, slots=True)
class Step:
    """A rate that was tried on a model.

    Attributes:
        model: The one that got the orders.
        stretch: When, and how many orders per second.
        promql: The expression behind each check of what a kept step makes true.
        values: What Prometheus answered to each.
        kept: Whether all of them hold.
        bounded: Why the step says nothing, because the generator could not do it; None when it could.
        load: The generator's own summary; empty when it was not asked.
    """

    model: Model
    stretch: Stretch
    promql: tuple[str, ...] = ()
    values: tuple[float, ...] = ()
    kept: bool = False
    bounded: str | None = None
    load: dict[str, Any] | None = None


class Climb:
    """Tries rates on a model.

    Args:
        prometheus: What measures.
        say: Told of each step.
        calibration: What the generator can do: steps beyond it are not tried.
    """

    def __init__(self, prometheus: Prometheus, say: Callable[[str], None], calibration: Calibration) -> None:
        self._prometheus = prometheus
        self._say = say
        self._calibration = calibration

    def up(self, experiment: Experiment, model: Model, *, seed: int, folder: Path) -> list[Step]:
        """Try the experiment's rates, lowest first, up to the first that the model or the generator does not keep.

        Args:
            experiment: One in steps.
            model: Who gets the load.
            seed: Of the arrival times.
            folder: Gets a folder for each try with what the generator writes.

        Returns:
            Every try; a step that is not kept at first is there as often as it was tried.

        Raises:
            LabError: The stack or the generator failed.
        """
        tried: list[Step] = []
        for rate in experiment.steps.rates if experiment.steps else ():
            if rate > self._calibration.rate:
                why = f"the generator cannot follow: it was calibrated to {self._calibration.rate:g} orders/s"
                return [*tried, Step(model, Stretch(0, 0, rate), bounded=why)]
            for attempt in range(1, TRIES + 1):
                self._say(f"{model} at {rate:g} orders/s" + (", again" if attempt > 1 else ""))
                tried.append(self._try(experiment, model, rate, seed, folder / f"{model}-{rate:g}-{attempt}"))
                if tried[-1].kept:
                    break
            if not tried[-1].kept:
                return tried
        return tried

    def _try(self, experiment: Experiment, model: Model, rate: float, seed: int, folder: Path) -> Step:
        assert experiment.steps is not None  # noqa: S101 - `up` has asked
        steps = experiment.steps
        folder.mkdir()
        before = self._prometheus.now()
        late = steps.seconds * LATE_SHARE
        load = Load.begin([(steps.seconds, rate)], experiment.schedule, [model], seed, folder, late_max=late)
        try:
            stretch = Stretch(load.starts_at, load.starts_at + steps.seconds, rate)
            summary = load.end()[model]
        finally:
            load.stop()
        self._settle(model, before)
        promql = tuple(claimed(check.value, model, lambda *_: stretch) for check in steps.kept)
        values = tuple(self._prometheus.value(one) for one in promql)
        bounded = None if summary["valid"] else f"the generator did not: {summary['reason']}"
        kept = bounded is None and all(check.true_of(value) for check, value in zip(steps.kept, values, strict=True))
        return Step(model, stretch, promql, values, kept, bounded, summary)

    def _settle(self, model: Model, since: float) -> None:
        """Wait until no order waits that the model accepted since a Unix time."""
        self._prometheus.now()

        def unsettled() -> str | None:
            waiting = self._prometheus.value(measured("waiting", model, Stretch(since, time.time())))
            return None if waiting == 0 else f"{waiting:g} orders of {model} wait"

        wait_until(
            unsettled, limit=SETTLED_LIMIT, what="The end of a step's orders", interval=0.5, hint="see `lab status`"
        )


def unfound(steps: Sequence[Step]) -> list[str]:
    """For each model whose knee the steps do not show, why: the generator ended them, or none was kept."""
    said = []
    for model in dict.fromkeys(step.model for step in steps):
        own = [step for step in steps if step.model == model]
        kept = [step.stretch.rate for step in own if step.kept]
        if all(step.bounded for step in own if step.stretch.rate == own[-1].stretch.rate):
            least = f"{kept[-1]:g} orders/s or more" if kept else "unknown"
            said.append(f"{model}: its knee is {least}; at {own[-1].stretch.rate:g}, {own[-1].bounded}")
        elif not kept:
            said.append(f"{model} does not keep the lowest step, {own[0].stretch.rate:g} orders/s: add lower ones")
    return said
