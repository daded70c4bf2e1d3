"""The stack that tests run against: the one that runs, else one that is started and stopped for them; who shares it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.errors import LabError
from lab.runtime.base import Runtime
from lab.runtime.choose import choose

_ALONE = ("unit", "loadtests", "parity", "ways_in")
"""Folders of tests that need no stack, unless they ask for it."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep what uses the one stack in one process, in its sequence, when tests are spread over several."""
    for item in items:
        folder = item.path.relative_to(Path(__file__).parent).parts[0]
        if folder not in _ALONE or "stack" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group("stack"))


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
