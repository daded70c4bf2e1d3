"""The native runtime for real: brokers, a fake service and the lag exporter on ports and in a home of their own.

It runs beside a stack on the usual ports without touching it. One stack is started for the module; the tests run in the
order in which they stand, each leaving every part healthy, and the last one takes it down.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pika
import psutil
import pytest

from lab.native.supervisor import MARK
from lab.paths import CHECKOUT
from tests.ports import free_ports

pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.skipif(os.environ.get("LAB_RUNTIME") == "compose", reason="the compose runtime is tested elsewhere"),
]


class Lab:
    """The command line, with a stack file, ports and a home of its own."""

    def __init__(self, home: Path, ports: dict[str, int], stack: Path) -> None:
        self.home = home
        self.ports = ports
        unset = {name: value for name, value in os.environ.items() if not name.startswith("LAB_")}
        self.environment = unset | {
            "LAB_HOME": str(home),
            "LAB_STACK": str(stack),
            "LAB_TRACES": "off",
            "LAB_RUNTIME": "native",
            "LAB_RABBITMQ_USER": "cook",
            "LAB_RABBITMQ_PASSWORD": "secret",
        }

    def __call__(self, *arguments: str, code: int = 0) -> str:
        """Run a command, expect its exit code and return all that it printed."""
        done = subprocess.run(  # noqa: S603 - the arguments are the tests' own
            [sys.executable, "-m", "lab.cli", *arguments],
            cwd=CHECKOUT,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def status(self, *, code: int = 0) -> dict[str, dict[str, Any]]:
        """Each part's status by its name."""
        return {part["name"]: part for part in json.loads(self("status", "--json", code=code))["parts"]}

    def processes(self) -> list[psutil.Process]:
        """Every process that was started for this home, whoever its parent is now."""
        return [process for process in psutil.process_iter() if self._is_ours(process)]

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                return False
            return process.environ().get(MARK) == str(self.home) or str(self.home) in " ".join(process.cmdline())
        except (psutil.Error, OSError):
            return False


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A small stack that is up; whatever the tests did, nothing of it is left behind."""
    folder = tmp_path_factory.mktemp("native")
    original = (CHECKOUT / "lab/stack.toml").read_text()
    names = re.findall(r"^([a-z-]+) = \d+", original[original.index("[ports]") :], flags=re.MULTILINE)
    ports = dict(zip([*names, "lag-exporter", "fake"], free_ports(len(names) + 2), strict=True))
    parts = f"""
[[service]]
name = "fake"
model = "sync"
module = "tests.lab.fake_service"
port = {ports["fake"]}

[[tool]]
name = "lag-exporter"
module = "observability.kafka_lag"
port = {ports["lag-exporter"]}

[ports]
{chr(10).join(f"{name} = {ports[name]}" for name in names)}

[kafka.groups]
a-group = ["order-events"]
"""
    stack = folder / "stack.toml"
    stack.write_text(parts)
    made = Lab(folder / "home", ports, stack)
    try:
        made("up")
        yield made
    finally:
        made("down", "--volumes")
        shutil.rmtree(folder, ignore_errors=True)


def test_every_part_is_up(lab: Lab) -> None:
    """After `lab up`, status lists each part healthy, with a process, and all listen on loopback alone."""
    parts = lab.status()
    assert set(parts) == {"epmd", "rabbitmq", "kafka", "prometheus", "lag-exporter", "fake"}
    assert all(part["healthy"] and part["pid"] and part["resident_bytes"] for part in parts.values())
    listening = {
        connection.laddr[0]
        for process in lab.processes()
        for connection in process.net_connections(kind="tcp")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


def test_up_again_changes_nothing(lab: Lab) -> None:
    """A second `lab up` succeeds and leaves every process as it was."""
    before = {name: part["pid"] for name, part in lab.status().items()}
    lab("up")
    assert {name: part["pid"] for name, part in lab.status().items()} == before


def test_a_changed_setting_restarts_what_reads_it(lab: Lab) -> None:
    """`lab up` with another setting starts the services anew with it and leaves the brokers running."""
    before = {name: part["pid"] for name, part in lab.status().items()}
    lab.environment["LAB_STOCK"] = "5"
    assert "start anew: " in lab("up")
    after = {name: part["pid"] for name, part in lab.status().items()}
    assert after["fake"] != before["fake"]
    assert psutil.Process(after["fake"]).environ()["LAB_STOCK"] == "5"
    assert after["rabbitmq"] == before["rabbitmq"]


@pytest.mark.parametrize("part", ["fake", "lag-exporter", "kafka"])
def test_a_killed_part_stays_dead_until_started(lab: Lab, part: str) -> None:
    """`kill` ends a part and only it; status says so with exit code 1; `start` brings it back with a new process."""
    before = lab.status()[part]["pid"]
    lab("kill", part)
    assert not psutil.pid_exists(before)
    found = lab.status(code=1)
    assert not found[part]["healthy"]
    assert found["rabbitmq"]["healthy"]
    lab("start", part)
    assert lab.status()[part]["pid"] not in (None, before)


def test_a_stopped_part_ends_gracefully(lab: Lab) -> None:
    """`stop` lets RabbitMQ end by itself, and leaves none of its helpers behind."""
    lab("stop", "rabbitmq")
    assert not [process for process in lab.processes() if "beam" in process.name() or "inet_get" in process.name()]
    assert "SIGTERM received - shutting down" in lab("logs", "rabbitmq", "-n", "2000")
    lab("start", "rabbitmq")


def test_a_taken_port_is_one_sentence(lab: Lab) -> None:
    """A port that another program took meanwhile is named with who wants it and who holds it."""
    lab("stop", "prometheus")
    with socket.create_server(("127.0.0.1", lab.ports["prometheus"])):
        said = lab("start", "prometheus", code=1)
    assert f"Port {lab.ports['prometheus']}, which prometheus needs, is held by" in said
    assert f"pid {os.getpid()}" in said
    lab("start", "prometheus")


def test_lag_is_scraped_while_nothing_consumes(lab: Lab) -> None:
    """The lag of a group that has never run is there from the start, for every partition."""
    text = httpx.get(f"http://127.0.0.1:{lab.ports['lag-exporter']}/metrics").text
    lags = [line for line in text.splitlines() if line.startswith("kafka_consumer_group_lag{")]
    assert len(lags) == 3
    assert all(line.endswith(" 0.0") and 'group="a-group"' in line for line in lags)


def test_messages_outlive_down_and_up(lab: Lab) -> None:
    """A confirmed message is still in its queue after `lab down` and `lab up`, and down leaves no process behind."""
    url = f"amqp://cook:secret@127.0.0.1:{lab.ports['rabbitmq']}/"
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        persistent = pika.BasicProperties(delivery_mode=2)
        channel.basic_publish("orders_exchange", "order.placed", b"kept", persistent, mandatory=True)
    lab("down")
    assert lab.processes() == []
    lab("up")
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        _, _, body = connection.channel().basic_get("inventory_queue", auto_ack=True)
    assert body == b"kept"


def test_down_ends_what_a_killed_supervisor_left(lab: Lab) -> None:
    """With the supervisor itself killed, `lab down` still finds and ends every process of the lab."""
    supervisor = int((lab.home / "run/supervisord.pid").read_text())
    os.kill(supervisor, signal.SIGKILL)
    psutil.wait_procs([psutil.Process(supervisor)] if psutil.pid_exists(supervisor) else [], timeout=10)
    assert lab.processes()
    lab("down")
    assert lab.processes() == []
