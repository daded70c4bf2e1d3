"""What several runs of one experiment say together: medians with intervals, and verdicts that may be "undecided"."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.stats import bootstrap

from lab.experiments.definition import Claim

FEWEST = 3
"""Repeats below which no interval is given."""
CONFIDENCE = 0.95
RESAMPLES = 9999

Verdict = Literal["true", "false", "undecided"]
CLAIM_FIELDS = tuple(Claim.model_fields)

Run = Mapping[str, Any]
"""A run as `lab.experiments.runs.as_data` has it."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """The figures of repeated runs.

    Attributes:
        values: One a run; NaN where Prometheus had no sample.
        median: Of the values that are numbers; NaN when there are none.
        low: Lower end of the 95 % bootstrap interval of the median; None with fewer than three values or with a NaN.
        high: Its upper end.
    """

    values: tuple[float, ...]
    median: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Judgement:
    """A claim with what all the runs together say about it.

    Attributes:
        claim: What was claimed.
        shown: Its value in the runs as they are.
        verdict: Whether it holds of that.
        control: Its value where it must fail; None when that was not run.
        control_verdict: Whether it holds of that, which it must not.
    """

    claim: Claim
    shown: Estimate
    verdict: Verdict
    control: Estimate | None = None
    control_verdict: Verdict | None = None

    @property
    def standing(self) -> Verdict:
        """True when the claim holds and fails in its control (if that was run); false when either is the opposite."""
        if self.verdict == "false" or self.control_verdict == "true":
            return "false"
        if self.verdict == "undecided" or self.control_verdict == "undecided":
            return "undecided"
        return "true"


def estimate(values: Sequence[float | None]) -> Estimate:
    """The median of the values with its interval; None and NaN alike mean that there was no sample.

    The resampling is seeded: the same values give the same interval.
    """
    all_values = tuple(math.nan if value is None else float(value) for value in values)
    numbers = [value for value in all_values if not math.isnan(value)]
    if not numbers:
        return Estimate(all_values, math.nan)
    median = float(np.median(numbers))
    if len(numbers) < max(FEWEST, len(all_values)):  # too few, or a run had none
        return Estimate(all_values, median)
    interval = bootstrap(
        (numbers,),
        np.median,
        confidence_level=CONFIDENCE,
        n_resamples=RESAMPLES,
        method="percentile",  # BCa, the default, is undefined for values that are all the same
        rng=np.random.default_rng(0),
    ).confidence_interval
    return Estimate(all_values, median, float(interval.low), float(interval.high))


def verdict(claim: Claim, shown: Estimate) -> Verdict:
    """Whether a claim holds of repeated figures: "undecided" when the interval crosses the claim's threshold.

    Without an interval, and for a claim of an exact figure (==), each run is asked: what a median hides, one order
    lost in ten runs, is what such a claim is about. A run without a figure decides nothing, in a control neither.
    """
    if any(math.isnan(value) for value in shown.values):
        return "undecided"
    exact = claim.holds.startswith("==")
    asked = shown.values if exact or shown.low is None or shown.high is None else (shown.low, shown.high)
    answers = {claim.true_of(value) for value in asked}
    return "undecided" if len(answers) != 1 else "true" if answers.pop() else "false"


def judge(runs: Sequence[Run]) -> list[Judgement]:
    """Each claim of an experiment, judged by all its runs that are valid; claims that no such run has are left out.

    Args:
        runs: Runs of one experiment, of any variant, all with the same claims.
    """
    valid = [run for run in runs if not run["invalid"]]
    as_it_is = [run for run in valid if run["variant"] == "as it is"]
    if not as_it_is:
        return []
    judgements = []
    for number, entry in enumerate(as_it_is[-1]["claims"]):
        claim = Claim(**{name: entry[name] for name in CLAIM_FIELDS if name in entry})
        shown = estimate([run["claims"][number]["measured"] for run in as_it_is])
        in_control = _in_control(claim, number, valid)
        control = estimate(in_control) if in_control else None
        judgements.append(
            Judgement(claim, shown, verdict(claim, shown), control, verdict(claim, control) if control else None)
        )
    return judgements


def _in_control(claim: Claim, number: int, valid: Sequence[Run]) -> list[float | None]:
    if claim.control in ("without cause", "sabotaged"):
        return [run["claims"][number]["measured"] for run in valid if run["variant"] == claim.control]
    as_it_is = [run for run in valid if run["variant"] == "as it is"]
    entries = [run["claims"][number] for run in as_it_is]
    return [entry["control_measured"] for entry in entries if entry["control_promql"] is not None]
