"""The devcontainer: valid, and about the same ports and steps as the lab itself."""

import json
import os
import subprocess
import sys

import pytest

from lab.paths import CHECKOUT
from lab.stack import load

FOLDER = CHECKOUT / ".devcontainer"
DECLARED = json.loads((FOLDER / "devcontainer.json").read_text())
LIFE_CYCLE = ("onCreateCommand", "updateContentCommand", "postCreateCommand")
# The published schema at one commit, or a file of it for a machine that cannot fetch it.
SCHEMA = os.environ.get("DEVCONTAINER_SCHEMA") or (
    "https://raw.githubusercontent.com/devcontainers/spec/08c3f97f71385c52a01c026d145c510294847332"
    "/schemas/devContainer.base.schema.json"
)


def test_it_follows_the_published_schema() -> None:
    """devcontainer.json is valid by the schema of the devcontainers specification."""
    command = (sys.executable, "-m", "check_jsonschema", "--schemafile", SCHEMA, FOLDER / "devcontainer.json")
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    said = done.stdout + done.stderr
    if done.returncode != 0 and ("ConnectionError" in said or "failed to download" in said.lower()):
        pytest.skip(f"{SCHEMA} cannot be fetched here; name a copy of it in DEVCONTAINER_SCHEMA")
    assert done.returncode == 0, said


def test_it_forwards_the_ports_of_the_stack_by_name() -> None:
    """Every service and every page that a browser opens is forwarded from the port that stack.toml gives it."""
    stack = load(CHECKOUT / "lab/stack.toml")
    labels = {port: attributes["label"] for port, attributes in DECLARED["portsAttributes"].items()}
    services = {str(service.port): service.name for service in stack.services}
    pages = {str(stack.ports[name]) for name in ("grafana", "prometheus", "jaeger", "rabbitmq-management", "locust")}
    assert {port: label for port, label in labels.items() if port not in pages} == services
    assert set(labels) == set(services) | pages
    assert {str(port) for port in DECLARED["forwardPorts"]} == set(labels)


def test_its_set_up_is_split_over_the_life_cycle() -> None:
    """Each life-cycle command is a step of setup.sh: packages, then Python, then programs, and the editor waits."""
    script = (FOLDER / "setup.sh").read_text()
    steps = [DECLARED[command] for command in LIFE_CYCLE]
    assert [step[0] for step in steps] == [".devcontainer/setup.sh"] * 3
    assert [step[1] for step in steps] == ["system", "python", "programs"]
    assert all(f"  {step[1]})" in script for step in steps)
    assert DECLARED["waitFor"] == LIFE_CYCLE[-1]


def test_a_misspelt_step_is_refused_in_one_sentence() -> None:
    """setup.sh names its steps when asked for one that it has not."""
    done = subprocess.run(  # noqa: S603
        [FOLDER / "setup.sh", "everything"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr == "setup.sh: there is no step 'everything'; the steps are system, python and programs.\n"


def test_docker_runs_inside_it() -> None:
    """It has a Python for uv and an engine of its own, which the lab uses, so that ports are on its localhost."""
    assert DECLARED["remoteEnv"]["LAB_RUNTIME"] == "compose"
    assert {feature.rsplit("/", 1)[1] for feature in DECLARED["features"]} == {"docker-in-docker:2", "python:1"}
