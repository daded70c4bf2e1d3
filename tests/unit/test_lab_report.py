"""`lab report`: a page that stands alone, says every claim and every query, and is the same each time."""

import html
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from lab.cli import app
from lab.experiments import report, runs, samples
from lab.experiments.calibration import Calibration
from lab.experiments.definition import RUN, Experiment, Stretch, Variant, claimed, load, measured
from lab.experiments.runner import Figure, Finding, Result
from lab.experiments.steps import Step
from lab.prometheus import Prometheus
from lab.stack import stack

BEGAN = 1_800_000_000.0
VALUES = {"as it is": 2.5, "without cause": 0.01}

Vector = dict[tuple[tuple[str, str], ...], float]
SeriesList = list[tuple[dict[str, str], list[tuple[float, float]]]]


class Recorded(Prometheus):
    """Answers every query with plausible figures, without a server."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1:1")

    def vector(self, promql: str, at: float | None = None) -> Vector:
        """Ten orders in three buckets."""
        return {(("le", le),): count for le, count in {"0.1": 0.0, "1": 6.0, "+Inf": 10.0}.items()}

    def series(self, promql: str, start: float, end: float, step: float) -> SeriesList:
        """Ten seconds of a rising figure, one point of it not a number, under every label that is asked for."""
        points = [(start + second, float(second) if second != 3 else float("nan")) for second in range(10)]
        return [({"queue": "inventory_queue", "group": "g", "service": "s", "fault": "delay", "job": "j"}, points)]


def conditions(*, batch: int = 500) -> dict[str, Any]:
    """What the services said, in the shape of `lab conditions`."""
    about = {"sampler": "parentbased_always_on", "versions": {"fastapi": "0.165.0"}}
    settings = {"sync_timeout": 5.0, "confirm_timeout": 5.0, "amqp_batch": 100, "amqp_prefetch": 500}
    return {
        "runtime": "native",
        "machine": {"system": "Linux", "cores": 2, "memory_bytes": 8 * 10**9, "python": "3.11.7"},
        "services": {
            service.name: {"model": service.model, "pid": port, "settings": settings | {"kafka_batch": batch}, **about}
            for port, service in enumerate(stack().services)
        },
    }


def result(experiment: Experiment, variant: Variant, seed: int) -> Result:
    """A run whose phases took five seconds each, and whose every figure is the variant's."""
    phases = enumerate(experiment.phases)
    spans = {phase.name: (BEGAN + 5 * index, BEGAN + 5 * index + 5) for index, phase in phases}
    spans[RUN] = BEGAN, BEGAN + 5 * len(experiment.phases)
    made = Result(experiment, variant, seed, spans)
    value = VALUES[variant] + seed / 1000
    for claim in experiment.claims:
        promql = claimed(claim.value, claim.model, made.stretch)
        made.findings.append(Finding(claim, promql, value, claim.true_of(value)))
    for row in experiment.table:
        queries = {model: measured(row.measure, model, made.stretch(row.phase, model)) for model in row.models}
        made.figures.append(Figure(row, queries, dict.fromkeys(queries, value)))
    return made


def keep(made: Result, ran_with: dict[str, Any] | None = None) -> str:
    """Save a run with samples, as `lab run` does; the name of its folder."""
    folder = runs.new_folder(made.experiment.name)
    runs.save(made, folder, ran_with or conditions())
    samples.save(samples.sample(Recorded(), *made.spans[RUN], made.experiment.models), folder)
    return folder.name


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty LAB_HOME."""
    monkeypatch.setenv("LAB_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def repeats(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LAB_HOME with three repeats of the latency experiment and their control."""
    home = tmp_path_factory.mktemp("repeats")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAB_HOME", str(home))
        for seed in (1, 2, 3):
            for variant in ("as it is", "without cause"):
                keep(result(load("latency"), variant, seed))
    return home


@pytest.fixture(scope="module")
def page(repeats: Path) -> str:
    """Their page."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAB_HOME", str(repeats))
        return report.page(report.chosen([]))


class Loads(HTMLParser):
    """Collects what a browser would fetch, and what it would run."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note attributes that load, and ids."""
        for name, value in attrs:
            fetches = name in ("src", "srcset", "data", "poster") or (name.endswith("href") and tag != "a")
            if (fetches and not (value or "").startswith("#")) or tag in ("script", "link", "iframe", "object"):
                self.found.append(f"{tag} {name}={value}")
            if name == "id" and value:
                self.ids.append(value)


def test_the_page_loads_nothing(page: str) -> None:
    """No script, no link element, no source, no import: links to Jaeger and Prometheus are the reader's to follow."""
    seen = Loads()
    seen.feed(page)
    assert "svg" in page
    assert seen.found == []
    assert not re.search(r"@import|url\((?!#)", page)


def test_an_id_is_given_once(page: str) -> None:
    """Plots share one document, so what one plot refers to must not be another's."""
    seen = Loads()
    seen.feed(page)
    assert len(seen.ids) == len(set(seen.ids))
    referred = set(re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', page))
    assert {first or second for first, second in referred} <= set(seen.ids)


def test_the_same_runs_give_the_same_page(repeats: Path, page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Byte for byte, so that a change in it is a change in the runs."""
    monkeypatch.setenv("LAB_HOME", str(repeats))
    assert report.page(report.chosen([])) == page


def test_every_claim_and_every_query_is_on_the_page(repeats: Path, page: str) -> None:
    """Each claim, each figure's expression and each sampled series' expression stands there in full."""
    text = html.unescape(page)
    for path in sorted((repeats / "runs").glob("*/result.json")):
        data = json.loads(path.read_text())
        for claim in data["claims"]:
            assert claim["text"] in text
            if data["variant"] == "as it is" or data["variant"] == claim["control"]:
                assert claim["promql"] in text
        if data["variant"] == "as it is":
            assert all(promql in text for figure in data["figures"] for promql in figure["promql"].values())
            assert path.parent.name in text
    newest = samples.saved(sorted((repeats / "runs").iterdir())[-2])
    assert newest is not None
    assert all(one["promql"] in text for one in newest["distributions"])
    drawn = {"accept_p50", "accept_p95", "completion_p95", "waiting", "queue", "lag", "accepted_rate", "rejected_rate"}
    assert {one["name"] for one in newest["series"]} >= drawn
    assert all(one["promql"] in text for one in newest["series"] if one["name"] in drawn)


def test_verdicts_come_before_plots(page: str) -> None:
    """A reader who reads one screen reads what was concluded."""
    assert page.index("✓ true") < page.index("<svg")
    assert page.index('class="claims"') < page.index("<figure>")


def test_repeats_show_intervals_and_what_control_said(page: str) -> None:
    """Three runs give medians with an interval; the control's value stands beside the claim's."""
    text = html.unescape(page)
    assert "2.5 s to 2.5 s" in text  # three digits of 2.501 to 2.503
    assert "fails there, as it must" in text
    assert "≥ 1.6 s" in text


def test_traces_of_a_phase_are_linked(page: str) -> None:
    """Each phase has a search in Jaeger, by the order service and the phase's own microseconds."""
    text = html.unescape(page)
    start, end = round(BEGAN * 1e6), round((BEGAN + 5) * 1e6)
    for model in ("sync", "async", "streaming"):
        assert f"http://127.0.0.1:16686/search?service={model}-order&start={start}&end={end}" in text


def test_runs_under_other_conditions_are_not_mixed(home: Path) -> None:
    """Another batch size is another comparison: the newest stands, the other is counted, and is shown when named."""
    other = keep(result(load("latency"), "as it is", 1), conditions(batch=1))
    newest = keep(result(load("latency"), "as it is", 2))
    text = report.page(report.chosen([]))
    assert "1 older run of this experiment had other claims, phases or conditions" in text
    assert f"<code>{newest}</code>" in text
    assert f"<code>{other}</code>" not in text
    both = report.page(report.chosen(["latency"]), every_group=True)
    assert f"<code>{newest}</code>" in both
    assert f"<code>{other}</code>" in both


def test_samples_keep_numbers_only_and_times_from_the_start(home: Path) -> None:
    """What is not a number is left out; an unbounded bucket is null; each series keeps its query."""
    found = samples.sample(Recorded(), BEGAN, BEGAN + 9, ["sync", "async"])
    waiting = [one for one in found["series"] if one["name"] == "waiting"]
    assert [one["model"] for one in waiting] == ["sync", "async"]
    assert [at for at, _ in waiting[0]["points"]] == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    assert 'model="async"' in waiting[1]["promql"]
    assert found["distributions"][0]["buckets"] == [[0.1, 0.0], [1.0, 6.0], [None, 10.0]]
    assert json.loads(json.dumps(found, allow_nan=False)) == found


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [((), "There is no saved run yet; make one with `lab run latency`."), (("nothing",), "There is no saved run yet")],
)
def test_without_a_run_the_command_says_what_to_do(home: Path, arguments: tuple[str, ...], sentence: str) -> None:
    """No run yet is told in one sentence."""
    done = CliRunner().invoke(app, ["report", *arguments])
    assert done.exit_code == 1
    assert sentence in done.output.replace("\n", " ")


def test_the_command_writes_the_page_where_told(
    repeats: Path, page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is the page; its path is all that is printed on standard output; an unknown run is told."""
    monkeypatch.setenv("LAB_HOME", str(repeats))
    target = tmp_path / "somewhere" / "page.html"
    done = CliRunner().invoke(app, ["report", "--out", str(target)])
    assert done.exit_code == 0
    assert target.read_text() == page
    assert done.stdout.split() == [str(target)]
    wrong = CliRunner().invoke(app, ["report", "elsewhere"])
    assert wrong.exit_code == 1
    assert "No saved run is named 'elsewhere'" in wrong.output


def climbed(*, knee: float, bounded: str | None = None) -> Result:
    """A run of the capacity experiment in which each model keeps what is up to its knee."""
    experiment = load("capacity")
    made = Result(experiment, "as it is", 1, calibration=Calibration(rate=4000, max_lag=0.05, levels=()))
    for turn, model in enumerate(experiment.models):
        began = BEGAN + 100 * turn
        made.spans[model] = began, began + 100
        for rate in (100.0, 200.0):
            values = (1.0, 0.02) if rate <= knee else (0.5, 3.0)
            late = {"dispatch_lag": {"p99": 0.002}}
            stretch = Stretch(began + rate / 10, began + rate / 10 + 8, rate)
            why = bounded if rate > knee else None
            made.tried.append(Step(model, stretch, ("up", "up"), values, rate <= knee, why, late))
    made.spans[RUN] = BEGAN, BEGAN + 300
    made.findings = [Finding(claim, "up", 100.0, claim.true_of(100.0)) for claim in experiment.claims]
    made.figures = [Figure(row, dict.fromkeys(row.models, "up"), {}) for row in experiment.table]
    return made


def test_steps_are_shown_with_what_they_were_judged_by(home: Path) -> None:
    """Each step has a row with its rate and its verdict, each check a plot, and the calibrated rate is told."""
    keep(climbed(knee=100))
    text = html.unescape(report.page(report.chosen([])))
    rows = re.findall(r">(kept|not kept)</td>", text)
    assert rows == ["kept", "not kept"] * 3
    assert text.count("orders offered per second</text>") == 2
    assert "starts 4,000 orders/s on time here" in text


def test_a_search_that_the_generator_ended_leaves_older_runs_on_the_page(home: Path) -> None:
    """An invalid run in steps stands in the same group as the valid one before it, and is left out of the figures."""
    keep(climbed(knee=100))
    ended = climbed(knee=100, bounded="the generator did not")
    ended.invalid = "async: its knee is 100 orders/s or more"
    name = keep(ended)
    text = html.unescape(report.page(report.chosen([])))
    assert "invalid, left out: async: its knee is 100 orders/s or more" in text
    assert name in text
    assert text.count("✓ true") == 3
