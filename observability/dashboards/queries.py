"""Every query in the committed dashboards, as Prometheus can be asked for it."""

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from observability.dashboards.files import FOLDER


class PanelQuery(NamedTuple):
    """One query of one panel; `promql` has no variable of Grafana's left in it."""

    dashboard: str
    panel: str
    kind: str
    unit: str
    promql: str
    legend: str


class VariableQuery(NamedTuple):
    """The query of a dashboard's variable: values of `label` in the series that `selector` names."""

    dashboard: str
    name: str
    selector: str
    label: str


def dashboards() -> dict[str, dict[str, Any]]:
    """The committed JSON of each dashboard, by its name."""
    return {file.stem: json.loads(file.read_text()) for file in sorted(FOLDER.glob("*.json"))}


def panel_queries(window: str) -> Iterator[PanelQuery]:
    """Each panel's queries, with every variable at "All" and `window` for Grafana's rate interval."""
    for name, board in dashboards().items():
        # Grafana puts the values of a variable's query here; those of `service` are the model's own.
        everything = {variable["name"]: ".+" for variable in board["templating"]["list"]} | {"service": f"{name}-.+"}
        for panel in board["panels"]:
            unit = panel.get("fieldConfig", {}).get("defaults", {}).get("unit", "short")
            for target in panel.get("targets", []):
                promql = target["expr"].replace("$__rate_interval", window)
                for variable, values in everything.items():
                    promql = promql.replace(f"${variable}", values)
                legend = target.get("legendFormat", "")
                yield PanelQuery(name, panel["title"], panel["type"], unit, promql, legend)


def mark_queries() -> Iterator[tuple[str, str]]:
    """The dashboards' annotations: each name with its PromQL."""
    boards = dashboards().values()
    yield from {(mark["name"], mark["expr"]) for board in boards for mark in board["annotations"]["list"]}


def variable_queries() -> Iterator[VariableQuery]:
    """Each variable's query, which is of the form `label_values(SELECTOR, LABEL)`."""
    for name, board in dashboards().items():
        for variable in board["templating"]["list"]:
            found = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"])
            if found is None:
                raise ValueError(f"{name}: the variable {variable['name']} is not label_values(SELECTOR, LABEL)")
            yield VariableQuery(name, variable["name"], found[1], found[2])
