"""compose.yaml as values, with each variable at its default, and how it differs from what the native runtime starts."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from lab.native import config
from lab.native.programs import Kafka, Programs
from lab.native.supervisor import Program
from lab.paths import CHECKOUT
from lab.stack import Service, Stack, Tool

Compose = dict[str, Any]

# What one runtime needs and the other has not, each with its reason.
NATIVE_ALONE = {"epmd"}  # RabbitMQ's image starts its own
COMPOSE_ALONE = {"grafana", "kafka-topics"}  # Grafana is no package; the topics are made by `lab up` itself natively
# Where a part of the stack lies for another part in a container.
INSIDE = {
    "@rabbitmq:": "@127.0.0.1:",
    "kafka:9092": "127.0.0.1:29092",
    "//sync-inventory:": "//127.0.0.1:",
    "//sync-notification:": "//127.0.0.1:",
    "//jaeger:": "//127.0.0.1:",
}
# Addresses and folders are the runtime's own.
OF_THE_RUNTIME = {"LAB_HOST", "LAB_DATA", "PYTHONUNBUFFERED"}


def read() -> Compose:
    """compose.yaml with `${NAME:-default}` resolved to the default."""
    text = re.sub(r"(?<!\$)\$\{\w+:-([^}]*)\}", r"\1", (CHECKOUT / "compose.yaml").read_text())
    parsed: Compose = yaml.safe_load(text)
    return parsed


def without_load(compose: Compose) -> dict[str, Compose]:
    """The services that `docker compose up` starts, and the replicas that `lab scale` does."""
    return {name: service for name, service in compose["services"].items() if "load" not in service.get("profiles", [])}


def native_programs(stack: Stack) -> dict[str, Program]:
    """What the native runtime starts, were every program at /opt."""
    at = Path("/opt")
    kafka = Kafka(server=("/opt/kafka",), storage=("/opt/kafka-storage",))
    found = Programs(rabbitmq=at / "rabbitmq", epmd=at / "epmd", kafka=kafka, prometheus=at / "prom", jaeger=at / "j")
    return {program.name: program for program in config.programs(stack, found)}


def published(service: Compose) -> dict[int, int]:
    """Ports in the container by ports of the host's loopback; others are left out."""
    matches = (re.fullmatch(r"127\.0\.0\.1:(\d+):(\d+)", port) for port in service.get("ports", []))
    return {int(found[1]): int(found[2]) for found in matches if found}


def differences(compose: Compose, stack: Stack) -> list[str]:
    """Each way in which the two runtimes do not start the same, as a sentence; none when they do."""
    return [*_parts(compose, stack), *_own_programs(compose, stack), *_brokers(compose, stack), *_tools(compose, stack)]


def _parts(compose: Compose, stack: Stack) -> Iterator[str]:
    ours, theirs = set(without_load(compose)) - COMPOSE_ALONE, set(native_programs(stack)) - NATIVE_ALONE
    for name in sorted(ours ^ theirs):
        yield f"{name} is started by {'compose' if name in ours else 'native'} alone"


def _own_programs(compose: Compose, stack: Stack) -> Iterator[str]:
    programs = native_programs(stack)
    own: tuple[Service | Tool, ...] = (*stack.services, *stack.replicas, *stack.tools)
    for part in own:
        service = without_load(compose).get(part.name, {})
        if service.get("command") != ["python", *programs[part.name].command[1:]]:
            yield f"{part.name} runs {service.get('command')}"
        metrics = [part.metrics_port] if isinstance(part, Service) else []
        if published(service) != {port: port for port in (part.port, *metrics)}:
            yield f"{part.name} publishes {service.get('ports')}"
        yield from _environment(part.name, service.get("environment", {}), programs[part.name].environment)


def _environment(name: str, inside: Mapping[str, str | None], native: Mapping[str, str]) -> Iterator[str]:
    # A variable without a value is passed on; natively that happens to those that are set.
    given = {key: value for key, value in inside.items() if value is not None}
    for key in sorted((set(given) | set(native)) - OF_THE_RUNTIME):
        value = given.get(key)
        for container, host in INSIDE.items():
            value = value and value.replace(container, host)
        if value != native.get(key):
            yield f"{name} has {key}={given.get(key)} in compose and {native.get(key)} natively"


def _brokers(compose: Compose, stack: Stack) -> Iterator[str]:
    services, ports = compose["services"], stack.ports
    expected = {
        "rabbitmq": [ports["rabbitmq"], ports["rabbitmq-management"], ports["rabbitmq-metrics"]],
        "kafka": [ports["kafka"]],
        "prometheus": [ports["prometheus"]],
        "jaeger": [ports["jaeger"], ports["jaeger-otlp-grpc"], ports["jaeger-otlp-http"]],
        "grafana": [ports["grafana"]],
        "locust-master": [ports["locust"]],
    }
    for name, wanted in expected.items():
        if published(services[name]) != {port: port for port in wanted}:
            yield f"{name} publishes {services[name].get('ports')}"
    kafka = services["kafka"]["environment"]
    for name in ("KAFKA_HEAP_OPTS", "KAFKA_JVM_PERFORMANCE_OPTS"):
        if kafka[name] != config.kafka_environment()[name]:
            yield f"kafka has {name}={kafka[name]}"
    if f"HOST://127.0.0.1:{ports['kafka']}" not in kafka["KAFKA_ADVERTISED_LISTENERS"].split(","):
        yield "kafka is not reached on the host by the port of the stack"


def _tools(compose: Compose, stack: Stack) -> Iterator[str]:
    services, programs = compose["services"], native_programs(stack)
    shared = [
        flag
        for flag in programs["prometheus"].command[1:]
        if not flag.startswith(("--config", "--storage.tsdb.path", "--web.listen"))
    ]
    for flag in shared:
        if flag not in services["prometheus"]["command"]:
            yield f"prometheus lacks {flag}"
    inside, native = services["jaeger"]["environment"], programs["jaeger"].environment
    if inside["GOMEMLIMIT"] != native["GOMEMLIMIT"]:
        yield f"jaeger has GOMEMLIMIT={inside['GOMEMLIMIT']}"
