"""The command line's own logic: faults as typed, ports, waiting, and errors that are one sentence."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lab.errors import LabError
from lab.faults import fault_body
from lab.native.ports import require_free
from lab.paths import CHECKOUT
from lab.stack import load
from lab.waiting import wait_until


@pytest.mark.parametrize(
    ("kind", "value", "body"),
    [
        ("delay", "2", {"seconds": 2.0}),
        ("throttle", "0.01", {"seconds": 0.01}),
        ("fail", "on", {"enabled": True}),
        ("pause", "OFF", {"enabled": False}),
        ("reset", None, {}),
    ],
)
def test_a_fault_as_typed_becomes_its_body(kind: str, value: str | None, body: dict[str, Any]) -> None:
    """Seconds and switches are sent in the fields that the fault router reads."""
    assert fault_body(kind, value) == body


@pytest.mark.parametrize(
    ("kind", "value"),
    [("delay", "-1"), ("delay", "nan"), ("delay", "soon"), ("delay", None), ("fail", "2"), ("explode", "on")],
)
def test_a_fault_that_makes_no_sense_is_refused(kind: str, value: str | None) -> None:
    """A wrong value or kind is told before anything is sent."""
    with pytest.raises(LabError):
        fault_body(kind, value)


def test_a_taken_port_is_told_with_its_holder() -> None:
    """The sentence names the port, the part that wants it and the process that holds it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(LabError, match=rf"Port {port}, which kafka needs, is held by .*pid {os.getpid()}"):
            require_free({port: "kafka"})
    require_free({port: "kafka"})


def test_waiting_ends_with_what_was_wrong_last() -> None:
    """When the limit passes, the message has the subject, the last problem and the hint."""
    problems = iter(["cold", "warming up"] + ["still warming up"] * 1000)
    with pytest.raises(LabError, match=r"The oven did not come within 0 s \(still warming up\); wait for it\."):
        wait_until(lambda: next(problems), limit=0.05, what=lambda: "The oven", hint="wait for it", interval=0.01)


def test_waiting_looks_until_nothing_is_wrong() -> None:
    """It returns at the first look that finds nothing wrong, without looking again."""
    problems = iter(["cold", None])
    wait_until(lambda: next(problems), limit=5, what="The oven", interval=0.01)
    assert list(problems) == []


def test_a_broken_stack_file_is_one_sentence(tmp_path: Path) -> None:
    """A stack file without ports is refused with its path."""
    broken = tmp_path / "stack.toml"
    broken.write_text("[[service]]\nname = 'x'\n")
    with pytest.raises(LabError, match=r"stack\.toml"):
        load(broken)


def test_ports_of_the_stack_are_distinct() -> None:
    """No two parts want the same port."""
    stack = load(CHECKOUT / "lab/stack.toml")
    ports = [*stack.ports.values(), *(tool.port for tool in stack.tools)]
    ports += [port for service in stack.services for port in (service.port, service.metrics_port)]
    assert len(ports) == len(set(ports))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["up", "--runtime", "cloud"], "There is no runtime 'cloud'"),
        (["logs", "toaster"], "There is no part 'toaster'"),
        (["start", "sync-order"], "The lab is not running; start it with `lab up`."),
        (["order", "carrier-pigeon"], "There is no model 'carrier-pigeon'"),
        (["fault", "sync-order", "delay", "soon"], "takes a number of seconds"),
    ],
)
def test_failures_are_one_sentence(arguments: list[str], sentence: str, tmp_path: Path) -> None:
    """A mistake at the command line ends with exit code 1 and one sentence, never a traceback."""
    done = subprocess.run(  # noqa: S603 - the arguments are the cases above
        [sys.executable, "-m", "lab.cli", *arguments],
        cwd=CHECKOUT,
        env={**os.environ, "LAB_HOME": str(tmp_path), "LAB_RUNTIME": "native"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
