"""Which runtime a command drives."""

import os
from collections.abc import Callable

from lab.errors import LabError
from lab.runtime.base import Runtime
from lab.runtime.compose import ComposeRuntime
from lab.runtime.native import NativeRuntime
from lab.stack import Stack, stack

RUNTIMES: dict[str, Callable[[Stack], Runtime]] = {"compose": ComposeRuntime, "native": NativeRuntime}


def choose(name: str | None = None) -> Runtime:
    """The runtime of that name, else of `LAB_RUNTIME`, else native.

    Raises:
        LabError: There is no such runtime.
    """
    wanted = name or os.environ.get("LAB_RUNTIME") or "native"
    if wanted not in RUNTIMES:
        raise LabError(f"There is no runtime {wanted!r}; choose {' or '.join(RUNTIMES)} by --runtime or LAB_RUNTIME.")
    return RUNTIMES[wanted](stack())
