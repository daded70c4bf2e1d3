"""Results on a terminal: the models side by side, and each claim with what was measured."""

import math
from collections.abc import Sequence

from rich.table import Table

from lab.experiments.definition import measures
from lab.experiments.runner import Figure, Finding, Result
from lab.stack import MODELS


def side_by_side(results: Sequence[Result]) -> Table:
    """One table of all figures of these runs: a row a measure, a column a model."""
    table = Table("experiment", "figure", "phase", *MODELS, "unit")
    for column in table.columns[3:6]:
        column.justify = "right"
    for result in results:
        for number, figure in enumerate(result.figures):
            measure = measures()[figure.row.measure]
            table.add_row(
                "" if number else result.experiment.title,
                measure.title,
                "the whole run" if figure.row.phase == "run" else figure.row.phase,
                *[_value(figure, model) for model in MODELS],
                measure.unit,
                end_section=number == len(result.figures) - 1,
            )
    return table


def _value(figure: Figure, model: str) -> str:
    value = {str(name): value for name, value in figure.values.items()}.get(model)
    if value is None:
        return "-"
    if math.isnan(value):
        return "none"
    return f"{value:,.0f}" if value == round(value) or abs(value) >= 100 else f"{value:.3g}"


def conclusions(result: Result) -> Table:
    """The claims of a run, each with its value and verdict."""
    table = Table.grid(padding=(0, 1))
    for finding in result.findings:
        table.add_row(_verdict(result, finding), finding.claim.text, f"({explained(finding)})")
    return table


def _verdict(result: Result, finding: Finding) -> str:
    if result.invalid:
        return "[yellow]invalid[/]"
    return "[red]no[/]" if finding in result.wrong else "[green]yes[/]"


def explained(finding: Finding) -> str:
    """The measured value of a claim beside what was wanted, for rich text."""
    text = f"{finding.claim.value} is {finding.value:.3g}, wanted {finding.claim.holds}"
    if finding.control_value is not None:
        text += f"; for {finding.claim.control} it is {finding.control_value:.3g}, which must not be"
    return text.replace("[", r"\[")
