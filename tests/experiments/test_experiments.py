"""Each experiment as it is, and its controls: what is claimed holds, and fails where its cause is absent."""

from pathlib import Path

import pytest

from lab.console import say
from lab.experiments.definition import Variant, load, names
from lab.experiments.runner import Runner
from lab.experiments.show import explained
from lab.prometheus import of_stack
from lab.runtime.base import Runtime

QUICK = ("latency", "burst", "lag")
"""The main three; the others run with `pytest -m long tests/experiments`."""

RUNS = [
    pytest.param(name, variant, id=f"{name}, {variant}", marks=() if name in QUICK else pytest.mark.long)
    for name in sorted(names(), key=lambda name: (name not in QUICK, name))
    for variant in load(name).variants
]


@pytest.fixture(scope="module")
def runner(stack: Runtime) -> Runner:
    """One for all runs, so that the generator is calibrated once."""
    return Runner(stack, of_stack(), say)


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("name", "variant"), RUNS)
def test_claims_hold_and_fail_where_they_must(name: str, variant: Variant, runner: Runner, tmp_path: Path) -> None:
    """As it is every claim is true; in a control the claims that it is the control of are false."""
    experiment = load(name)
    result = runner.run(experiment, variant, seed=1, folder=tmp_path)
    assert result.invalid is None
    assert result.calibration is None or result.calibration.rate >= experiment.peak_rate
    assert [finding.claim for finding in result.findings] == list(experiment.claims)
    assert not [f"{finding.claim.text}: {explained(finding)}" for finding in result.wrong]
