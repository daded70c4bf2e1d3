"""The committed dashboards are what the code makes, are whole, and have an answer to every query."""

import json
import math
import re
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import yaml
from grafana_foundation_sdk.models.dashboard import Dashboard

from lab.experiments.messages import publish
from lab.http import post
from lab.paths import CHECKOUT
from lab.prometheus import Prometheus, of_stack
from observability.dashboards.files import FOLDER, render_all
from observability.dashboards.queries import (
    PanelQuery,
    dashboards,
    mark_queries,
    panel_queries,
    variable_queries,
)
from tests.observability.conftest import MODELS

PROVISIONING = CHECKOUT / "observability/grafana/provisioning"
WINDOW = "5s"


def _panels(board: dict[str, Any]) -> list[dict[str, Any]]:
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def test_the_committed_json_is_what_the_code_makes() -> None:
    """`python -m observability.dashboards` would change nothing."""
    assert {file.name: file.read_text() for file in FOLDER.glob("*.json")} == render_all()


@pytest.mark.parametrize("name", dashboards())
def test_the_json_satisfies_the_sdks_types(name: str) -> None:
    """Read by the SDK's types and written again, the panels and variables are the same."""
    board = dashboards()[name]
    again = json.loads(json.dumps(Dashboard.from_json(board).to_json(), default=lambda value: value.to_json()))
    assert (again["panels"], again["templating"], again["uid"]) == (board["panels"], board["templating"], board["uid"])


@pytest.mark.parametrize("name", dashboards())
def test_every_panel_says_what_to_look_for(name: str) -> None:
    """A panel has a unit, a data source, a description in sentences, and a legend for each of its series."""
    for panel in _panels(dashboards()[name]):
        about = f"{name}: {panel['title']}"
        assert len(panel["description"]) > 15 and panel["description"].endswith("."), about
        assert panel["datasource"]["uid"] == "prometheus", about
        assert all(target.get("legendFormat") for target in panel["targets"]), about
        if panel["type"] in {"timeseries", "stat"}:
            assert panel["fieldConfig"]["defaults"]["unit"], about
            assert "thresholds" in panel["fieldConfig"]["defaults"] or panel["type"] == "timeseries", about


@pytest.mark.parametrize("name", ["overview", *MODELS])
def test_slow_and_failed_orders_are_one_click_away(name: str) -> None:
    """Panels of orders link to Jaeger's search for the time that is shown."""
    urls = [
        link["url"]
        for panel in _panels(dashboards()[name])
        for link in panel.get("fieldConfig", {}).get("defaults", {}).get("links", ())
    ]
    assert all("start=${__from}000&end=${__to}000" in url for url in urls)
    assert any("minDuration" in url for url in urls)
    assert any("error" in url for url in urls)


def test_the_overview_compares_models_by_one_expression() -> None:
    """Each query about orders on the overview selects models by its variable and names none of them."""
    asked = [target["expr"] for panel in _panels(dashboards()["overview"]) for target in panel["targets"]]
    orders = [promql for promql in asked if "campus_order" in promql]
    assert len(orders) >= 8
    assert all('model=~"$model"' in promql for promql in orders)
    assert not any(re.search(r"\b(sync|async|streaming)\b", promql) for promql in orders)


def test_provisioning_names_what_dashboards_use() -> None:
    """Each data source that a panel or a link of data sources names is provisioned, and dashboards are found."""
    sources = yaml.safe_load((PROVISIONING / "datasources/datasources.yml").read_text())["datasources"]
    uids = {source["uid"] for source in sources}
    used = {panel["datasource"]["uid"] for board in dashboards().values() for panel in _panels(board)}
    used |= {mark["datasource"]["uid"] for board in dashboards().values() for mark in board["annotations"]["list"]}
    linked = set(re.findall(r"'datasourceUid': '(\w+)'", str(sources)))
    assert used | linked == uids == {"prometheus", "jaeger"}
    [provider] = yaml.safe_load((PROVISIONING / "dashboards/dashboards.yml").read_text())["providers"]
    assert provider["options"]["path"] == "/etc/grafana/dashboards"
    assert len({board["uid"] for board in dashboards().values()}) == len(dashboards())


@pytest.fixture(scope="module")
def busy(on_the_shelf: None) -> Iterator[tuple[Prometheus, float, float]]:
    """Prometheus after orders through every model, a dead letter and a fault, with when that began and ended."""
    prometheus = of_stack()
    began = time.time()
    for model in MODELS:
        post(f"{model}-inventory", "/admin/delay", {"seconds": 0.05})
    publish("async", "1", "malformed")
    completed = "min(sum by (model) (campus_order_completion_seconds_count))"
    before = prometheus.value(completed)
    for _ in range(20):
        for model in MODELS:
            post(f"{model}-order", "/order", {"item": "pizza", "quantity": 1})
    prometheus.until(completed, limit=30, what="The orders' ends", holds=lambda value: value >= before + 20)
    for model in MODELS:
        post(f"{model}-inventory", "/admin/reset", {})
    # An alert, so that its annotation has something to show.
    prometheus.until('count(ALERTS{alertname="DeadLetters"})', limit=10, what="An alert", holds=lambda n: n >= 1)
    yield prometheus, began, prometheus.now()


def _answered(prometheus: Prometheus, promql: str, start: float, end: float) -> bool:
    series = prometheus.series(promql, start, end, 1)
    return any(not math.isnan(value) for _, points in series for _, value in points)


def _name(query: PanelQuery) -> str:
    return f"{query.dashboard}-{query.panel}".replace(" ", "_")


@pytest.mark.parametrize("query", list(panel_queries(WINDOW)), ids=_name)
def test_no_panel_is_empty(query: PanelQuery, busy: tuple[Prometheus, float, float]) -> None:
    """After real traffic each query of each panel has at least one number, under a legend without holes."""
    prometheus, start, end = busy
    assert _answered(prometheus, query.promql, start, end), query.promql
    wanted = set(re.findall(r"{{(\w+)}}", query.legend))
    assert all(wanted <= labels.keys() for labels, _ in prometheus.series(query.promql, start, end, 1))


def test_an_empty_panel_is_noticed(busy: tuple[Prometheus, float, float]) -> None:
    """Control: a misspelt metric has no answer."""
    assert not _answered(busy[0], "sum by (model) (rate(campus_order_accepted_total[5s]))", *busy[1:])


def test_no_variable_and_no_mark_is_empty(busy: tuple[Prometheus, float, float]) -> None:
    """Each variable has values to choose from, and faults and alerts are marked; nothing was down."""
    prometheus, start, end = busy
    for variable in variable_queries():
        url = f"{prometheus.url}/api/v1/label/{variable.label}/values"
        reply = httpx.get(url, params={"match[]": variable.selector}, trust_env=False)
        assert len(reply.raise_for_status().json()["data"]) >= 3, variable
    shown = {name: _answered(prometheus, promql, start, end) for name, promql in mark_queries()}
    assert shown == {"Faults": True, "Alerts": True, "Parts down": False}
