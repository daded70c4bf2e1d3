"""Faults as a user names them, injected into every process of a service."""

from typing import Any

from lab.errors import LabError
from lab.http import get, post
from lab.runtime.health import tcp
from lab.stack import stack

SECONDS = ("delay", "throttle")
SWITCHES = ("fail", "pause")
_ON, _OFF = ("on", "true", "1", "yes"), ("off", "false", "0", "no")


def inject(service: str, kind: str, value: str | None) -> Any:
    """Set a fault of a service and of its replicas that run, or of one replica; `reset` ends all of them.

    Returns:
        What is injected into the service, or that replica, then.

    Raises:
        LabError: There is no such service or fault, the value does not fit it, or the service refuses it.
    """
    body = fault_body(kind, value)
    first, *replicas = stack().instances(service)
    for replica in replicas:
        if tcp(replica.port)() is None:
            post(replica.name, f"/admin/{kind}", body)
    return post(first.name, f"/admin/{kind}", body)


def copy(source: str, target: str) -> None:
    """Inject into `target` what is injected into `source`; whether it is paused comes last.

    Raises:
        LabError: One of them does not answer.
    """
    state = get(source, "/admin/faults")
    for kind in sorted(state, key=lambda kind: kind == "pause"):
        post(target, f"/admin/{kind}", {"seconds" if kind in SECONDS else "enabled": state[kind]})


def fault_body(kind: str, value: str | None) -> dict[str, Any]:
    """The body of `POST /admin/{kind}` for a value as typed.

    Raises:
        LabError: The kind is unknown, or the value does not fit it.
    """
    if kind == "reset":
        return {}
    if kind in SWITCHES:
        if value is not None and value.lower() in _ON + _OFF:
            return {"enabled": value.lower() in _ON}
        raise LabError(f"The fault {kind} is switched on or off; say `on` or `off`.")
    if kind in SECONDS:
        try:
            seconds = float(value or "")
        except ValueError:
            seconds = -1.0
        if 0 <= seconds < float("inf"):
            return {"seconds": seconds}
        raise LabError(f"The fault {kind} takes a number of seconds, 0 to end it; for example `2`.")
    raise LabError(f"There is no fault {kind!r}; there are {', '.join((*SECONDS, *SWITCHES, 'reset'))}.")
