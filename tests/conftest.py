"""The stack that tests run against, the one that runs, else one that is started and stopped for them; who shares it."""

from collections.abc import Iterator
from typing import Any

import pytest
from xdist.scheduler.loadscope import LoadScopeScheduling

from lab.errors import LabError
from lab.runtime.base import Runtime
from lab.runtime.choose import choose

_OF_THE_STACK = (
    "tests/contract/",
    "tests/experiments/",
    "tests/observability/",
    "tests/parity/test_compose_runtime.py",
)
_EXPERIMENTS = "tests/experiments/"


class _OneStack(LoadScopeScheduling):  # type: ignore[misc]
    """Over several processes (`-n`), one has all that uses the stack, and one all of the small stack of tests/lab."""

    def _split_scope(self, nodeid: str) -> str:
        if nodeid.startswith(_OF_THE_STACK):
            return "stack"
        return "lab" if nodeid.startswith("tests/lab/") else nodeid


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """The way in which tests are spread."""
    return _OneStack(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Experiments, which measure, come last: nothing runs beside them then."""
    items.sort(key=lambda item: item.nodeid.startswith(_EXPERIMENTS))


@pytest.fixture(scope="session")
def stack() -> Iterator[Runtime]:
    """A runtime (LAB_RUNTIME selects it) with every part healthy; left as it was found, running or not."""
    try:
        runtime = choose()
        parts = runtime.status()
        found = any(part.healthy for part in parts)
        if not all(part.healthy for part in parts):
            runtime.up()
    except LabError as error:
        pytest.fail(f"There is no stack to test: {error}", pytrace=False)
    yield runtime
    if not found:
        runtime.down()
