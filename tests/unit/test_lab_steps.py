"""The search for a knee: which steps are tried, what ends it, and when it has found nothing."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import ValidationError

from lab.experiments.calibration import Calibration
from lab.experiments.definition import Experiment, load
from lab.experiments.load import Load
from lab.experiments.runner import Result
from lab.experiments.steps import Climb, unfound

RATES = (100.0, 200.0, 300.0, 400.0)


class Machine:
    """A Prometheus and a generator: a model keeps what is below its knee, the generator what is below its own.

    Args:
        knee: The highest rate that the model keeps.
        generator: The highest rate that the generator keeps.
        spoilt: Rates whose first try other work spoils.
    """

    def __init__(self, *, knee: float, generator: float = 1000, spoilt: tuple[float, ...] = ()) -> None:
        self._knee = knee
        self._generator = generator
        self._spoilt = set(spoilt)
        self._rate = 0.0
        self._good = True

    def begin(self, stretches: list[tuple[float, float]], *_: Any, **__: Any) -> SimpleNamespace:
        """Take the place of `Load.begin`."""
        self._rate = stretches[0][1]
        self._good = self._rate <= self._knee and self._rate not in self._spoilt
        self._spoilt.discard(self._rate)
        valid = self._rate <= self._generator
        summary = {"valid": valid, "reason": None if valid else "it was late"}
        return SimpleNamespace(starts_at=1000.0, end=lambda: {"async": summary}, stop=lambda: None)

    def now(self) -> float:
        """No scrape to wait for."""
        return 1000.0

    def value(self, promql: str) -> float:
        """Nothing waits; of what is offered all is completed at a good step, and half at another."""
        if "campus_orders_accepted_total" in promql:
            return 0.0
        return float(self._good) if "vector" in promql else 0.1


@pytest.fixture
def experiment() -> Experiment:
    """The shipped experiment with few rates."""
    shipped = load("capacity")
    assert shipped.steps is not None
    return shipped.model_copy(update={"steps": shipped.steps.model_copy(update={"rates": RATES})})


def climbed(
    experiment: Experiment, machine: Machine, folder: Path, patch: pytest.MonkeyPatch, *, calibrated: float = 1000
) -> Result:
    """What a climb on this machine shows of async."""
    patch.setattr(Load, "begin", machine.begin)
    climb = Climb(machine, lambda _: None, Calibration(rate=calibrated, max_lag=0.05, levels=()))  # type: ignore[arg-type]
    return Result(experiment, "as it is", 1, tried=climb.up(experiment, "async", seed=1, folder=folder))


def test_the_first_step_that_is_not_kept_twice_ends_the_search(
    experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a knee at 200 the third step is tried twice and the fourth never; claims mean these by knee and last."""
    result = climbed(experiment, Machine(knee=200), tmp_path, monkeypatch)
    assert [step.stretch.rate for step in result.tried] == [100, 200, 300, 300]
    assert [result.stretch(phase, "async").rate for phase in ("knee", "last")] == [200, 300]
    assert unfound(result.tried) == []


def test_a_step_that_other_work_spoilt_is_no_knee(
    experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step that is kept at its second try does not end the search."""
    result = climbed(experiment, Machine(knee=300, spoilt=(200,)), tmp_path, monkeypatch)
    assert [step.stretch.rate for step in result.tried] == [100, 200, 200, 300, 400, 400]
    assert result.stretch("knee", "async").rate == 300


def test_where_the_generator_is_late_no_knee_is_named(
    experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step that the generator did not keep is no knee of the model: it is said to be higher."""
    result = climbed(experiment, Machine(knee=300, generator=200), tmp_path, monkeypatch)
    assert not any(step.kept for step in result.tried if step.bounded)
    assert unfound(result.tried) == [
        "async: its knee is 200 orders/s or more; at 300, the generator did not: it was late"
    ]


def test_a_rate_beyond_the_calibrated_one_is_not_tried(
    experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is sent at it, and the run says why its knee is unknown."""
    result = climbed(experiment, Machine(knee=1000), tmp_path, monkeypatch, calibrated=250)
    assert [(step.stretch.rate, step.load is None) for step in result.tried] == [
        (100, False),
        (200, False),
        (300, True),
    ]
    assert "200 orders/s or more" in unfound(result.tried)[0]


def test_a_model_that_keeps_no_step_is_told(
    experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lowest step has to be kept; else the sentence asks for lower ones."""
    result = climbed(experiment, Machine(knee=50), tmp_path, monkeypatch)
    assert unfound(result.tried) == ["async does not keep the lowest step, 100 orders/s: add lower ones"]


def test_the_control_takes_the_low_rates(experiment: Experiment) -> None:
    """Without the cause an experiment in steps tries the rates that every model keeps."""
    without = experiment.variant("without cause").steps
    assert without is not None
    assert experiment.steps is not None
    assert without.rates == experiment.steps.without_cause
    assert max(without.rates) < min(experiment.steps.rates)


@pytest.mark.parametrize("rates", [(200, 100), (100, 100)])
def test_steps_ascend(experiment: Experiment, rates: tuple[float, ...]) -> None:
    """A search that goes down or stands still is refused."""
    assert experiment.steps is not None
    with pytest.raises(ValidationError, match="do not ascend"):
        type(experiment.steps)(**experiment.steps.model_dump() | {"rates": rates})
