"""Results on a terminal: the models side by side, and each claim with what was measured."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from lab.experiments.definition import RUN, measures
from lab.experiments.runner import Figure, Finding, Result
from lab.experiments.wording import absent, interval, number, phase
from lab.stack import MODELS

if TYPE_CHECKING:
    from lab.experiments.statistics import Estimate, Judgement


def side_by_side(results: Sequence[Result]) -> Table:
    """One table of all figures of these runs: a row a measure, a column a model; it fits 80 columns."""
    table = Table("figure", *MODELS, "unit")
    for column in table.columns[1:4]:
        column.justify = "right"
    for result in results:
        table.add_row(f"[bold]{result.experiment.title}[/]")
        for row, figure in enumerate(result.figures):
            measure = measures()[figure.row.measure]
            when = "" if figure.row.phase == RUN else f", {phase(figure.row.phase)}"
            table.add_row(
                f"  {measure.title}{when}",
                *[_value(figure, model) for model in MODELS],
                measure.unit,
                end_section=row == len(result.figures) - 1,
            )
    return table


def _value(figure: Figure, model: str) -> str:
    value = {str(name): value for name, value in figure.values.items()}.get(model)
    return "-" if value is None else number(value)


def conclusions(result: Result) -> Iterator[str]:
    """The claims of a run, a verdict and what was measured for each, in rich's markup."""
    for finding in result.findings:
        yield f"  {_verdict(result, finding)} {finding.claim.text}"
        yield f"      [dim]{escape(explained(finding))}[/]"


def _verdict(result: Result, finding: Finding) -> str:
    if result.invalid:
        return "[yellow]???[/]"
    if result.variant == "as it is":
        return "[red]no [/]" if finding in result.wrong else "[green]yes[/]"
    if finding.claim.control != result.variant:
        return "[dim] - [/]"
    return "[red]it does not fail:[/]" if finding.true else "[green]fails, as it must:[/]"


def explained(finding: Finding) -> str:
    """The measured value of a claim beside what was wanted."""
    text = f"{finding.claim.value} is {finding.value:.4g}, wanted {finding.claim.holds}"
    if finding.control_value is not None:
        text += f" (for {finding.claim.control} it is {finding.control_value:.4g}: there the claim fails)"
    return text


def together(judgements: Sequence["Judgement"]) -> Iterator[str]:
    """What all the repeats together say of each claim, in rich's markup."""
    colours = {"true": "green", "false": "red", "undecided": "yellow"}
    for judged in judgements:
        yield f"  [{colours[judged.standing]}]{judged.standing:9}[/] {judged.claim.text}"
        text = f"{judged.claim.value} is {_estimated(judged.shown)}, wanted {judged.claim.holds}"
        if judged.control is not None:
            does = {"false": "there the claim fails", "true": "there it holds too", "undecided": "undecided there"}
            text += (
                f" ({judged.claim.control}: {_estimated(judged.control)}, {does[judged.control_verdict or 'false']})"
            )
        yield f"            [dim]{escape(text)}[/]"


def _estimated(one: "Estimate") -> str:
    within, missing = interval(one.low, one.high, ""), absent(one.values)
    return number(one.median) + (f" [{within}]" if within else "") + (f" ({missing})" if missing else "")
