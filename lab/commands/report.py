"""The command `lab report`."""

from pathlib import Path
from typing import Annotated

import typer

from lab.console import out, say
from lab.errors import LabError
from lab.paths import home


def report(
    runs: Annotated[
        list[str] | None,
        typer.Argument(help="Saved runs, or experiments, to report on; of each experiment the newest alike, if none."),
    ] = None,
    page: Annotated[Path | None, typer.Option("--out", help="The file to write; report.html in LAB_HOME.")] = None,
) -> None:
    """Make one HTML page from saved runs: verdicts, plots, conditions, and the PromQL of each number."""
    # Matplotlib and scipy take seconds to load, which no other command should wait for.
    from lab.experiments import report as reports  # noqa: PLC0415

    chosen = reports.chosen(runs or ())
    say(f"Drawing {len(chosen)} saved runs.")
    target = (page or home() / "report.html").resolve()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(reports.page(chosen, every_group=bool(runs)), encoding="utf-8")
    except OSError as error:
        raise LabError(f"{target} cannot be written ({error.strerror}); choose another with --out.") from error
    out.print(str(target), soft_wrap=True)


def register(app: typer.Typer) -> None:
    """Add this command to the app."""
    app.command()(report)
