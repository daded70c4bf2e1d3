"""Commands about experiments: run, conditions, demo."""

import json
import math
import time
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.table import Table

from lab.commands.parts import Runtime
from lab.console import out, say
from lab.experiments import samples
from lab.experiments.conditions import conditions as read_conditions
from lab.experiments.definition import RUN, Variant, load, names
from lab.experiments.fairness import differences, settings_of
from lab.experiments.runner import Result, Runner
from lab.experiments.runs import as_data, new_folder, save
from lab.experiments.show import conclusions, side_by_side, together
from lab.prometheus import of_stack
from lab.runtime.choose import choose
from lab.stack import MODELS

DEMO = ("latency", "burst", "lag")
"""The three experiments of the main job."""


def run(  # noqa: PLR0917 - each is a command-line option
    experiments: Annotated[list[str] | None, typer.Argument(help="Names, as `lab run --list` shows them.")] = None,
    show_list: Annotated[bool, typer.Option("--list", help="Show the experiments there are.")] = False,
    repeats: Annotated[int, typer.Option("--repeats", min=1, max=50, help="Runs of each, with seeds one apart.")] = 1,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the arrival times.")] = 1,
    controls: Annotated[bool, typer.Option(help="Run the controls too, in which claims must fail.")] = True,
    runtime: Runtime = None,
) -> None:
    """Run experiments on the stack that is up; exit with 1 when a claim does not hold, or holds in its control."""
    if show_list or not experiments:
        table = Table("experiment", "question")
        for name in names():
            table.add_row(name, load(name).question)
        out.print(table)
        return
    wanted = [load(name) for name in experiments]
    chosen = choose(runtime)
    runner = Runner(chosen, of_stack(), say)
    results = [
        _run(runner, experiment.name, variant, seed + repeat)
        for experiment in wanted
        for repeat in range(repeats)
        for variant in (experiment.variants if controls else ("as it is",))
    ]
    _show(results)
    if not (_together(results) if repeats > 1 else all(result.holds for result in results)):
        raise typer.Exit(1)


def conditions(
    runtime: Runtime = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything, as a run stores it.")] = False,
) -> None:
    """Print from the live system what each model runs with, what differs and why."""
    found = read_conditions(choose(runtime))
    if as_json:
        out.print_json(json.dumps(found))
        return
    out.print("[bold]What differs, by design[/]")
    for one in differences(found):
        out.print(f"\n{one['condition']}")
        for model in MODELS:
            out.print(f"  {model:9} {one[model]}", highlight=False)
        out.print(f"  [dim]{one['why']}[/]")
    out.print("\n[bold]What is the same, or would be said above[/]")
    table = Table("condition", *MODELS)
    for name, values in {"stock": found["stock"], "processes": found["processes"], **settings_of(found)}.items():
        table.add_row(name, *[str(values.get(model, "-")) for model in MODELS])
    out.print(table)
    queues = ", ".join(f"{name} ({queue['type']})" for name, queue in found["queues"].items())
    topics = ", ".join(
        f"{name} ({t['partitions']} partitions, {t['replicas']} replica)" for name, t in found["topics"].items()
    )
    out.print(f"RabbitMQ: {queues}\nKafka: {topics}\nMachine: {found['machine']}", soft_wrap=True)


def demo(runtime: Runtime = None) -> None:
    """Start the stack, run a short form of the main experiments, compare the models in one table, stop the stack."""
    chosen = choose(runtime)
    began = time.monotonic()
    ran_before = any(part.pid for part in chosen.status())
    chosen.up()
    up = time.monotonic() - began
    try:
        runner = Runner(chosen, of_stack(), say)
        results = [_run(runner, name, "as it is", seed=1) for name in DEMO]
        memory = chosen.resident_memory()
    finally:
        if not ran_before:
            say("Stopping the stack.")
            chosen.down()
    _show(results)
    out.print(
        f"The stack was up after {up:.0f} s and held {memory / 1e6:,.0f} MB of resident memory; "
        f"the demo took {math.ceil(time.monotonic() - began)} s."
    )
    if not all(result.holds for result in results):
        raise typer.Exit(1)


def _run(runner: Runner, name: str, variant: Variant, seed: int) -> Result:
    folder = new_folder(name)
    before = read_conditions(runner.runtime)
    result = runner.run(load(name), variant, seed=seed, folder=folder)
    save(result, folder, before)
    samples.save(samples.sample(runner.prometheus, *result.spans[RUN], result.experiment.models), folder)
    say(f"{name}, {variant}: {'as claimed' if result.holds else 'NOT as claimed'}; saved in {folder}")
    return result


def _show(results: Sequence[Result]) -> None:
    for result in results:
        out.print(f"\n[bold]{result.experiment.title}[/]: {result.experiment.question}")
        if result.variant != "as it is":
            out.print(f"control, {result.variant}: these claims must fail")
        if result.invalid:
            out.print(f"[yellow]The run proves nothing: {result.invalid}[/]")
        for line in conclusions(result):
            out.print(line)
    out.print()
    out.print(side_by_side([result for result in results if result.variant == "as it is"]))


def _together(results: Sequence[Result]) -> bool:
    """Show what the repeats of each experiment say together; whether every claim is true and no run invalid."""
    # scipy takes a second to load, which no other command should wait for.
    from lab.experiments.statistics import judge  # noqa: PLC0415

    standings = []
    for name in dict.fromkeys(result.experiment.name for result in results):
        runs = [result for result in results if result.experiment.name == name]
        judgements = judge([as_data(run, {}) for run in runs])
        standings += [judged.standing for judged in judgements]
        repeats = sum(run.variant == "as it is" and run.invalid is None for run in runs)
        out.print(f"\n[bold]{runs[0].experiment.title}[/]: {repeats} valid runs together, medians [95 % intervals]")
        for line in together(judgements):
            out.print(line)
    return all(standing == "true" for standing in standings) and not any(result.invalid for result in results)


def register(app: typer.Typer) -> None:
    """Add these commands to the app."""
    for command in (run, conditions, demo):
        app.command()(command)
