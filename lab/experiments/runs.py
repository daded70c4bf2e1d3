"""Runs as folders: what was asked, under which conditions, what was measured. Nothing is overwritten."""

import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lab.errors import LabError
from lab.experiments.definition import measures
from lab.experiments.runner import Finding, Result
from lab.experiments.steps import Step
from lab.paths import home

RESULT = "result.json"


def new_folder(name: str) -> Path:
    """An empty folder for one run, named by the time and the experiment.

    Raises:
        LabError: It cannot be made.
    """
    stem = time.strftime("%Y%m%d-%H%M%S", time.gmtime()) + f"-{name}"
    for attempt in range(100):
        folder = home() / "runs" / (stem if not attempt else f"{stem}-{attempt + 1}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise LabError(
                f"The folder {folder} cannot be made ({error.strerror}); set LAB_HOME to another."
            ) from error
        return folder
    raise LabError(f"There are too many runs named {stem}; wait a second and try again.")


def save(result: Result, folder: Path, conditions: dict[str, Any]) -> None:
    """Write a run's result and conditions into its folder.

    Raises:
        LabError: They cannot be written.
    """
    try:
        (folder / RESULT).write_text(json.dumps(as_data(result, conditions), indent=2) + "\n")
    except OSError as error:
        raise LabError(f"{folder} cannot be written ({error.strerror}); free some space or set LAB_HOME.") from error


def as_data(result: Result, conditions: dict[str, Any]) -> dict[str, Any]:
    """A run as JSON has it; what was not a number is null."""
    return {
        "experiment": result.experiment.name,
        "title": result.experiment.title,
        "question": result.experiment.question,
        "variant": result.variant,
        "seed": result.seed,
        "holds": result.holds,
        "invalid": result.invalid,
        "models": result.experiment.models,
        "stock": result.experiment.stock,
        "schedule": result.experiment.schedule,
        "phases": [phase.model_dump(exclude_defaults=True) for phase in result.experiment.phases],
        "spans": result.spans,
        "claims": [_claim(finding) for finding in result.findings],
        "figures": [
            {
                "measure": figure.row.measure,
                "title": measures()[figure.row.measure].title,
                "unit": measures()[figure.row.measure].unit,
                "phase": figure.row.phase,
                "values": {model: _number(value) for model, value in figure.values.items()},
                "promql": dict(figure.promql),
            }
            for figure in result.figures
        ],
        "steps": result.experiment.steps and result.experiment.steps.model_dump(),
        "tried": [_step(result, step) for step in result.tried],
        "load": result.load,
        "calibration": None if result.calibration is None else result.calibration.model_dump(),
        "conditions": conditions,
    }


def _claim(finding: Finding) -> dict[str, Any]:
    return {
        **finding.claim.model_dump(),
        "measured": _number(finding.value),
        "true": finding.true,
        "promql": finding.promql,
        "control_measured": _number(finding.control_value),
        "control_true": finding.control_true,
        "control_promql": finding.control_promql,
    }


def _step(result: Result, step: Step) -> dict[str, Any]:
    checks = result.experiment.steps.kept if result.experiment.steps and step.values else ()
    return {
        "model": step.model,
        "rate": step.stretch.rate,
        "start": step.stretch.start,
        "end": step.stretch.end,
        "kept": step.kept,
        "bounded": step.bounded,
        "checks": [
            {**check.model_dump(), "measured": _number(value), "true": check.true_of(value), "promql": promql}
            for check, value, promql in zip(checks, step.values, step.promql, strict=True)
        ],
        "load": step.load,
    }


def _number(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else value


def saved() -> Iterator[tuple[Path, dict[str, Any]]]:
    """Every saved run, oldest first: its folder and its data.

    Raises:
        LabError: A result cannot be read.
    """
    for path in sorted((home() / "runs").glob(f"*/{RESULT}")):
        try:
            yield path.parent, json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise LabError(f"The run {path.parent} cannot be read ({error}); remove it.") from error
