"""Figures as people write them, the same on the terminal and on the page."""

import math
from collections.abc import Sequence

from lab.experiments.definition import KNEE, LAST, RUN


def duration(seconds: float) -> str:
    """A time as people write it: "5 ms", "2 s"."""
    return f"{seconds * 1000:.3g} ms" if 0 < abs(seconds) < 0.9995 else f"{number(seconds)} s"


def number(value: float) -> str:
    """A figure with three digits that count, and all those of a whole number; "none" for NaN."""
    if math.isnan(value):
        return "none"
    return f"{value:,.0f}" if value == round(value) or abs(value) >= 100 else f"{value:.3g}"


def quantity(value: float, unit: str) -> str:
    """A figure in its unit; counts go without."""
    if unit == "s" and not math.isnan(value):
        return duration(value)
    return f"{value:.3g}".replace("nan", "none") if unit == "ratio" else number(value)


def interval(low: float | None, high: float | None, unit: str) -> str | None:
    """From where to where, or None where there is no interval."""
    return None if low is None or high is None else f"{quantity(low, unit)} to {quantity(high, unit)}"


def absent(values: Sequence[float]) -> str | None:
    """How many runs have no figure, or None where all have one."""
    count = sum(map(math.isnan, values))
    return f"{count} of {len(values)} without a figure" if count else None


_PHASES = {RUN: "the whole run", KNEE: "the highest step kept", LAST: "the last step"}


def phase(name: str) -> str:
    """A phase as people call it."""
    return _PHASES.get(name, name.replace("_", " "))
