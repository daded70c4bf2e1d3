"""The stack that the tests talk to: a running one, or one that is started for them and stopped after them."""

from collections.abc import Iterator

import pytest

from lab.runtime.base import Runtime
from lab.runtime.choose import choose


@pytest.fixture(scope="session")
def runtime() -> Runtime:
    """The runtime of this machine, or the one that LAB_RUNTIME names; nothing is started by it."""
    return choose(None)


@pytest.fixture(scope="session")
def stack_up(runtime: Runtime) -> Iterator[Runtime]:
    """A stack whose every part is healthy; one that the tests had to start is stopped at the end."""
    ran_before = any(part.pid for part in runtime.status())
    runtime.up()
    yield runtime
    if not ran_before:
        runtime.down()
