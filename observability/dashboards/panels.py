"""The few kinds of panel that the dashboards have, each with a unit, a legend and a word on what to look for."""

from collections.abc import Sequence
from urllib.parse import quote

from grafana_foundation_sdk.builders import common, dashboard, heatmap, prometheus, stat, statetimeline, timeseries
from grafana_foundation_sdk.models import common as kinds
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

PROMETHEUS = models.DataSourceRef(type_val="prometheus", uid="prometheus")
JAEGER_URL = "http://127.0.0.1:16686"
"""Where the reader's browser finds Jaeger."""

COLOURS = {"sync": "blue", "async": "orange", "streaming": "green"}
"""A model has one colour on every panel."""

WIDTH = 24
"""Columns of Grafana's grid."""

Query = tuple[str, str]
"""PromQL, and the legend of its series."""

Thresholds = Sequence[tuple[float, str]]
"""From which value on a panel has which colour."""

Panel = timeseries.Panel | stat.Panel | heatmap.Panel | statetimeline.Panel


def _target(query: Query, number: int) -> prometheus.Dataquery:
    promql, legend = query
    return prometheus.Dataquery().expr(promql).legend_format(legend).ref_id(chr(ord("A") + number)).range()


def traces(title: str, service: str, **search: str) -> dashboard.DashboardLink:
    """A link to the traces in Jaeger of a service in the time that the dashboard shows.

    Args:
        title: What the link says.
        service: Whose traces; may have Grafana's variables in it.
        search: Jaeger's own search fields, as `operation`, `minDuration`, `tags`.
    """
    fields = "".join(f"&{name}={quote(value)}" for name, value in search.items())
    # Grafana has milliseconds, Jaeger wants microseconds.
    url = f"{JAEGER_URL}/search?service={service}&start=${{__from}}000&end=${{__to}}000&limit=20{fields}"
    return dashboard.DashboardLink(title).url(url).target_blank(True).type(models.DashboardLinkType.LINK)


def _steps(thresholds: Thresholds) -> dashboard.ThresholdsConfig:
    steps = [models.Threshold(value=None, color="green")]
    steps += [models.Threshold(value=value, color=colour) for value, colour in thresholds]
    return dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps)


def graph(
    title: str,
    look_for: str,
    unit: str,
    *queries: Query,
    width: int = 8,
    thresholds: Thresholds = (),
    links: Sequence[dashboard.DashboardLink] = (),
) -> timeseries.Panel:
    """Lines over time; a legend in a table with each line's last and largest value.

    Args:
        title: What is shown.
        look_for: What a reader should look for.
        unit: Grafana's name of the unit.
        queries: What is asked, one line per series.
        width: Columns of the grid.
        thresholds: Shaded when there are any.
        links: Shown when a point is clicked.
    """
    legend = (
        common.VizLegendOptions()
        .display_mode(kinds.LegendDisplayMode.TABLE)
        .placement(kinds.LegendPlacement.BOTTOM)
        .calcs(["lastNotNull", "max"])
        .show_legend(True)
    )
    tooltip = common.VizTooltipOptions().mode(kinds.TooltipDisplayMode.MULTI).sort(kinds.SortOrder.DESCENDING)
    panel = (
        timeseries.Panel()
        .title(title)
        .description(look_for)
        .datasource(PROMETHEUS)
        .unit(unit)
        .span(width)
        .height(8)
        .axis_soft_min(0)
        .line_width(1)
        .fill_opacity(8)
        .show_points(kinds.VisibilityMode.AUTO)
        .legend(legend)
        .tooltip(tooltip)
        .data_links(list(links))
    )
    if thresholds:
        shaded = common.GraphThresholdsStyleConfig().mode(kinds.GraphThresholdsStyleMode.LINE)
        panel.thresholds(_steps(thresholds)).thresholds_style(shaded)
    for model, colour in COLOURS.items():
        fixed = {"mode": "fixed", "fixedColor": colour}
        panel.override_by_name(model, [models.DynamicConfigValue(id_val="color", value=fixed)])
    for number, query in enumerate(queries):
        panel.with_target(_target(query, number))
    return panel


def figure(
    title: str, look_for: str, unit: str, query: Query, *, width: int = 4, thresholds: Thresholds = ()
) -> stat.Panel:
    """The last value of each series as a number, over a small line; arguments as `graph` has them."""
    return (
        stat.Panel()
        .title(title)
        .description(look_for)
        .datasource(PROMETHEUS)
        .unit(unit)
        .span(width)
        .height(4)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .text_mode(kinds.BigValueTextMode.VALUE_AND_NAME)
        .graph_mode(kinds.BigValueGraphMode.AREA)
        .thresholds(_steps(thresholds))
        .with_target(_target(query, 0))
    )


def heat(title: str, look_for: str, metric: str, selector: str, *, width: int = 12) -> heatmap.Panel:
    """How a histogram's latencies spread over time, in events per second and bucket.

    Args:
        title: What is shown.
        look_for: What a reader should look for.
        metric: The histogram's name without `_bucket`.
        selector: Labels that select its series.
        width: Columns of the grid.
    """
    query = prometheus.Dataquery().expr(f"sum by (le) (rate({metric}_bucket{{{selector}}}[$__rate_interval]))")
    colour = heatmap.HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme("Oranges").steps(64).exponent(0.5)
    return (
        heatmap.Panel()
        .title(title)
        .description(look_for)
        .datasource(PROMETHEUS)
        .span(width)
        .height(8)
        .calculate(False)
        .color(colour)
        .y_axis(heatmap.YAxisConfig().unit("s"))
        .cell_values(heatmap.CellValues().unit("reqps"))
        .show_y_histogram()
        .with_target(query.legend_format("{{le}}").format(PromQueryFormat.HEATMAP).ref_id("A").range())
    )


def states(title: str, look_for: str, query: Query, *, width: int = WIDTH, height: int = 6) -> statetimeline.Panel:
    """When each series was 1, as bars over time; arguments as `graph` has them."""
    on = models.ValueMap(
        options={
            "0": models.ValueMappingResult(text="off", color="transparent", index=0),
            "1": models.ValueMappingResult(text="on", color="red", index=1),
        }
    )
    return (
        statetimeline.Panel()
        .title(title)
        .description(look_for)
        .datasource(PROMETHEUS)
        .span(width)
        .height(height)
        .mappings([on])
        .show_value(kinds.VisibilityMode.NEVER)
        .with_target(_target(query, 0))
    )
