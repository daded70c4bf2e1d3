"""The schedules of the load tests: exact counts, seeds, shapes, and shares that add up."""

from itertools import pairwise

import pytest

from loadtests.schedule import Schedule, Segment, arrivals, partition, profile


def shape(schedule: Schedule, *, rate: float = 40.0, duration: float = 30.0) -> list[Segment]:
    """A profile with a peak of 400/s, four steps, and a burst from 10 s to 15 s."""
    return profile(schedule, rate=rate, duration=duration, peak=400.0, steps=4, burst_at=10.0, burst_seconds=5.0)


def within(due: list[float], start: float, end: float) -> int:
    """The number of instants from `start` to `end`."""
    return sum(start <= instant < end for instant in due)


@pytest.mark.parametrize(("rate", "duration", "count"), [(40.0, 30.0, 1200), (0.1, 10.0, 1), (3.0, 0.5, 2)])
def test_constant_has_exactly_rate_times_duration(rate: float, duration: float, count: int) -> None:
    """A constant schedule has rate times duration requests, evenly spaced from the start."""
    due = arrivals(shape(Schedule.CONSTANT, rate=rate, duration=duration), seed=None)
    assert due == pytest.approx([index / rate for index in range(count)])


@pytest.mark.parametrize("schedule", [s for s in Schedule if s is not Schedule.CONSTANT])
def test_a_seed_decides_the_arrivals(schedule: Schedule) -> None:
    """The same seed gives the same arrivals, another seed others."""
    segments = shape(schedule)
    assert arrivals(segments, seed=7) == arrivals(segments, seed=7) != arrivals(segments, seed=8)


@pytest.mark.parametrize("schedule", list(Schedule))
def test_arrivals_ascend_within_the_duration(schedule: Schedule) -> None:
    """All arrivals lie within the duration, in order, and their number is within 5 sigma of the expected one."""
    segments = shape(schedule)
    due = arrivals(segments, seed=3)
    expected = sum(segment.expected for segment in segments)
    assert due == sorted(due)
    assert 0 <= due[0] <= due[-1] <= 30
    assert abs(len(due) - expected) < 5 * expected**0.5
    assert sum(segment.seconds for segment in segments) == pytest.approx(30)


def test_poisson_gaps_vary_like_an_exponential() -> None:
    """The gaps of a Poisson schedule have a standard deviation close to their mean; evenly spaced ones have none."""
    due = arrivals([Segment(100, 100, 100)], seed=1)
    gaps = [later - earlier for earlier, later in pairwise(due)]
    mean = sum(gaps) / len(gaps)
    deviation = (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5
    assert 0.9 < deviation / mean < 1.1


def test_a_burst_is_where_it_was_put() -> None:
    """Evenly spaced, a burst schedule has the peak's rate in the burst and the base rate around it, to the request."""
    due = arrivals(shape(Schedule.BURST), seed=None)
    assert [within(due, 0, 10), within(due, 10, 15), within(due, 15, 30)] == [400, 2000, 600]


def test_steps_rise_evenly_to_the_peak() -> None:
    """Evenly spaced, four steps from 40/s to 400/s have 40, 160, 280 and 400 requests per second, to the request."""
    due = arrivals(shape(Schedule.STEP), seed=None)
    counts = [within(due, 7.5 * step - 1e-6, 7.5 * (step + 1) - 1e-6) for step in range(4)]
    assert counts == [300, 1200, 2100, 3000]


def test_a_ramp_follows_its_line() -> None:
    """Evenly spaced, the first third of a ramp from 40/s to 400/s has the line's area of requests, to the request."""
    due = arrivals(shape(Schedule.RAMP), seed=None)
    assert len(due) == 30 * (40 + 400) // 2
    assert abs(within(due, 0, 10) - 10 * (40 + 160) / 2) <= 1


@pytest.mark.parametrize("parts", [1, 2, 3, 7])
def test_the_shares_are_exactly_the_schedule(parts: int) -> None:
    """The workers' shares put together are the schedule: nothing twice, nothing left out, sizes alike."""
    due = arrivals(shape(Schedule.BURST), seed=5)
    shares = [partition(due, index, parts) for index in range(parts)]
    assert sorted(instant for share in shares for instant in share) == due
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_a_share_that_does_not_exist_is_an_error() -> None:
    """Asking for part 2 of 2 raises, instead of sending a share twice."""
    with pytest.raises(ValueError, match="no part 2 out of 2"):
        partition([0.0], 2, 2)


def test_a_burst_outside_the_duration_is_an_error() -> None:
    """A burst that would end after the schedule raises."""
    with pytest.raises(ValueError, match="within the duration"):
        profile(Schedule.BURST, rate=1, duration=10, peak=2, steps=2, burst_at=8, burst_seconds=5)
