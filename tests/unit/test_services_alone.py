"""A service by itself on a spare port, its brokers out of reach: settings, metrics from zero, the admin token."""

import importlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import ClassVar
from unittest.mock import patch

import httpx
import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from lab.stack import Service, stack
from lab.waiting import wait_until
from services.common.chassis import serve
from services.sync_rest.order import SERVICE as ORDER
from services.sync_rest.order import create_app
from tests.ports import free_port

SERVICES = stack().services
TOKEN = "open-sesame"  # noqa: S105
RIGHT = {"Authorization": f"Bearer {TOKEN}"}

CAMPUS_EVERYWHERE = {("campus_fault_active", ("fault", "service")), ("campus_duplicates_ignored_total", ("model",))}
OF_ORDERS = {
    ("campus_orders_accepted_total", ("model",)),
    ("campus_orders_rejected_total", ("model", "reason")),
    ("campus_order_accept_seconds_count", ("model",)),
    ("campus_order_accept_seconds_bucket", ("le", "model")),
    ("campus_order_completion_seconds_count", ("model", "outcome")),
    ("campus_order_completion_seconds_bucket", ("le", "model", "outcome")),
}
OF_INVENTORY = {
    ("campus_order_outcomes_total", ("model", "outcome")),
    ("campus_stock_units", ("item", "model", "state")),
}
OF_CONSUMERS = {("campus_messages_dead_lettered_total", ("model", "reason"))}

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@dataclass
class Alone:
    """A service that runs in this process."""

    client: TestClient
    metrics_url: str

    def samples(self) -> Samples:
        """Every campus_* sample of its metrics, by name and labels."""
        text = httpx.get(self.metrics_url, trust_env=False, timeout=30).text
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name.startswith("campus_") and not sample.name.endswith("_created")
        }


def _environment(data: Path, **settings: str) -> dict[str, str]:
    nowhere = f"127.0.0.1:{free_port()}"
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("LAB_", "OTEL_", "DATABASE_"))}
    return clean | {
        "LAB_DATA": str(data),
        "LAB_TRACES": "off",
        "LAB_CONFIRM_TIMEOUT": "0.5",
        "RABBITMQ_URL": f"amqp://guest:guest@{nowhere}/",
        "KAFKA_BOOTSTRAP_SERVERS": nowhere,
        "SYNC_INVENTORY_URL": f"http://{nowhere}",
        "SYNC_NOTIFICATION_URL": f"http://{nowhere}",
        **settings,
    }


@contextmanager
def _running(service: Service, data: Path, **settings: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """The service as a process of its own, and its address, once it answers; ended with the block."""
    port, metrics_port = free_port(), free_port()
    process = subprocess.Popen(  # noqa: S603
        [sys.executable, "-m", service.module],
        env=_environment(data, LAB_PORT=str(port), LAB_METRICS_PORT=str(metrics_port), **settings),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"

    def not_live() -> str | None:
        if process.poll() is not None:
            return f"it ended with {process.returncode}"
        try:
            return None if httpx.get(f"{url}/health/live", trust_env=False).is_success else "it answers an error"
        except httpx.TransportError as error:
            return str(error)

    try:
        wait_until(not_live, limit=60, what=f"{service.name} alone", interval=0.1)
        yield process, url
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module", params=SERVICES, ids=lambda service: service.name)
def alone(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, Alone]]:
    """Each service in turn, new, in this process, with an admin token."""
    service: Service = request.param
    port, metrics_port = free_port(), free_port()
    environment = _environment(
        tmp_path_factory.mktemp(service.name),
        LAB_ADMIN_TOKEN=TOKEN,
        LAB_PORT=str(port),
        LAB_METRICS_PORT=str(metrics_port),
    )
    with patch.dict(os.environ, environment, clear=True):
        app = importlib.import_module(service.module).create_app()
    with TestClient(app) as client:
        yield service, Alone(client, f"http://127.0.0.1:{metrics_port}/metrics")


def test_every_series_exists_at_zero_from_the_start(alone: tuple[Service, Alone]) -> None:
    """A new service shows each metric of the contract with its labels, at 0, and its broker as missing."""
    service, running = alone
    samples = running.samples()
    wanted = set(CAMPUS_EVERYWHERE)
    wanted |= OF_ORDERS if service.name.endswith("-order") else set()
    wanted |= OF_INVENTORY if service.name.endswith("-inventory") else set()
    wanted |= OF_CONSUMERS if service.model != "sync" else set()
    shown = {(name, tuple(label for label, _value in labels)) for name, labels in samples}
    assert wanted <= shown
    assert {dict(labels).get("model", service.model) for _name, labels in samples} == {service.model}
    stocked = {
        (dict(labels)["item"], dict(labels)["state"]): value
        for (name, labels), value in samples.items()
        if name == "campus_stock_units"
    }
    if service.name.endswith("-inventory"):
        units = {"left": 100.0, "reserved": 0.0, "received": 100.0}
        assert stocked == {(i, s): units[s] for i in ("burger", "pizza", "salad") for s in units}
    assert all(value == 0 for (name, _labels), value in samples.items() if name != "campus_stock_units")
    health = running.client.get("/health")
    if service.model == "sync":
        assert (health.status_code, health.json()["status"]) == (200, "ok")
    else:
        assert (health.status_code, bool(health.json()["failing"])) == (503, True)


def test_the_fault_router_has_one_shape(alone: tuple[Service, Alone]) -> None:
    """Each fault answers with the state after it, shows in campus_fault_active, and ends with a reset."""
    service, running = alone
    kinds: dict[str, tuple[dict[str, object], object]] = {
        "delay": ({"seconds": 0.25}, 0.25),
        "fail": ({"enabled": True}, True),
    }
    if service.model != "sync":
        kinds |= {"throttle": ({"seconds": 0.5}, 0.5), "pause": ({"enabled": True}, True)}
    none = running.client.get("/admin/faults", headers=RIGHT).json()
    assert none == dict.fromkeys(kinds, 0)
    for kind, (body, value) in kinds.items():
        reply = running.client.post(f"/admin/{kind}", json=body, headers=RIGHT)
        assert (reply.status_code, reply.json()) == (200, none | {kind: value})
        active = {
            dict(labels)["fault"]: seen
            for (name, labels), seen in running.samples().items()
            if name == "campus_fault_active" and dict(labels)["service"] == service.name
        }
        assert active == {other: float(other == kind) for other in kinds}
        assert running.client.post("/admin/reset", headers=RIGHT).json() == none
    assert {value for (name, _), value in running.samples().items() if name == "campus_fault_active"} == {0.0}


def test_the_admin_token_is_wanted(alone: tuple[Service, Alone]) -> None:
    """With LAB_ADMIN_TOKEN set, /admin/* answers 401 without it and works with it; nothing else wants it."""
    _service, running = alone
    offered = running.client.get("/openapi.json").json()["paths"]
    admin = [(method, path) for path, methods in offered.items() if path.startswith("/admin/") for method in methods]
    assert len(admin) >= 4
    for method, path in admin:
        for given in (None, f"Bearer {TOKEN}x", TOKEN, f"Basic {TOKEN}"):
            headers = {} if given is None else {"Authorization": given}
            reply = running.client.request(method, path, headers=headers)
            assert (reply.status_code, "LAB_ADMIN_TOKEN" in reply.json()["detail"]) == (401, True), path
    assert running.client.get("/admin/faults", headers=RIGHT).status_code == 200
    assert running.client.get("/health/live").status_code == 200


@pytest.mark.parametrize("name", ["async-order", "streaming-order"])
def test_orders_left_by_a_stop_are_kept(tmp_path: Path, name: str) -> None:
    """A service that is terminated without its broker ends in order, and keeps the order it refused."""
    with _running(stack().service(name), tmp_path) as (process, url):
        reply = httpx.post(f"{url}/order", json={"item": "burger", "quantity": 1}, trust_env=False, timeout=30)
        assert reply.status_code == 503, reply.text
        order_id = reply.json()["detail"]["order"]["order_id"]
        process.send_signal(signal.SIGTERM)
        # uvicorn ends, once all is stopped, by the signal that it was stopped with.
        assert process.wait(30) == -signal.SIGTERM
    with _running(stack().service(name), tmp_path) as (_process, url):
        assert httpx.get(f"{url}/orders/{order_id}", trust_env=False).json()["status"] == "rejected"


def _ends(service: Service, data: Path, **settings: str) -> str:
    """What a service prints that cannot start; it ends with 1, without a traceback."""
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-m", service.module],
        env=_environment(data, **settings),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode != 0, said
    assert "Traceback" not in said, said
    return said


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("LAB_PORT", "abc"),
        ("LAB_PORT", "0"),
        ("LAB_PORT", "70000"),
        ("LAB_STOCK", "-1"),
        ("LAB_LOG_FORMAT", "xml"),
        ("LAB_TRACES", "perhaps"),
        ("SYNC_TIMEOUT_SECONDS", "soon"),
        ("AMQP_BATCH", "0"),
        ("RABBITMQ_URL", "localhost"),
        ("RABBITMQ_URL", "http://localhost/"),
        ("RABBITMQ_URL", "amqp://localhost"),
        ("DATABASE_URL", "orders.db"),
    ],
)
def test_a_wrong_setting_is_one_sentence(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    """A setting out of range ends the start with one line that names the service and the variable."""
    monkeypatch.setenv(variable, value)
    with pytest.raises(SystemExit) as end:
        serve(ORDER, create_app)
    said = str(end.value)
    assert said.startswith(f"sync-order: a setting is wrong: {variable}: ")
    assert len(said.splitlines()) == 1


def test_a_wrong_setting_is_all_that_is_printed(tmp_path: Path) -> None:
    """A service started with a wrong setting prints the one sentence and nothing else."""
    assert _ends(stack().service("sync-order"), tmp_path, LAB_PORT="abc").startswith("sync-order: a setting is wrong")


@pytest.mark.parametrize("which", ["LAB_PORT", "LAB_METRICS_PORT"])
def test_a_taken_port_is_one_sentence(tmp_path: Path, which: str) -> None:
    """A port that another program holds ends the start with a sentence that names the port and the way out."""
    ports = {"LAB_PORT": str(free_port()), "LAB_METRICS_PORT": str(free_port())}
    with closing(socket.socket()) as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        taken = str(holder.getsockname()[1])
        said = _ends(stack().service("sync-order"), tmp_path, **(ports | {which: taken}))
    assert taken in said
    assert which in said


def test_data_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    """A data folder that cannot be made ends the start with a sentence that names it and the way out."""
    (tmp_path / "file").write_text("in the way")
    said = _ends(
        stack().service("sync-inventory"),
        tmp_path / "file" / "data",
        LAB_PORT=str(free_port()),
        LAB_METRICS_PORT=str(free_port()),
    )
    assert str(tmp_path / "file" / "data") in said
    assert "LAB_DATA" in said


def test_a_broken_database_is_one_sentence(tmp_path: Path) -> None:
    """A database file that is none ends the start with a sentence that names it."""
    (tmp_path / "sync-order.db").write_bytes(b"this is no database" * 1000)
    ports = {"LAB_PORT": str(free_port()), "LAB_METRICS_PORT": str(free_port())}
    assert "sync-order.db" in _ends(stack().service("sync-order"), tmp_path, **ports)


def test_a_broker_without_an_address_is_tried_again(tmp_path: Path) -> None:
    """A host name that nobody resolves, as a stopped container's, is a broker that cannot be reached yet."""
    inventory = next(service for service in SERVICES if service.name == "async-inventory")
    # A connection per consumer and one to publish: each has to have tried.
    with _running(inventory, tmp_path, RABBITMQ_URL="amqp://guest:guest@rabbitmq.invalid/") as (_process, address):

        def untried() -> str | None:
            checks = httpx.get(f"{address}/health", trust_env=False).json()["checks"]
            told = [state for name, state in checks.items() if name.startswith("async-inventory ")]
            return None if told and all("cannot be reached" in state for state in told) else f"{checks}"

        wait_until(untried, limit=20, what="The connections' account of it")


class _Peer(BaseHTTPRequestHandler):
    """An inventory and notification service that agrees to everything; `seen` has the traceparent of each call."""

    seen: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        """Note the call and agree."""
        self.rfile.read(int(self.headers["content-length"]))
        self.seen.append(self.headers["traceparent"])
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_args: object) -> None:
        """Say nothing."""


@pytest.mark.parametrize(
    ("sampler", "fewest", "most"),
    # A tenth of 200 is from 1 to 50 but once in some hundred million runs.
    [("parentbased_always_on", 200, 200), ("parentbased_traceidratio", 1, 50), ("parentbased_always_off", 0, 0)],
)
def test_the_sampler_is_the_users(tmp_path: Path, sampler: str, fewest: int, most: int) -> None:
    """OTEL_TRACES_SAMPLER says which orders are traced, and every service that an order reaches is told."""
    _Peer.seen.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), _Peer) as peer:
        Thread(target=peer.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{peer.server_port}"
        settings = {
            "SYNC_INVENTORY_URL": url,
            "SYNC_NOTIFICATION_URL": url,
            "LAB_TRACES": "on",
            "OTEL_TRACES_SAMPLER": sampler,
            "OTEL_TRACES_SAMPLER_ARG": "0.1",
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{free_port()}",
        }
        order = next(service for service in SERVICES if service.name == ORDER.name)
        with _running(order, tmp_path, **settings) as (_process, address), httpx.Client(trust_env=False) as client:
            for _ in range(200):
                client.post(f"{address}/order", json={"item": "pizza", "quantity": 1}).raise_for_status()
        peer.shutdown()
    orders = {parent.split("-")[1]: parent.split("-")[3] for parent in _Peer.seen}
    assert (len(orders), len(_Peer.seen)) == (200, 400)
    assert fewest <= sum(int(flags, 16) & 1 for flags in orders.values()) <= most
