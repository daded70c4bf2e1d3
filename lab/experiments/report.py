"""One page about saved runs that needs nothing but itself: verdicts first, then plots, conditions and every PromQL."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from lab.errors import LabError
from lab.experiments import plots, samples
from lab.experiments.definition import RUN, measures, terms
from lab.experiments.fairness import differences, settings_of
from lab.experiments.runs import saved
from lab.experiments.statistics import Estimate, Judgement, Verdict, estimate, judge
from lab.experiments.wording import absent, duration, interval, number, quantity
from lab.experiments.wording import phase as phase_name
from lab.stack import MODELS, stack

TRACES_SHOWN = 20

LINES = (
    ("Accept latency", {"accept_p50": "-", "accept_p95": "--"}, "s", "Median, and dashed the 95th percentile."),
    ("Completion latency", {"completion_p95": "-"}, "s", "Placed to outcome visible, 95th percentile."),
    (
        "Orders accepted and rejected",
        {"accepted_rate": "-", "rejected_rate": "--"},
        "orders/s",
        "Accepted, and dashed rejected.",
    ),
    ("Orders waiting", {"waiting": "-"}, "orders", "Accepted, and no outcome yet that the customer can see."),
    ("Backlog and lag", {"queue": "-", "lag": "-"}, "messages", "Depth of inventory_queue, lag of each Kafka group."),
)
"""The plots over time: title, series by line style, unit, what they show."""

DISTRIBUTIONS = (
    (
        "Accept latency, distribution",
        "accept",
        "Share of the orders of the whole run that were answered within a time.",
    ),
    (
        "Completion latency, distribution",
        "completion",
        "Share of the orders of the whole run that had their outcome within a time.",
    ),
)


@dataclass(frozen=True, slots=True)
class Saved:
    """A run that was read from its folder."""

    folder: str
    data: Mapping[str, Any]
    samples: Mapping[str, Any] | None


def chosen(wanted: Sequence[str]) -> list[Saved]:
    """The saved runs to report on, oldest first.

    Args:
        wanted: Names of run folders or of experiments, or paths of run folders; none: every run.

    Raises:
        LabError: A run cannot be read, there is none, or a name fits none.
    """
    runs = [(folder, data) for folder, data in saved()]
    if not runs:
        raise LabError("There is no saved run yet; make one with `lab run latency`.")
    names = [Path(name).name for name in wanted]
    for name in names:
        if not any(name in (folder.name, data["experiment"]) for folder, data in runs):
            raise LabError(f"No saved run is named {name!r}; the newest is {runs[-1][0].name}.")
    return [
        Saved(folder.name, data, samples.saved(folder))
        for folder, data in runs
        if not names or folder.name in names or data["experiment"] in names
    ]


def page(runs: Sequence[Saved], *, every_group: bool = False) -> str:
    """The whole HTML page. The same runs give the same page.

    Runs are taken together only where they are of one experiment with the same claims, phases and conditions.

    Args:
        runs: Oldest first.
        every_group: Report on all such groups, and not, of each experiment, on the newest alone.
    """
    groups: dict[str, dict[str, list[Saved]]] = {}
    for run in runs:
        groups.setdefault(run.data["experiment"], {}).setdefault(_alike(run.data), []).append(run)
    shown: list[tuple[list[Saved], int]] = []
    for of_experiment in groups.values():
        newest_last = sorted(of_experiment.values(), key=lambda group: group[-1].folder)
        kept = newest_last if every_group else newest_last[-1:]
        left_out = sum(map(len, newest_last)) - sum(map(len, kept))
        shown += [(group, left_out) for group in kept]
    sections = [_section(group, left_out, f"s{index}") for index, (group, left_out) in enumerate(shown)]
    environment = Environment(
        loader=PackageLoader("lab.experiments"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = number
    template = environment.get_template("report.html.j2")
    return template.render(sections=sections, models=MODELS, totals=_totals(sections)) + "\n"


def _alike(data: Mapping[str, Any]) -> str:
    """What runs that may be taken together have in common; the stock left before each run is not its own."""
    conditions = {name: value for name, value in data["conditions"].items() if name != "stock"}
    services = {
        name: {key: value for key, value in service.items() if key != "pid"}
        for name, service in conditions["services"].items()
    }
    asked = [(claim["text"], claim["value"], claim["holds"], claim["control"]) for claim in data["claims"]]
    rows = [(figure["measure"], figure["phase"]) for figure in data["figures"]]
    return json.dumps(
        [asked, rows, data.get("phases"), data.get("steps"), data.get("stock"), {**conditions, "services": services}],
        sort_keys=True,
    )


def _section(group: Sequence[Saved], left_out: int, key: str) -> dict[str, Any]:
    valid = [run for run in group if not run.data["invalid"]]
    as_it_is = [run for run in valid if run.data["variant"] == "as it is"]
    newest = (as_it_is or list(group))[-1]
    conditions = newest.data["conditions"]
    return {
        "key": key,
        "title": newest.data["title"],
        "name": newest.data["experiment"],
        "question": newest.data["question"],
        "repeats": len(as_it_is),
        "left_out": left_out,
        "claims": [_claim(judged, index, valid) for index, judged in enumerate(judge([run.data for run in group]))],
        "figures": _figures(as_it_is, key),
        "plots": _plots(newest, key),
        "step_plots": _step_plots(newest, key),
        "tried": _tried(newest),
        "newest": newest.folder,
        "runs": [_run(run) for run in group],
        "phases": _phases(newest),
        "differences": differences(conditions),
        "settings": _settings(conditions),
        "machine": _machine(newest.data),
    }


def _claim(judged: Judgement, index: int, runs: Iterable[Saved]) -> dict[str, Any]:
    """A row of the verdicts, with each query that it rests on: the run, the variant, the value, the expression."""
    claim = judged.claim
    unit = _unit(claim.value)
    queries = []
    for run in runs:
        entry, variant = run.data["claims"][index], run.data["variant"]
        if variant == "as it is":
            queries.append(_query(f"{run.folder}", entry["measured"], unit, entry["promql"]))
            if entry["control_promql"] is not None:
                where = f"{run.folder}, control: {claim.control}"
                queries.append(_query(where, entry["control_measured"], unit, entry["control_promql"]))
        elif variant == claim.control:
            queries.append(_query(f"{run.folder}, control: {variant}", entry["measured"], unit, entry["promql"]))
    return {
        "text": claim.text,
        "model": claim.model,
        "expression": claim.value,
        "standing": judged.standing,
        "shown": _shown(judged.shown, unit),
        "wanted": _wanted(claim.holds, unit),
        "control": claim.control,
        "control_shown": _shown(judged.control, unit) if judged.control else None,
        "control_says": _CONTROL_SAYS[judged.control_verdict],
        "queries": queries,
    }


_CONTROL_SAYS: Mapping[Verdict | None, str] = {
    "false": "fails there, as it must",
    "true": "holds there too, so the claim shows nothing",
    "undecided": "undecided there",
    None: "the control was not run",
}


_SIGNS = {">=": "≥", "<=": "≤", "==": "="}


def _wanted(holds: str, unit: str) -> str:
    operator, bound = holds.split()
    return f"{_SIGNS.get(operator, operator)} {quantity(float(bound), unit)}"


def _query(where: str, value: float | None, unit: str, promql: str) -> dict[str, str]:
    graph = urlencode({"g0.expr": promql, "g0.tab": "1"})
    return {
        "where": where,
        "value": "no sample" if value is None else quantity(value, unit),
        "promql": promql,
        "link": f"http://127.0.0.1:{stack().ports['prometheus']}/graph?{graph}",
    }


def _unit(expression: str) -> str:
    """The unit of a claim's value, where all that it is made of has the same."""
    units = {measures()[name].unit for name in terms(expression) if name in measures()}
    return units.pop() if len(units) == 1 else ""


def _shown(one: Estimate, unit: str) -> dict[str, str | None]:
    return {
        "median": quantity(one.median, unit),
        "interval": interval(one.low, one.high, unit),
        "absent": absent(one.values),
    }


def _figures(runs: Sequence[Saved], key: str) -> list[dict[str, Any]]:
    """Each row of the experiment's table over all repeats, as text, as a plot and with its queries."""
    if not runs:
        return []
    rows = []
    for index, figure in enumerate(runs[-1].data["figures"]):
        of_runs = [run.data["figures"][index] for run in runs]
        unit = figure["unit"]
        estimates = {model: estimate([one["values"].get(model) for one in of_runs]) for model in figure["values"]}
        rows.append(
            {
                "title": figure["title"],
                "unit": unit,
                "phase": ("phase: " if figure["phase"] in runs[-1].data["spans"].keys() - {RUN} else "")
                + phase_name(figure["phase"]),
                "shown": {model: _shown(one, unit) for model, one in estimates.items()},
                "svg": _svg(plots.plot_comparison(estimates, unit=unit, key=f"{key}-f{index}")),
                "queries": [
                    _query(f"{run.folder}, {model}", one["values"].get(model), unit, promql)
                    for run, one in zip(runs, of_runs, strict=True)
                    for model, promql in one["promql"].items()
                ],
            }
        )
    return rows


def _plots(run: Saved, key: str) -> list[dict[str, Any]]:
    if run.samples is None:
        return []
    drawn = []
    for index, (title, names, unit, about) in enumerate(LINES):
        svg = plots.plot_lines(run.samples, names, run.data["spans"], unit=unit, key=f"{key}-p{index}")
        sources = [one["promql"] for one in run.samples["series"] if one["name"] in names]
        drawn.append({"title": title, "about": about, "svg": _svg(svg), "promql": list(dict.fromkeys(sources))})
    for title, name, about in DISTRIBUTIONS:
        svg = plots.plot_distribution(run.samples, name, key=f"{key}-{name}")
        sources = [one["promql"] for one in run.samples["distributions"] if one["name"] == name]
        drawn.append({"title": title, "about": about, "svg": _svg(svg), "promql": sources})
    return [one for one in drawn if one["svg"]]


def _step_plots(run: Saved, key: str) -> list[dict[str, Any]]:
    """What each step of a run was judged by, against its rate."""
    drawn = []
    for index, check in enumerate((run.data.get("steps") or {}).get("kept", ())):
        figures: dict[str, list[tuple[float, float]]] = {}
        queries = []
        for step in run.data["tried"]:
            if step["checks"] and not step["bounded"] and step["checks"][index]["measured"] is not None:
                figures.setdefault(step["model"], []).append((step["rate"], step["checks"][index]["measured"]))
                queries.append(step["checks"][index]["promql"])
        bound = float(check["holds"].split()[1])
        svg = plots.plot_steps(figures, bound, unit=check["unit"], key=f"{key}-k{index}")
        about = (
            f"By the rate offered; a step that is kept has {_wanted(check['holds'], check['unit'])}, the dashed line."
        )
        drawn.append({"title": check["title"], "about": about, "svg": _svg(svg), "promql": queries})
    return [one for one in drawn if one["svg"]]


def _tried(run: Saved) -> list[dict[str, Any]]:
    """Each step of a run, with what it was judged by and how the generator did."""
    return [
        {
            "model": step["model"],
            "rate": number(step["rate"]),
            "checks": [
                {
                    "title": check["title"],
                    "wanted": _wanted(check["holds"], check["unit"]),
                    "shown": "no sample" if check["measured"] is None else quantity(check["measured"], check["unit"]),
                }
                for check in step["checks"]
            ],
            "late": duration(step["load"]["dispatch_lag"]["p99"]) if step["load"] else "",
            "says": step["bounded"] or ("kept" if step["kept"] else "not kept"),
            "kept": step["kept"],
            "traces": _traces(step["model"], step["start"], step["end"]) if step["load"] else None,
        }
        for step in run.data.get("tried", ())
    ]


def _svg(svg: str | None) -> Markup | None:
    return None if svg is None else Markup(svg)  # noqa: S704 - drawn here, by Matplotlib, which escapes its texts


def _run(run: Saved) -> dict[str, Any]:
    data = run.data
    began = datetime.fromtimestamp(data["spans"][RUN][0], UTC) if RUN in data["spans"] else None
    return {
        "folder": run.folder,
        "variant": data["variant"],
        "seed": data["seed"],
        "began": f"{began:%Y-%m-%d %H:%M:%S} UTC" if began else "",
        "invalid": data["invalid"],
        "holds": data["holds"],
        "calibrated": (data.get("calibration") or {}).get("rate"),
        "load": [
            {
                "model": model,
                "planned": summary["planned"],
                "ok": summary["ok"],
                "failed": ", ".join(f"{what}: {count}" for what, count in sorted(summary["failed"].items())),
                "late": duration(summary["dispatch_lag"]["p99"]),
            }
            for model, summary in data["load"].items()
        ],
        "faults": [
            f"{name}, {start:.0f} to {end:.0f} s"
            for name, start, end in (plots.faults(run.samples) if run.samples else ())
        ],
    }


def _phases(run: Saved) -> list[dict[str, Any]]:
    """Each phase of a run: its time, what was done, and where the traces of its orders are."""
    spans = run.data["spans"]
    done = {phase["name"]: phase for phase in run.data.get("phases", ())}
    shown = []
    for name, (start, end) in spans.items():
        phase = done.get(name, {})
        ends = [f"at its end: {action}" for action in phase.get("sabotage", ()) if run.data["variant"] == "sabotaged"]
        cause = phase.get("cause", ()) if run.data["variant"] != "without cause" else ()
        shown.append(
            {
                "name": phase_name(name),
                "start": f"{start - spans[RUN][0]:.1f}" if RUN in spans else "",
                "seconds": f"{end - start:.1f}",
                "rate": number(phase.get("rate", 0)) if phase else "",
                "does": [*cause, *phase.get("do", ()), *ends],
                "traces": {model: _traces(model, start, end) for model in run.data.get("models", MODELS)},
            }
        )
    return shown


def _traces(model: str, start: float, end: float) -> str:
    search = {
        "service": stack().order_service(model).name,
        "start": round(start * 1e6),
        "end": round(end * 1e6),
        "limit": TRACES_SHOWN,
    }
    return f"http://127.0.0.1:{stack().ports['jaeger']}/search?{urlencode(search)}"


def _settings(conditions: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {"name": name, "of": of, "differs": len({json.dumps(value) for value in of.values()}) > 1}
        for name, of in sorted(settings_of(conditions).items())
    ]


def _machine(data: Mapping[str, Any]) -> dict[str, str]:
    """Everything else that a run ran with, in words."""
    conditions = data["conditions"]
    machine = conditions["machine"]
    queues = (f"{name} ({queue['type']})" for name, queue in conditions.get("queues", {}).items())
    topics = (
        f"{name} (partitions: {topic['partitions']}, replicas: {topic['replicas']})"
        for name, topic in conditions.get("topics", {}).items()
    )
    processes = (f"{model} {count}" for model, count in conditions.get("processes", {}).items())
    said = {
        "runtime": conditions["runtime"],
        "machine": f"{machine['cores']} cores, {machine['memory_bytes'] / 1e9:.0f} GB, {machine['system']}",
        "stock at the start": f"{data['stock']:,} of each item" if "stock" in data else "",
        "arrivals": data.get("schedule", ""),
        "service processes": ", ".join(processes),
        "RabbitMQ queues": ", ".join(queues),
        "Kafka topics": ", ".join(topics),
        "Python": machine["python"],
        **_versions(conditions),
    }
    return {name: text for name, text in said.items() if text}


def _versions(conditions: Mapping[str, Any]) -> dict[str, str]:
    found: dict[str, set[str]] = {}
    for service in conditions["services"].values():
        for library, version in service.get("versions", {}).items():
            found.setdefault(library, set()).add(version)
    return {library: ", ".join(sorted(versions)) for library, versions in sorted(found.items())}


def _totals(sections: Iterable[Mapping[str, Any]]) -> dict[Verdict, int]:
    standings = [claim["standing"] for section in sections for claim in section["claims"]]
    verdicts: tuple[Verdict, ...] = ("true", "undecided", "false")
    return {verdict: standings.count(verdict) for verdict in verdicts}
