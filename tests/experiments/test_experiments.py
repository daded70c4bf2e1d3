"""Each main experiment as it is, and its controls: what is claimed holds, and fails where its cause is absent."""

from pathlib import Path

import pytest

from lab.console import say
from lab.experiments.definition import Variant, load
from lab.experiments.runner import Runner
from lab.experiments.show import explained
from lab.prometheus import of_stack
from lab.runtime.base import Runtime

MAIN = ("latency", "burst", "lag")
RUNS = [(name, variant) for name in MAIN for variant in load(name).variants]


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("name", "variant"), RUNS, ids=[f"{name}, {variant}" for name, variant in RUNS])
def test_claims_hold_and_fail_where_they_must(name: str, variant: Variant, stack: Runtime, tmp_path: Path) -> None:
    """As it is every claim is true; in a control the claims that it is the control of are false."""
    prometheus = of_stack()
    result = Runner(stack, prometheus, say).run(load(name), variant, seed=1, folder=tmp_path)
    assert result.invalid is None
    assert not [f"{finding.claim.text}: {explained(finding)}" for finding in result.wrong]
