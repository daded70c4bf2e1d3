"""The stack that tests run against: the one that runs, else one that is started and stopped for them."""

from collections.abc import Iterator

import pytest

from lab.errors import LabError
from lab.runtime.base import Runtime
from lab.runtime.choose import choose


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
