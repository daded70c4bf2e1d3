"""Commands about the stack and its parts: setup, up, down, status, logs, stop, start, kill."""

import json
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from lab.console import out, say
from lab.runtime import scale as runtime_scale
from lab.runtime.base import PartStatus
from lab.runtime.choose import choose

Runtime = Annotated[
    str | None,
    typer.Option(
        "--runtime", help="compose or native; else LAB_RUNTIME, else what runs, else compose where it can be had."
    ),
]
Part = Annotated[str, typer.Argument(help="A service, broker or tool as `lab status` names it.")]


def setup(runtime: Runtime = None) -> None:
    """Install the programs that are missing, without starting anything."""
    choose(runtime).setup()
    say("Everything is installed; start the lab with `lab up`.")


def up(runtime: Runtime = None) -> None:
    """Start the stack and wait until every part is healthy."""
    choose(runtime).up()


def down(
    runtime: Runtime = None,
    volumes: Annotated[bool, typer.Option("--volumes", help="Remove data and logs too.")] = False,
) -> None:
    """Stop the stack; data stays unless told otherwise."""
    choose(runtime).down(volumes=volumes)
    say("The lab is down.")


def status(
    runtime: Runtime = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Show each part's process and health; exit with 1 when one is not healthy."""
    chosen = choose(runtime)
    parts = chosen.status()
    memory = chosen.resident_memory()
    if as_json:
        found = {
            "runtime": chosen.name,
            "resident_bytes": memory,
            "parts": [part.as_dict() for part in parts],
        }
        out.print_json(json.dumps(found))
    else:
        out.print(_table(parts))
        out.print(f"resident memory of the {chosen.name} stack: {memory / 1e6:,.0f} MB")
    if not all(part.healthy for part in parts):
        raise typer.Exit(1)


def _table(parts: Sequence[PartStatus]) -> Table:
    table = Table()
    for title in ("part", "kind", "port", "pid", "up", "memory"):
        table.add_column(title, no_wrap=True)
    table.add_column("health", overflow="fold")
    for part in parts:
        table.add_row(
            part.name,
            part.kind,
            str(part.port),
            str(part.pid or "-"),
            "-" if part.uptime is None else _duration(part.uptime),
            "-" if part.resident_bytes is None else f"{part.resident_bytes / 1e6:.0f} MB",
            Text("ok", "green") if part.healthy else Text(str(part.problem), "red"),
        )
    return table


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def logs(
    part: Part,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many of the last lines.")] = 100,
    runtime: Runtime = None,
) -> None:
    """Show the last lines of a part's log."""
    choose(runtime).logs(part, follow=follow, lines=lines)


def stop(part: Part, runtime: Runtime = None) -> None:
    """Stop a part gracefully; it stays stopped until `lab start`."""
    choose(runtime).stop(part)
    say(f"{part} is stopped.")


def start(part: Part, runtime: Runtime = None) -> None:
    """Start a part and wait until it is healthy."""
    runtime_scale.start(choose(runtime), part)
    say(f"{part} is healthy.")


def kill(part: Part, runtime: Runtime = None) -> None:
    """End a part by SIGKILL; it stays dead until `lab start`."""
    choose(runtime).kill(part)
    say(f"{part} is dead.")


def scale(
    service: Annotated[str, typer.Argument(help="async-inventory or streaming-inventory.")],
    processes: Annotated[int, typer.Argument(help="How many of it shall run, 1 to 3.")],
    runtime: Runtime = None,
) -> None:
    """Have several processes of a service share its work; 1 is as `lab up` starts it."""
    runtime_scale.scale(choose(runtime), service, processes)
    say(f"{processes} of {service} {'runs' if processes == 1 else 'run'}.")


def register(app: typer.Typer) -> None:
    """Add these commands to the app."""
    for command in (setup, up, down, status, logs, stop, start, kill, scale):
        app.command()(command)
