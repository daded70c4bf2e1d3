"""The open-loop engine, run by Locust in processes of its own against a service that can stall."""

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import tenacity

from tests.loadtests.fake_service import FakeService
from tests.ports import free_port

ROOT = Path(__file__).parents[2]
STALL = 2.0
HUNDRED = ("--schedule", "constant", "--rate", "250", "--duration", "0.4")
"""A short load of exactly a hundred requests."""


class Load:
    """Runs the lab's locust files headless in `folder`, against one fake service."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, service: FakeService, *options: str, model: str = "sync") -> tuple[int, str]:
        """Run to the end; the exit code and the log."""
        return locust("-f", f"loadtests/{model}.py", "--headless", *self.options(service), *options)

    def options(self, service: FakeService) -> list[str]:
        """The options that point a run at the service and its results at the folder."""
        files = ["--summary", str(self.folder / "summary.json"), "--json-file", str(self.folder / "locust")]
        # Whether a busy machine lets the generator keep its schedule is no matter of these tests.
        return ["--host", service.url, "--inventory-host", service.url, "--max-lag", "10", *files]

    @property
    def summary(self) -> dict[str, Any]:
        """The machine-readable result."""
        result: dict[str, Any] = json.loads((self.folder / "summary.json").read_text())
        return result


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """A load test whose results go to a folder of this test."""
    return Load(tmp_path)


def locust(*arguments: str) -> tuple[int, str]:
    """Run Locust to its end; the exit code and everything it wrote."""
    done = subprocess.run(  # noqa: S603 - our own command
        [sys.executable, "-m", "locust", "--only-summary", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def response_times(folder: Path) -> list[float]:
    """Every response time in Locust's own statistics, in seconds, ascending."""
    (entry,) = json.loads((folder / "locust.json").read_text())
    return sorted(float(ms) / 1000 for ms, count in entry["response_times"].items() for _ in range(count))


@pytest.mark.parametrize("model", ["sync", "async", "streaming"])
def test_a_run_sends_its_schedule_and_ends(load: Load, model: str) -> None:
    """Each locust file restocks what it will order, sends exactly its schedule, and exits with 0 by itself."""
    with FakeService() as service:
        code, log = load.run(service, *HUNDRED, "--item", "salad", "--quantity", "3", model=model)
    assert code == 0, log
    assert service.orders == [{"item": "salad", "quantity": 3}] * 100
    assert service.stocked == [{"item": "salad", "quantity": 300}]
    summary = load.summary
    assert (summary["model"], summary["valid"]) == (model, True)
    assert summary["planned"] == summary["sent"] == summary["ok"] == summary["orders_accepted"] == 100
    assert summary["ended_at"] > summary["started_at"]
    assert len(response_times(load.folder)) == 100


def test_the_tail_shows_the_whole_stall(load: Load) -> None:
    """Every order due during a stall waits for its end, in Locust's statistics and in the summary; none is put off."""
    with FakeService(stall_after=200, stall_seconds=STALL) as service:
        code, log = load.run(service, "--schedule", "constant", "--rate", "200", "--duration", "4")
    assert code == 0, log
    # Of 800 orders 400 are due in the stall, and half of those wait for more than half of it.
    times = response_times(load.folder)
    late = sum(time > STALL / 2 for time in times)
    assert len(times) == 800
    assert 160 <= late <= 260
    assert max(times) > 0.95 * STALL
    assert load.summary["latency"]["max"] > 0.95 * STALL
    assert load.summary["latency"]["p90"] > STALL / 2
    assert load.summary["latency"]["p50"] < STALL / 2
    # Orders went on being sent during the stall.
    assert load.summary["dispatch_lag"]["max"] < STALL / 2


def test_a_closed_loop_would_hide_the_stall(load: Load) -> None:
    """The control: of a user who waits for each answer, a single order sees the same stall."""
    with FakeService(stall_after=100, stall_seconds=STALL) as service:
        files = ["--json-file", str(load.folder / "locust")]
        code, log = locust(
            "-f", "tests/loadtests/closed_loop.py", "--headless", "--host", service.url, "--run-time", "4s", *files
        )
    assert code == 0, log
    times = response_times(load.folder)
    assert len(times) > 100, "the stall was never reached"
    assert sum(time > STALL / 2 for time in times) == 1


def test_latency_counts_from_the_intended_instant(load: Load) -> None:
    """With the start of requests held up by the generator itself, latency includes the lag, and the run is invalid."""
    with FakeService() as service:
        code, log = load.run(
            service, "--schedule", "constant", "--rate", "20000", "--duration", "1", "--max-lag", "0.01"
        )
    summary = load.summary
    assert code == 3, log
    assert "Invalid: " in log
    assert summary["valid"] is False
    assert summary["reason"] in log
    assert summary["sent"] + summary["dropped"] == summary["planned"] == 20_000
    assert summary["latency"]["max"] >= summary["dispatch_lag"]["max"] > summary["settings"]["max_lag"]


def test_too_many_in_flight_make_the_run_invalid(load: Load) -> None:
    """Requests beyond the limit are dropped and counted, and the run says nothing about the service."""
    with FakeService(stall_after=1, stall_seconds=STALL) as service:
        code, log = load.run(service, *HUNDRED, "--max-in-flight", "20")
    assert code == 3, log
    summary = load.summary
    assert (summary["sent"], summary["dropped"], summary["valid"]) == (20, 80, False)
    assert len(service.orders) == 20


def test_workers_share_one_schedule(load: Load) -> None:
    """Two workers send together what one generator sends, and the master adds up and judges."""
    port = str(free_port())
    options = ["--rate", "400", "--duration", "0.4", "--seed", "11"]
    with FakeService() as alone:
        assert load.run(alone, *options)[0] == 0
        planned = load.summary["planned"]
    with FakeService() as shared:
        code, log = load.run(shared, *options, "--processes", "2", "--master-bind-port", port, "--master-port", port)
    assert code == 0, log
    summary = load.summary
    assert (summary["generators"], summary["valid"]) == (2, True)
    assert len(alone.orders) == len(shared.orders) == planned == summary["planned"] == summary["ok"]
    assert len(shared.stocked) == 1
    assert len(response_times(load.folder)) == planned


def test_refused_orders_are_failures_by_status(load: Load) -> None:
    """What the service refuses is counted by status and leaves the run valid; Locust's exit code is 1."""
    with FakeService(status=503) as service:
        code, log = load.run(service, *HUNDRED)
    assert code == 1, log
    assert load.summary["failed"] == {"503": 100}
    assert (load.summary["ok"], load.summary["valid"]) == (0, True)


def test_unanswered_orders_time_out(load: Load) -> None:
    """Orders without an answer end as timeouts, and the run ends although the service is still stalled."""
    with FakeService(stall_after=41, stall_seconds=60) as service:
        code, log = load.run(service, *HUNDRED, "--timeout", "1")
    assert code == 1, log
    assert (load.summary["ok"], load.summary["failed"]) == (40, {"timeout": 60})


def test_bulk_orders_are_streaming_s_alone(load: Load) -> None:
    """A bulk load posts counts to streaming, stocks for all of them, and is refused for the other models."""
    with FakeService() as service:
        options = ("--schedule", "constant", "--rate", "5", "--duration", "0.4", "--bulk", "500")
        code, log = load.run(service, *options, model="streaming")
        assert code == 0, log
        assert service.orders == [{"item": "burger", "quantity": 1, "count": 500}] * 2
        assert service.stocked == [{"item": "burger", "quantity": 1000}]
        assert load.summary["orders_accepted"] == 1000
        code, log = load.run(service, *options, model="sync")
    assert code == 2, log
    assert "takes no bulk orders" in log


def test_restocking_follows_its_options(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """A number of units is stocked with the lab's token; 0 leaves the stock alone, and needs no inventory."""
    monkeypatch.setenv("LAB_ADMIN_TOKEN", "secret")
    with FakeService() as service:
        assert load.run(service, *HUNDRED, "--restock", "7")[0] == 0
        assert (service.stocked, service.tokens) == ([{"item": "burger", "quantity": 7}], ["bearer secret"])
        nobody = f"http://127.0.0.1:{free_port()}"
        assert load.run(service, *HUNDRED, "--restock", "0", "--inventory-host", nobody)[0] == 0
        assert len(service.stocked) == 1


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--host", "http://127.0.0.1:1"), "Nothing answers at http://127.0.0.1:1"),
        (("--inventory-host", "http://127.0.0.1:1"), "The inventory service at http://127.0.0.1:1 does not answer"),
        (("--host", "http://192.0.2.1"), "LAB_LOAD_ANYWHERE=1"),
        (("--rate", "-5"), "--rate -5.0: "),
    ],
)
def test_what_cannot_run_is_one_sentence(load: Load, options: tuple[str, ...], sentence: str) -> None:
    """A target that is absent or not ours, or a wrong option: exit code 2, a sentence, no traceback, no request."""
    with FakeService() as service:
        code, log = load.run(service, *options)
    assert code == 2, log
    assert sentence in log
    assert "Traceback" not in log
    assert not service.orders


@tenacity.retry(stop=tenacity.stop_after_delay(20), wait=tenacity.wait_fixed(0.05), reraise=True)
def eventually_ordered(service: FakeService) -> None:
    """Wait for the first order."""
    assert service.orders, "no order arrived within 20 s"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_reports_what_it_did(load: Load, number: signal.Signals) -> None:
    """Ctrl-C and SIGTERM end a run in order: its summary counts what was sent, and it is invalid."""
    command = [sys.executable, "-m", "locust", "-f", "loadtests/sync.py", "--headless"]
    with (
        FakeService() as service,
        subprocess.Popen(  # noqa: S603 - our own command
            [*command, *load.options(service)], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process,
    ):
        eventually_ordered(service)
        process.send_signal(number)
        assert process.wait(30) == 3
    assert load.summary["valid"] is False
    assert 0 < load.summary["sent"] < load.summary["planned"]
    assert "stopped after" in load.summary["reason"]


@contextmanager
def web_ui(*arguments: str) -> Iterator[httpx.Client]:
    """Locust with its web UI, and a client of it."""
    port = str(free_port())
    command = [sys.executable, "-m", "locust", *arguments, "--web-host", "127.0.0.1", "--web-port", port]
    with (
        subprocess.Popen(  # noqa: S603 - our own command
            command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client,
    ):
        try:
            yield client
        finally:
            process.terminate()


@tenacity.retry(stop=tenacity.stop_after_delay(20), wait=tenacity.wait_fixed(0.1), reraise=True)
def eventually_ended(client: httpx.Client, requests: int) -> None:
    """Wait until the web UI shows a run that has stopped after this many requests."""
    stats = client.get("/stats/requests").raise_for_status().json()
    seen = (stats["state"], stats["stats"][0]["num_requests"])
    assert seen == ("stopped", requests), "the web UI did not show the end of the run within 20 s"


@tenacity.retry(stop=tenacity.stop_after_delay(20), wait=tenacity.wait_fixed(0.1), reraise=True)
def page(client: httpx.Client) -> str:
    """The first page of the web UI, once it is up."""
    return client.get("/").raise_for_status().text


def test_the_web_ui_runs_it_again_and_again(load: Load) -> None:
    """The web UI offers the options, each run stops by itself with its own figures, and a second run starts clean."""
    with FakeService() as service, web_ui("-f", "loadtests/async.py", *load.options(service)) as client:
        assert "max_in_flight" in page(client)
        for requests in (40, 80):
            form = {"schedule": "constant", "rate": requests / 0.4, "duration": 0.4}
            assert client.post("/swarm", data=form).json()["success"]
            eventually_ended(client, requests)
            assert (load.summary["planned"], load.summary["valid"]) == (requests, True)
    assert len(service.orders) == 120


def test_a_taken_port_is_one_sentence() -> None:
    """Where something listens on the web UI's port, Locust ends with a sentence that says what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, log = locust("-f", "loadtests/sync.py", "--web-host", "127.0.0.1", "--web-port", port)
    assert code == 2, log
    assert f"Port {port} is taken" in log
    assert "Traceback" not in log
