"""What every dashboard has: rows, variables, marks of faults and alerts, links to its neighbours."""

from collections.abc import Mapping, Sequence

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.models import dashboard as models

from observability.dashboards.panels import JAEGER_URL, PROMETHEUS, Panel

Rows = Mapping[str, Sequence[Panel]]
"""Panels by the title of their row."""

TAG = "campus-food"

# Name, PromQL, colour, and what a mark says.
MARKS = (
    ("Faults", "campus_fault_active == 1", "red", "{{service}}: {{fault}}"),
    ("Parts down", "up == 0", "purple", "{{job}} is down"),
    ("Alerts", 'ALERTS{alertstate="firing"}', "orange", "{{alertname}}"),
)


class _Mark(models.AnnotationQuery):
    """An annotation with the fields of Prometheus' own that the SDK's type leaves out."""

    def __init__(self, text: str, annotation: models.AnnotationQuery) -> None:
        self.__dict__.update(annotation.__dict__)
        self._text = text

    def to_json(self) -> dict[str, object]:
        return {**super().to_json(), "titleFormat": self._text, "step": "1s", "useValueForTime": False}


class _MarkBuilder(dashboard.AnnotationQuery):
    def __init__(self, name: str, promql: str, colour: str, text: str) -> None:
        super().__init__()
        self.name(name).expr(promql).icon_color(colour).datasource(PROMETHEUS).enable(True)
        self._text = text

    def build(self) -> models.AnnotationQuery:
        return _Mark(self._text, super().build())


def model_variable() -> dashboard.QueryVariable:
    """Which models are shown; all at first."""
    return choose_all("model", "Model", "label_values(campus_orders_accepted_total, model)")


def service_variable(model: str) -> dashboard.QueryVariable:
    """Which of a model's services are shown; all at first."""
    return choose_all("service", "Service", f'label_values(up{{job=~"{model}-.+"}}, job)')


def choose_all(name: str, label: str, query: str) -> dashboard.QueryVariable:
    """A variable whose values a query gives; all are chosen at first."""
    everything = models.VariableOption(selected=True, text="All", value="$__all")
    return dashboard.QueryVariable(name).label(label).query(query).multi(True).include_all(True).current(everything)


def build(
    uid: str, title: str, about: str, content: Rows, variables: Sequence[dashboard.QueryVariable]
) -> dashboard.Dashboard:
    """A dashboard of these rows, on the last quarter of an hour, refreshed every two seconds."""
    made = (
        dashboard.Dashboard(title)
        .uid(uid)
        .description(about)
        .tags([TAG])
        .time("now-15m", "now")
        .refresh("2s")
        .timepicker(dashboard.TimePicker().refresh_intervals(["1s", "2s", "5s", "30s"]))
        .timezone("browser")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .link(
            dashboard.DashboardLink("Dashboards").type(models.DashboardLinkType.DASHBOARDS).tags([TAG]).keep_time(True)
        )
        .link(dashboard.DashboardLink("Jaeger").type(models.DashboardLinkType.LINK).url(JAEGER_URL).target_blank(True))
    )
    for variable in variables:
        sorted_ = models.VariableSort.ALPHABETICAL_ASC
        on_load = models.VariableRefresh.ON_TIME_RANGE_CHANGED
        made.with_variable(variable.datasource(PROMETHEUS).refresh(on_load).sort(sorted_))
    for mark in MARKS:
        made.annotation(_MarkBuilder(*mark))
    for name, panels in content.items():
        made.with_row(dashboard.Row(name))
        for panel in panels:
            made.with_panel(panel)
    return made
