"""Commands that talk to the services as a client would: order, fault."""

import json
from typing import Annotated

import typer

from lab.console import out
from lab.faults import inject
from lab.http import post
from lab.stack import stack


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
    out.print_json(json.dumps(inject(service, kind, value)))


def register(app: typer.Typer) -> None:
    """Add these commands to the app."""
    for command in (order, fault):
        app.command()(command)
