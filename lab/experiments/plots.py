"""Plots of saved runs as SVG for the inside of a page: coloured by the page's CSS variables, the same bytes each time.

Matplotlib has no CSS variables, so each colour is drawn as a placeholder that no palette has, and replaced at the end.
"""

import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from lab.experiments.statistics import Estimate
from lab.experiments.wording import quantity
from lab.stack import MODELS

Points = Sequence[Sequence[float]]
Samples = Mapping[str, Any]
Spans = Mapping[str, Sequence[float]]

_COLOURS = {
    "ink": "#010101",
    "muted": "#010102",
    "grid": "#010103",
    "fault": "#010104",
    "phase": "#010105",
    "sync": "#010106",
    "async": "#010107",
    "streaming": "#010108",
    "fourth": "#010109",
    "fifth": "#01010a",
}
_SOURCES = {
    "inventory_queue": "async",
    "inventory-group": "streaming",
    "analytics-group": "fourth",
    "order-status-group": "fifth",
}
_STYLE: Any = {  # of literal keys for mypy, which it cannot tell here
    "svg.fonttype": "none",
    "svg.hashsalt": "campus-food-lab",
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": _COLOURS["ink"],
    "axes.edgecolor": _COLOURS["grid"],
    "axes.labelcolor": _COLOURS["muted"],
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": _COLOURS["grid"],
    "grid.linewidth": 0.6,
    "xtick.color": _COLOURS["muted"],
    "ytick.color": _COLOURS["muted"],
    "lines.linewidth": 1.6,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "legend.handlelength": 1.6,
    "legend.columnspacing": 1.2,
}
_INCHES = 4.7
_GAP = 1.5
"""Seconds without a point over which no line is drawn: the points are one second apart."""
_WIDE_RATIO = 30
"""Between the smallest and the largest figure: from here on figures are set side by side on a logarithmic axis."""


def plot_lines(samples: Samples, names: Mapping[str, str], spans: Spans, *, unit: str, key: str) -> str | None:
    """Series over the time of a run, with its phases and faults behind them.

    Args:
        samples: As `lab.experiments.samples.sample` has them.
        names: The series to draw, by the line style ("-", "--", ":") of each.
        spans: From when to when each phase ran, in Unix seconds.
        unit: "s" draws a logarithmic axis of times.
        key: What tells the plot from the others of its page.

    Returns:
        The SVG; None when no series has a point.
    """
    chosen = [(style, one) for name, style in names.items() for one in samples["series"] if one["name"] == name]
    if not any(value for _, one in chosen for _, value in one["points"]):
        return None
    with mpl.rc_context(_STYLE):
        figure, axes = _canvas(2.9)
        _behind(axes, samples, spans)
        for style, one in chosen:
            who = one["model"] or next(iter(one["labels"].values()))
            label = who if style == "-" else None
            colour = _COLOURS[_SOURCES.get(who, who if who in _COLOURS else "ink")]
            axes.plot(*_broken(one["points"]), style, color=colour, label=label)
        _scale(axes, unit, [value for _, one in chosen for _, value in one["points"]])
        axes.set_xlabel("seconds since the run began")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        _legend(axes)
        return _svg(figure, key)


def plot_distribution(samples: Samples, name: str, *, key: str) -> str | None:
    """The share of a run's orders that took no longer than a time, by model; None when there were no orders."""
    shares = {
        entry["model"]: _shares(entry["buckets"])
        for entry in samples["distributions"]
        if entry["name"] == name and entry["buckets"] and entry["buckets"][-1][1]
    }
    if not any(len(points) > 1 for points in shares.values()):
        return None
    with mpl.rc_context(_STYLE):
        figure, axes = _canvas(2.9)
        for model, points in shares.items():
            axes.plot([le for le, _ in points], [share for _, share in points], color=_COLOURS[model], label=model)
        axes.set_xscale("log")
        times = [le for points in shares.values() for le, _ in points]
        _logarithmic(axes.xaxis, max(times) / min(times), "s")
        axes.set_ylim(0, 1.02)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))
        axes.set_xlabel("took no longer than")
        axes.set_ylabel("orders")
        _legend(axes)
        return _svg(figure, key)


def plot_steps(figures: Mapping[str, Points], bound: float, *, unit: str, key: str) -> str | None:
    """A figure of each step against the rate that was offered, by model, with the bound of a step that is kept, dashed.

    Args:
        figures: Pairs of orders per second and the figure, by model.
        bound: What the figure of a kept step does not cross.
        unit: "s" draws a logarithmic axis of times.
        key: What tells the plot from the others of its page.

    Returns:
        The SVG; None without a step.
    """
    values = [value for points in figures.values() for _, value in points]
    if not values:
        return None
    with mpl.rc_context(_STYLE):
        figure, axes = _canvas(2.9)
        axes.axhline(bound, linestyle="--", linewidth=1, color=_COLOURS["fault"])
        for model, points in figures.items():
            axes.plot(*zip(*points, strict=True), "o-", markersize=4, color=_COLOURS[model], label=model)
        _scale(axes, unit, [*values, bound])
        axes.set_ylabel("")
        axes.set_xlim(left=0)
        axes.set_xlabel("orders offered per second")
        _legend(axes)
        return _svg(figure, key)


def plot_comparison(estimates: Mapping[str, Estimate], *, unit: str, key: str) -> str | None:
    """One measure side by side: each run a small dot, the median a large one, its interval a line; None if all NaN."""
    rows = {model: estimates[model] for model in MODELS if model in estimates}
    values = [value for one in rows.values() for value in one.values if not math.isnan(value)]
    if not values:
        return None
    with mpl.rc_context(_STYLE):
        figure, axes = _canvas(0.55 + 0.28 * len(rows))
        for height, (model, one) in enumerate(reversed(rows.items())):
            colour = _COLOURS[model]
            if one.low is not None and one.high is not None:
                axes.plot([one.low, one.high], [height, height], color=colour, linewidth=4, alpha=0.45)
            axes.plot(one.values, [height] * len(one.values), "o", color=colour, markersize=3, alpha=0.6)
            axes.plot([one.median], [height], "o", color=colour, markersize=7)
            axes.annotate(
                quantity(one.median, unit),
                (1, height),
                xycoords=("axes fraction", "data"),
                ha="right",
                va="center",
            )
        if min(values) > 0 and max(values) / min(values) > _WIDE_RATIO:
            axes.set_xscale("log")
            _logarithmic(axes.xaxis, max(values) / min(values), unit)
            axes.set_xlim(min(values) / 2, max(values) * 6)
        else:
            furthest = max(map(abs, values)) or 1
            axes.set_xlim(min(0, *values) - 0.03 * furthest, max(0, *values) + 0.3 * furthest)
            axes.xaxis.set_major_locator(MaxNLocator(4))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: quantity(value, unit)))
        axes.set_ylim(-0.6, len(rows) - 0.25)
        axes.set_yticks(range(len(rows)), list(reversed(rows)))
        axes.grid(visible=False, axis="y")
        return _svg(figure, key)


def faults(samples: Samples) -> list[tuple[str, float, float]]:
    """What was broken on purpose and when: a name, and from when to when in seconds since the run began."""
    found = []
    for one in samples["series"]:
        if one["name"] not in ("fault", "down"):
            continue
        name = " ".join(one["labels"].values()) + (" down" if one["name"] == "down" else "")
        found += [(name, start, end) for start, end in _stretches(at for at, _ in one["points"])]
    return sorted(found, key=lambda fault: fault[1:] + fault[:1])


def _canvas(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(_INCHES, height), layout="constrained")
    FigureCanvasSVG(figure)
    return figure, figure.add_subplot()


def _behind(axes: Axes, samples: Samples, spans: Spans) -> None:
    began, ended = samples["start"], samples["end"]
    for count, (name, (start, end)) in enumerate(_phases(spans)):
        if count % 2 == 0:
            axes.axvspan(start - began, end - began, color=_COLOURS["phase"], linewidth=0)
        # A letter is about a sixtieth of the axis wide.
        fits = (end - start) / (ended - began) > len(name) / 55
        axes.text(
            (start + end) / 2 - began,
            1.01 if fits else 0.97,
            name,
            transform=axes.get_xaxis_transform(),
            ha="center",
            va="bottom" if fits else "top",
            rotation="horizontal" if fits else "vertical",
            fontsize=8,
            color=_COLOURS["muted"],
        )
    for start, end in _union((start, end) for _, start, end in faults(samples)):
        axes.axvspan(start, end, color=_COLOURS["fault"], alpha=0.16, linewidth=0)
    axes.set_xlim(0, ended - began)


def _phases(spans: Spans) -> list[tuple[str, Sequence[float]]]:
    return [(name.replace("_", " "), span) for name, span in spans.items() if name != "run"]


def _scale(axes: Axes, unit: str, values: Sequence[float]) -> None:
    if unit == "s":
        axes.set_yscale("log")
        positive = [value for value in values if value > 0]
        axes.set_ylim(min(positive) / 1.6, max(positive) * 1.6)
        _logarithmic(axes.yaxis, max(positive) / min(positive), unit)
    else:
        axes.set_ylim(bottom=min(0, *values), top=max(1, *values) * 1.08)
        axes.set_ylabel(unit)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))


def _logarithmic(axis: Axis, ratio: float, unit: str) -> None:
    """Label each power of ten, and 2 and 5 between them on an axis that has few."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if ratio < _WIDE_RATIO else (1,)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: quantity(value, unit)))
    axis.set_minor_formatter(NullFormatter())


def _legend(axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    shown = dict(zip(labels, handles, strict=True))
    axes.figure.legend(shown.values(), shown.keys(), loc="outside lower center", ncols=3)


def _broken(points: Points) -> tuple[list[float], list[float]]:
    times: list[float] = []
    values: list[float] = []
    for at, value in points:
        if times and at - times[-1] > _GAP:
            times.append(at)
            values.append(math.nan)
        times.append(at)
        values.append(value)
    return times, values


def _stretches(times: Iterable[float]) -> list[tuple[float, float]]:
    return _union((at, at + 1) for at in times)


def _union(stretches: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    joined: list[tuple[float, float]] = []
    for start, end in sorted(stretches):
        if joined and start <= joined[-1][1] + _GAP - 1:
            joined[-1] = joined[-1][0], max(end, joined[-1][1])
        else:
            joined.append((start, end))
    return joined


def _shares(buckets: Sequence[Sequence[float]]) -> list[tuple[float, float]]:
    """Points from the last bucket that is empty to the first that has every order."""
    total = buckets[-1][1]
    points = [(le, count / total) for le, count in buckets if le is not None]
    first = max((index for index, (_, share) in enumerate(points) if share == 0), default=0)
    last = min((index for index, (_, share) in enumerate(points) if share == 1), default=len(points) - 1)
    return points[first : last + 1]


def _svg(figure: Figure, key: str) -> str:
    written = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(written, format="svg", transparent=True, metadata=nothing)
    svg = written.getvalue()
    svg = svg[svg.index("<svg") :]
    # Its size and its fonts are the page's to say, and its style element would be valid for the whole page.
    svg = re.sub(r'^<svg[^>]*?( viewBox="[^"]*")[^>]*>', r"<svg\1>", svg)
    svg = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"font-family: [^;\"]*; ", "", re.sub(r"font: ([\d.]+px)[^;\"]*", r"font-size: \1", svg))
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{key}-", svg)
    for name, placeholder in _COLOURS.items():
        svg = svg.replace(placeholder, f"var(--{name})")
    return svg.rstrip()
