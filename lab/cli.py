"""`lab`, the command line: it gathers the commands and turns each known failure into one sentence."""

import sys
from typing import Any

import typer
from typer.core import TyperGroup

from lab.commands import experiments, orders, parts, report
from lab.console import say
from lab.errors import LabError


class _Sentences(TyperGroup):
    """A group whose commands end in one sentence and exit code 1 where they raise `LabError`."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except LabError as error:
            say(f"lab: {error}")
            sys.exit(1)


app = typer.Typer(
    name="lab",
    cls=_Sentences,
    help="Run, break and measure one campus food order flow built three times.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
parts.register(app)
orders.register(app)
experiments.register(app)
report.register(app)

if __name__ == "__main__":
    app()
