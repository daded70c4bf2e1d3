"""Pictures of the dashboards' queries, for the eye: `python -m observability.dashboards.render FOLDER [MINUTES]`.

Not what Grafana draws, but the same queries, titles and legends, where no Grafana is at hand.
"""

import math
import re
import sys
import time
from itertools import groupby, pairwise
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from lab.console import say
from lab.prometheus import Prometheus, of_stack
from observability.dashboards.panels import COLOURS
from observability.dashboards.queries import PanelQuery, panel_queries

COLUMNS = 3
POINTS = 300


def _legend(template: str, labels: dict[str, str]) -> str:
    return re.sub(r"{{(\w+)}}", lambda found: labels.get(found[1], ""), template)


def _heat(axes: Axes, series: list[tuple[dict[str, str], list[tuple[float, float]]]]) -> None:
    rows = sorted(series, key=lambda entry: float(entry[0]["le"]))
    cumulative = [[value for _, value in points] for _, points in rows]
    cells = [cumulative[0]] + [
        [upper - lower for upper, lower in zip(above, below, strict=True)] for below, above in pairwise(cumulative)
    ]
    axes.imshow(cells, aspect="auto", origin="lower", cmap="Oranges", interpolation="nearest")
    axes.set_yticks(range(0, len(rows), 6), [rows[at][0]["le"] for at in range(0, len(rows), 6)])
    axes.set_xticks([])


def _draw(axes: Axes, queries: list[PanelQuery], prometheus: Prometheus, start: float, end: float) -> None:
    lines = 0
    for query in queries:
        series = prometheus.series(query.promql, start, end, max(1.0, (end - start) / POINTS))
        if query.kind == "heatmap" and series:
            _heat(axes, series)
            continue
        for labels, points in series:
            lines += 1
            values = [value if math.isfinite(value) else math.nan for _, value in points]
            times = np.array([round(at * 1000) for at, _ in points], dtype="datetime64[ms]")
            legend = _legend(query.legend, labels)
            axes.plot(times, values, lw=1, marker=".", ms=2, label=legend, color=COLOURS.get(legend))
    if lines:
        axes.set_xlim(np.datetime64(round(start), "s"), np.datetime64(round(end), "s"))  # type: ignore[arg-type]
        axes.legend(fontsize=5, loc="upper left", ncols=2 if lines > 6 else 1)
        axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
    elif queries[0].kind != "heatmap":
        axes.text(0.5, 0.5, "no data", ha="center", transform=axes.transAxes)
    axes.set_title(f"{queries[0].panel} [{queries[0].unit}]", fontsize=8)
    axes.tick_params(labelsize=6)


def render(folder: Path, minutes: float) -> None:
    """Write a PNG of each dashboard over the last minutes to `folder`."""
    mpl.use("Agg")
    mpl.rcParams["date.converter"] = "concise"
    prometheus, end = of_stack(), time.time()
    folder.mkdir(parents=True, exist_ok=True)
    for name, asked in groupby(panel_queries("5s"), key=lambda query: query.dashboard):
        panels = [list(queries) for _, queries in groupby(asked, key=lambda query: query.panel)]
        rows = math.ceil(len(panels) / COLUMNS)
        figure, grid = plt.subplots(rows, COLUMNS, figsize=(15, 2.6 * rows), squeeze=False, layout="constrained")
        for axes, queries in zip(grid.flat, panels, strict=False):
            _draw(axes, queries, prometheus, end - 60 * minutes, end)
        for axes in grid.flat[len(panels) :]:
            axes.axis("off")
        figure.suptitle(name)
        figure.savefig(folder / f"{name}.png", dpi=80)
        plt.close(figure)
        say(f"wrote {folder / name}.png")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("Name the folder for the pictures: python -m observability.dashboards.render FOLDER [MINUTES]")
    render(Path(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 15)
