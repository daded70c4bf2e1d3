"""What repeats say together: intervals, "undecided", and controls that must fail."""

import math
from typing import Any

import pytest

from lab.experiments.definition import Claim
from lab.experiments.statistics import Verdict, estimate, judge, verdict


def claim(holds: str, control: str = "without cause") -> Claim:
    """A claim with a comparison."""
    return Claim.model_validate(
        {"text": "it waits", "model": "sync", "value": "accept_p50[slow]", "holds": holds, "control": control}
    )


def run(measured: float | None, *, variant: str = "as it is", holds: str = ">= 2", **more: Any) -> dict[str, Any]:
    """A saved run with one claim."""
    control = more.pop("control", "without cause")
    entry = claim(holds, control).model_dump() | {
        "measured": measured,
        "control_measured": more.pop("control_measured", None),
        "control_promql": "up" if control in ("sync", "async", "streaming") else None,
    }
    return {"variant": variant, "invalid": None, "claims": [entry], **more}


@pytest.mark.parametrize(
    ("holds", "values", "expected"),
    [
        (">= 2", [2.5, 2.6, 2.7, 2.8], "true"),
        (">= 2", [1.1, 1.2, 1.3, 1.4], "false"),
        (">= 2", [1.5, 1.9, 2.1, 2.5], "undecided"),
        ("<= 2", [1.5, 1.9, 2.1, 2.5], "undecided"),
        ("<= 2", [1.5, 1.6, 1.7, 1.9], "true"),
        ("> 0", [1], "true"),
        ("> 0", [0, 0], "false"),
        ("> 0", [0, 1], "undecided"),
        ("== 0", [0, 0, 0, 0], "true"),
        ("== 0", [3, 4, 5, 6], "false"),
        ("== 0", [-1, 1, -1, 1], "false"),
    ],
)
def test_an_interval_that_crosses_the_threshold_is_undecided(holds: str, values: list[float], expected: str) -> None:
    """From three repeats on the interval decides, below that the values do; what is on both sides is undecided."""
    assert verdict(claim(holds), estimate(values)) == expected


def test_one_lost_order_in_ten_runs_is_not_hidden_by_the_median() -> None:
    """A claim of an exact figure is about every run, although the interval of the median is that figure alone."""
    shown = estimate([0] * 9 + [1])
    assert (shown.low, shown.high) == (0, 0)
    assert verdict(claim("== 0"), shown) == "undecided"


def test_an_outlier_does_not_decide_what_a_median_can() -> None:
    """One slow run among many moves neither the median nor its interval over the threshold."""
    assert verdict(claim("<= 2"), estimate([1.0, 1.1, 1.2, 1.0, 1.1, 1.2, 1.0, 1.1, 50.0])) == "true"


def test_a_run_without_a_figure_decides_nothing() -> None:
    """A query without a sample neither confirms nor refutes, and gives no interval."""
    shown = estimate([3, None, 4])
    assert shown.low is None
    assert shown.median == 3.5
    assert verdict(claim(">= 2"), shown) == "undecided"
    assert math.isnan(estimate([None]).median)


@pytest.mark.parametrize("count", [1, 2])
def test_too_few_repeats_have_no_interval(count: int) -> None:
    """Fewer than three runs are shown as they are."""
    assert estimate([2.0] * count).low is None
    assert estimate([2.0] * 3).low == 2.0


def test_an_interval_holds_the_median_and_is_the_same_each_time() -> None:
    """The resampling is seeded, so that a page of the same runs is the same page."""
    values = [2.0, 2.4, 1.9, 2.2, 2.8, 2.1, 2.3]
    shown = estimate(values)
    assert shown == estimate(values)
    assert shown.low is not None
    assert shown.high is not None
    assert min(values) <= shown.low < shown.median < shown.high <= max(values)


@pytest.mark.parametrize(
    ("in_control", "standing"),
    [(0.1, "true"), (2.5, "false"), (None, "undecided")],
    ids=["fails", "holds", "no sample"],
)
def test_a_claim_stands_where_its_control_fails(in_control: float | None, standing: Verdict) -> None:
    """What also holds without its cause is not shown, and a control that measured nothing shows nothing."""
    runs = [run(2.5), run(in_control, variant="without cause")]
    assert [judged.standing for judged in judge(runs)] == [standing]


def test_a_control_in_another_model_is_judged_from_the_same_runs() -> None:
    """Where the control is another model, its value is beside the claim's own."""
    judged = judge([run(0, holds="== 0", control="sync", control_measured=434)])[0]
    assert judged.control is not None
    assert judged.control.median == 434
    assert (judged.control_verdict, judged.standing) == ("false", "true")


def test_invalid_runs_do_not_count() -> None:
    """A run whose load generator was late says nothing; with no other run nothing is judged."""
    assert judge([run(2.5), run(0.1, invalid="late")])[0].shown.values == (2.5,)
    assert judge([run(0.1, invalid="late")]) == []
