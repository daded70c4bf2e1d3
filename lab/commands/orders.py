"""Commands that talk to the services as a client would: order, fault."""

import json
from typing import Annotated, Any

import typer

from lab.console import out
from lab.errors import LabError
from lab.http import post
from lab.stack import stack

SECONDS = ("delay", "throttle")
SWITCHES = ("fail", "pause")
ON, OFF = ("on", "true", "1", "yes"), ("off", "false", "0", "no")


def order(
    model: Annotated[str, typer.Argument(help="sync, async or streaming.")],
    item: Annotated[str, typer.Argument(help="What is ordered.")] = "burger",
    quantity: Annotated[int, typer.Argument(help="How many of it, 1 to 1000.")] = 1,
) -> None:
    """Place one order and print the answer."""
    service = stack().order_service(model)
    reply = post(service.name, "/order", {"item": item, "quantity": quantity})
    out.print_json(json.dumps(reply))


def fault(
    service: Annotated[str, typer.Argument(help="A service as `lab status` names it.")],
    kind: Annotated[str, typer.Argument(help="delay, throttle (seconds); fail, pause (on or off); reset.")],
    value: Annotated[str | None, typer.Argument(help="Seconds, or on or off; reset takes none.")] = None,
) -> None:
    """Inject a fault into a service, change it, or reset them all; print what is active then."""
    target = stack().service(service)
    body = fault_body(kind, value)
    out.print_json(json.dumps(post(target.name, f"/admin/{kind}", body)))


def fault_body(kind: str, value: str | None) -> dict[str, Any]:
    """The body of `POST /admin/{kind}` for a value as typed.

    Raises:
        LabError: The kind is unknown, or the value does not fit it.
    """
    if kind == "reset":
        return {}
    if kind in SWITCHES:
        if value is not None and value.lower() in ON + OFF:
            return {"enabled": value.lower() in ON}
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


def register(app: typer.Typer) -> None:
    """Add these commands to the app."""
    for command in (order, fault):
        app.command()(command)
