"""Runs an experiment: the stack made ready, phase after phase, everything put back."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.errors import LabError
from lab.experiments import actions
from lab.experiments.calibration import Calibration, calibrate
from lab.experiments.definition import (
    KNEE,
    LAST,
    RUN,
    Claim,
    Experiment,
    Phase,
    Row,
    Stretch,
    Variant,
    claimed,
    measured,
)
from lab.experiments.load import Load
from lab.experiments.steps import Climb, Step, unfound
from lab.http import get, post
from lab.prometheus import Prometheus
from lab.runtime.base import Runtime
from lab.stack import Model, stack
from lab.waiting import wait_until

SABOTAGED_LIMIT = 5.0
"""Seconds to wait for what a sabotaged run will never reach."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Finding:
    """A claim with what was measured.

    Attributes:
        claim: What was claimed.
        promql: The one expression behind the value.
        value: What Prometheus answered.
        true: Whether the claim holds of it.
        control_promql: In a run as it is, the same expression for the model for which the claim must fail, if any.
        control_value: What Prometheus answered to that.
        control_true: Whether the claim holds of that, which it must not.
    """

    claim: Claim
    promql: str
    value: float
    true: bool
    control_promql: str | None = None
    control_value: float | None = None
    control_true: bool | None = None


@dataclass(frozen=True, slots=True)
class Figure:
    """A row of the table: one measure in one phase, by model."""

    row: Row
    promql: Mapping[Model, str]
    values: Mapping[Model, float]


@dataclass(slots=True)
class Result:
    """What one run of one variant showed.

    Attributes:
        spans: From when to when each phase ran; in an experiment in steps, each model's turn.
        tried: The rates that were tried, where the experiment has steps.
        findings: Every claim.
        figures: Every row of the table.
        load: The generators' own summaries, by model.
        calibration: What the generator can do on this machine.
        invalid: Why the run proves nothing, or None.
    """

    experiment: Experiment
    variant: Variant
    seed: int
    spans: dict[str, tuple[float, float]] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    load: dict[str, dict[str, Any]] = field(default_factory=dict)
    tried: list[Step] = field(default_factory=list)
    calibration: Calibration | None = None
    invalid: str | None = None

    @property
    def holds(self) -> bool:
        """Whether each claim is as it must be in this variant: true as it is, false where its control says so."""
        return self.invalid is None and not self.wrong

    def stretch(self, phase: str, model: str) -> Stretch:
        """When a phase ran for a model."""
        if phase not in (KNEE, LAST):
            rates = {one.name: one.rate for one in self.experiment.phases}
            return Stretch(*self.spans[phase], rates.get(phase, 0.0))
        done = [step for step in self.tried if step.model == model and not step.bounded]
        return (done if phase == LAST else [step for step in done if step.kept])[-1].stretch

    @property
    def wrong(self) -> list[Finding]:
        """The claims that are not as they must be in this variant."""
        if self.variant == "as it is":
            return [finding for finding in self.findings if not finding.true or finding.control_true]
        return [finding for finding in self.findings if finding.true and finding.claim.control == self.variant]


class Runner:
    """Runs experiments on a stack that is up.

    Args:
        runtime: What stops and starts parts.
        prometheus: What measures.
        say: Told of each step.
    """

    def __init__(self, runtime: Runtime, prometheus: Prometheus, say: Say) -> None:
        self.runtime = runtime
        self.prometheus = prometheus
        self._say = say
        self._calibration: Calibration | None = None

    def run(self, experiment: Experiment, variant: Variant, *, seed: int, folder: Path) -> Result:
        """Run one variant and measure; the stack is as before afterwards, whatever happens.

        Args:
            experiment: What to run.
            variant: As it is, or one of its controls.
            seed: Of the arrival times.
            folder: An existing, empty folder for what the load generators write.

        Raises:
            LabError: The stack cannot be used, or a step of the experiment failed.
        """
        result = Result(experiment, variant, seed)
        varied = experiment.variant(variant)
        with self._ready(varied):
            if varied.steps or varied.peak_rate:
                result.calibration = self._calibrated(varied)
            began = self.prometheus.now()
            if varied.steps and result.calibration:
                self._climb(varied, result, result.calibration, folder)
            else:
                self._loaded(varied, result, began, folder)
            result.spans[RUN] = began, self.prometheus.now()
            if varied.steps and result.invalid:
                result.findings = [Finding(claim, "", math.nan, true=False) for claim in experiment.claims]
                result.figures = [Figure(row, {}, {}) for row in experiment.table]
            else:
                self._judge(result)
        return result

    def _calibrated(self, experiment: Experiment) -> Calibration:
        """What the generator can do here, measured once for all runs; refuses an experiment that wants more."""
        if self._calibration is None:
            self._say("Calibrating the load generator")
            self._calibration = calibrate()
        if experiment.peak_rate > self._calibration.rate:
            raise LabError(
                f"The load generator starts {self._calibration.rate:g} orders/s on time on this machine, and "
                f"{experiment.name} wants {experiment.peak_rate:g}: stop other work here and try again."
            )
        return self._calibration

    def _loaded(self, experiment: Experiment, result: Result, began: float, folder: Path) -> None:
        stretches = [(phase.seconds, phase.rate) for phase in experiment.phases if phase.seconds]
        load = (
            Load.begin(stretches, experiment.schedule, experiment.models, result.seed, folder)
            if experiment.peak_rate
            else None
        )
        try:
            self._phases(experiment, result, began, load)
            result.load = load.end() if load else {}
            late = [f"{model}: {summary['reason']}" for model, summary in result.load.items() if not summary["valid"]]
            result.invalid = result.invalid or "; ".join(late) or None
        finally:
            if load is not None:
                load.stop()

    def _climb(self, experiment: Experiment, result: Result, calibration: Calibration, folder: Path) -> None:
        about = f"{experiment.name}, {result.variant}"
        climb = Climb(self.prometheus, lambda text: self._say(f"{about}: {text}"), calibration)
        for model in experiment.models:
            turn = time.time()
            result.tried += climb.up(experiment, model, seed=result.seed, folder=folder)
            result.spans[model] = turn, self.prometheus.now()
        result.invalid = "; ".join(unfound(result.tried)) or None

    def _phases(self, experiment: Experiment, result: Result, began: float, load: Load | None) -> None:
        due = load.starts_at if load else time.time()
        for phase in experiment.phases:
            if phase.seconds:
                _wait_for(due)
            start = time.time() if result.spans else began
            self._say(f"{experiment.name}, {result.variant}: {phase.name}")
            for action in (*phase.cause, *phase.do):
                self._perform(action, experiment)
            if phase.until is not None:
                self._until(phase, experiment, result, began, start)
            else:
                due += phase.seconds or 0
                _wait_for(due)
            for action in phase.sabotage:
                self._perform(action, experiment)
            end = self.prometheus.now() if not phase.rate else time.time()
            result.spans[phase.name] = start + phase.settle, end

    def _until(self, phase: Phase, experiment: Experiment, result: Result, began: float, start: float) -> None:
        limit = min(phase.limit, SABOTAGED_LIMIT) if result.variant == "sabotaged" else phase.limit
        # What the last scrape before the phase's actions says must not end it.
        self.prometheus.now()

        def unmet() -> str | None:
            now = time.time()
            running = {phase.name: Stretch(start, now), RUN: Stretch(began, now)}
            for model in experiment.models:
                value = claimed(
                    phase.until or "", model, lambda name, of: running.get(name) or result.stretch(name, of)
                )
                if not self.prometheus.vector(value):
                    return f"{phase.until} is not true of {model} yet"
            return None

        try:
            wait_until(unmet, limit=limit, what=f"The end of phase {phase.name}", interval=0.5)
        except LabError as error:
            if result.variant != "sabotaged":
                result.invalid = str(error)

    def _perform(self, action: str, experiment: Experiment) -> None:
        concerned = [action.format(model=model) for model in experiment.models] if "{model}" in action else [action]
        # All models meet it at the same moment.
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda one: actions.perform(one, self.runtime), concerned))

    def _judge(self, result: Result) -> None:
        for claim in result.experiment.claims:
            promql = claimed(claim.value, claim.model, result.stretch)
            value = self.prometheus.value(promql)
            finding = Finding(claim, promql, value, claim.true_of(value))
            if claim.control in result.experiment.models and result.variant == "as it is":
                other = claimed(claim.value, claim.control, result.stretch)
                shown = self.prometheus.value(other)
                finding = Finding(claim, promql, value, claim.true_of(value), other, shown, claim.true_of(shown))
            result.findings.append(finding)
        for row in result.experiment.table:
            models = [model for model in row.models if model in result.experiment.models]
            promql_of = {model: measured(row.measure, model, result.stretch(row.phase, model)) for model in models}
            values = {model: self.prometheus.value(promql) for model, promql in promql_of.items()}
            result.figures.append(Figure(row, promql_of, values))

    @contextmanager
    def _ready(self, experiment: Experiment) -> Iterator[None]:
        """Faults cleared, parts running, queues empty, shelves full; and the same afterwards, stock as it was."""
        self._put_right()
        inventories = [f"{model}-inventory" for model in experiment.models]
        before = {service: get(service, "/stock") for service in inventories}
        for service in inventories:
            post(service, "/admin/restock", {"quantity": experiment.stock})
        try:
            yield
        finally:
            self._say(f"{experiment.name}: putting everything back")
            self._put_right()
            if any(phase.sabotage for phase in experiment.phases) and "streaming" in experiment.models:
                # What was thrown away is in the analytics view still, but no longer in the log that it is a view of.
                actions.perform("replay", self.runtime)
            for service, stock in before.items():
                for item, quantity in stock.items():
                    post(service, "/admin/restock", {"item": item, "quantity": quantity})

    def _put_right(self) -> None:
        for part in self.runtime.status():
            if part.kind == "replica":
                self.runtime.stop(part.name)
            elif part.pid is None:
                self.runtime.start(part.name)
        for service in stack().services:
            post(service.name, "/admin/reset", {})
        wait_until(self._busy, limit=60, what="Quiet in the queues", interval=0.5, hint="see `lab status`")

    def _busy(self) -> str | None:
        waiting = 'sum(rabbitmq_queue_messages{queue!="dlq_queue"}) + sum(kafka_consumer_group_lag)'
        value = self.prometheus.value(waiting)
        return None if value == 0 else f"{value:g} messages wait"


def _wait_for(moment: float) -> None:
    """Return at a Unix time: the load's clock, which nothing announces."""
    time.sleep(max(0.0, moment - time.time()))
