"""When requests are due: a rate profile turned into a seeded list of instants, and its split over generators.

Standard library only, and no clock: the same settings give the same instants on every machine.
"""

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Schedule(StrEnum):
    """The shapes of load on offer.

    `constant` is evenly spaced. The others are Poisson processes: independent clients do not agree on a rhythm.
    """

    CONSTANT = "constant"
    POISSON = "poisson"
    STEP = "step"
    RAMP = "ramp"
    BURST = "burst"


@dataclass(frozen=True)
class Segment:
    """A stretch of `seconds` in which the rate goes evenly from `start` to `end`, in requests per second."""

    seconds: float
    start: float
    end: float

    @property
    def expected(self) -> float:
        """How many requests fall into the segment on average: the area under its rate."""
        return self.seconds * (self.start + self.end) / 2

    def when(self, count: float) -> float:
        """Seconds from the segment's start until `count` requests are expected, for 0 <= `count` <= `expected`."""
        slope = (self.end - self.start) / self.seconds
        # The root of start*t + slope*t²/2 = count, in the form that stays exact when the slope is 0.
        root = math.sqrt(max(self.start**2 + 2 * slope * count, 0.0))
        return 2 * count / (self.start + root) if count else 0.0


def profile(
    schedule: Schedule,
    *,
    rate: float,
    duration: float,
    peak: float,
    steps: int,
    burst_at: float,
    burst_seconds: float,
) -> list[Segment]:
    """The rate over time that a schedule stands for; the segments' lengths add up to `duration` seconds.

    Args:
        schedule: `step` and `ramp` go from `rate` to `peak`; `burst` leaves `rate` for `peak` once.
        rate: Requests per second, at the start.
        duration: Length of the whole profile in seconds.
        peak: Requests per second at the end of a ramp, in the last step or during the burst.
        steps: Number of equally long steps, at least 2.
        burst_at: Seconds from the start until the burst.
        burst_seconds: Length of the burst in seconds.

    Raises:
        ValueError: The burst does not lie within the duration, or there are fewer than two steps.
    """
    match schedule:
        case Schedule.CONSTANT | Schedule.POISSON:
            return [Segment(duration, rate, rate)]
        case Schedule.RAMP:
            return [Segment(duration, rate, peak)]
        case Schedule.STEP:
            if steps < 2:
                raise ValueError("a step schedule needs at least 2 steps")
            heights = [rate + (peak - rate) * step / (steps - 1) for step in range(steps)]
            return [Segment(duration / steps, height, height) for height in heights]
        case Schedule.BURST:
            rest = duration - burst_at - burst_seconds
            if burst_at < 0 or burst_seconds <= 0 or rest < 0:
                raise ValueError("the burst has to lie within the duration")
            stretches = [(burst_at, rate), (burst_seconds, peak), (rest, rate)]
            return [Segment(seconds, height, height) for seconds, height in stretches if seconds > 0]


def arrivals(segments: Sequence[Segment], *, seed: int | None) -> list[float]:
    """The instants at which requests are due, in seconds from the start, ascending.

    Args:
        segments: The rate over time.
        seed: Seeds a Poisson process of that rate; `None` spaces the requests evenly, and their number is exactly the
            expected one, rounded.
    """
    total = sum(segment.expected for segment in segments)
    counts = _poisson(total, random.Random(seed)) if seed is not None else iter(range(round(total)))  # noqa: S311 - no secret
    due: list[float] = []
    start = before = 0.0
    remaining = iter(segments)
    segment = next(remaining)
    for count in counts:
        while count - before >= segment.expected and (following := next(remaining, None)) is not None:
            start += segment.seconds
            before += segment.expected
            segment = following
        due.append(start + segment.when(min(count - before, segment.expected)))
    return due


def _poisson(total: float, dice: random.Random) -> Iterator[float]:
    """The points below `total` of a Poisson process of rate 1."""
    point = dice.expovariate(1.0)
    while point < total:
        yield point
        point += dice.expovariate(1.0)


def partition(due: Sequence[float], index: int, parts: int) -> Sequence[float]:
    """The share of generator `index` out of `parts`: the shares of all of them together are exactly `due`.

    Raises:
        ValueError: `index` is not one of 0 … `parts` - 1.
    """
    if not 0 <= index < parts:
        raise ValueError(f"there is no part {index} out of {parts}")
    return due[index::parts]
