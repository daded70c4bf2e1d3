"""Waiting for a condition with a limit, never for a time."""

from collections.abc import Callable

from tenacity import RetryCallState, Retrying, retry_if_result, stop_after_delay, wait_fixed

from lab.errors import LabError

Check = Callable[[], str | None]
"""Looks once and returns what is wrong, or None when all is well."""


def wait_until(
    check: Check, *, limit: float, what: str | Callable[[], str], hint: str = "", interval: float = 0.2
) -> None:
    """Look again and again until the check finds nothing wrong.

    Args:
        check: Looks once; what it raises passes through.
        limit: Seconds after which to give up.
        what: What is awaited, as the subject of a sentence; a function is asked when the limit has passed.
        hint: What to do next, the end of the error's sentence.
        interval: Seconds between two looks.

    Raises:
        LabError: The limit passed; the message names what was awaited and what was wrong last.
    """

    def give_up(state: RetryCallState) -> str | None:
        last = state.outcome.result() if state.outcome else None
        awaited = what if isinstance(what, str) else what()
        raise LabError(f"{awaited} did not come within {limit:.0f} s ({last}){'; ' + hint if hint else ''}.")

    Retrying(
        retry=retry_if_result(lambda problem: problem is not None),
        wait=wait_fixed(interval),
        stop=stop_after_delay(limit),
        retry_error_callback=give_up,
    )(check)
