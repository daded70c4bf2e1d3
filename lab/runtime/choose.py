"""Which runtime a command drives."""

import os
from collections.abc import Callable

from lab.console import say
from lab.errors import LabError
from lab.runtime.base import Runtime
from lab.runtime.compose import ComposeRuntime
from lab.runtime.native import NativeRuntime
from lab.stack import Stack, stack

RUNTIMES: dict[str, Callable[[Stack], Runtime]] = {"compose": ComposeRuntime, "native": NativeRuntime}


def choose(name: str | None = None) -> Runtime:
    """The runtime of that name or of `LAB_RUNTIME`; else the one that runs, else compose if it can be had, else native.

    One that nobody named is said on standard error, with the reason.

    Raises:
        LabError: There is no such runtime.
    """
    if wanted := name or os.environ.get("LAB_RUNTIME"):
        if wanted not in RUNTIMES:
            raise LabError(
                f"There is no runtime {wanted!r}; choose {' or '.join(RUNTIMES)} by --runtime or LAB_RUNTIME."
            )
        return RUNTIMES[wanted](stack())
    chosen, reason = _best()
    say(f"Runtime: {chosen.name}, because {reason}.")
    return chosen


def _best() -> tuple[Runtime, str]:
    native, compose = NativeRuntime(stack()), ComposeRuntime(stack())
    if native.is_running():
        return native, "it is running"
    if compose.is_running():
        return compose, "it is running"
    if lack := compose.unavailable():
        return native, lack
    return compose, "a Docker Engine with Compose answers and its images can be had"
