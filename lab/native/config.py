"""What the native runtime generates before a start: broker configuration, and each program's command line."""

import json
import os
import sys
from pathlib import Path

from lab import paths
from lab.native.programs import KAFKA_HEAP, KAFKA_JVM, Programs
from lab.native.supervisor import Program
from lab.runtime.health import rabbitmq_url, rabbitmq_user
from lab.stack import Service, Stack, Tool
from observability.prometheus.config import render

LOOPBACK = "127.0.0.1"
NODE = "campus-food-lab@localhost"
SERVICES = paths.CHECKOUT / "services"
PROMETHEUS = paths.CHECKOUT / "observability/prometheus"
JAEGER = paths.CHECKOUT / "observability/jaeger/jaeger.yaml"
# Variables of whoever runs `lab up` that a service reads and that the lab passes on as they are.
PASSED_ON = ("LAB_ADMIN_TOKEN", "LAB_STOCK", "SYNC_TIMEOUT_SECONDS", "LAB_TRACES", "LAB_CONFIRM_TIMEOUT")
PASSED_ON_PREFIXES = ("OTEL_", "AMQP_", "KAFKA_BATCH")

# glibc keeps a heap per thread, up to eight per core; two are enough for programs this small.
FEW_ARENAS = {"MALLOC_ARENA_MAX": "2"}


def write(stack: Stack) -> None:
    """Write every configuration file below `LAB_HOME/etc`."""
    etc = paths.home() / "etc"
    for folder in (etc / "definitions", paths.logs(), paths.data(), paths.data() / "rabbitmq"):
        folder.mkdir(parents=True, exist_ok=True)
    _write_private(etc / "definitions/00-users.json", users_definition())
    _write(etc / "definitions/10-topology.json", (SERVICES / "async_rabbitmq/definitions.json").read_text())
    _write(etc / "rabbitmq.conf", rabbitmq_conf(stack, etc / "definitions"))
    _write(etc / "rabbitmq-env.conf", "# Kept empty so that the node reads no other one.\n")
    # RabbitMQ's command-line tools rewrite this file, so it is not the shared one itself.
    _write(etc / "enabled_plugins", (SERVICES / "async_rabbitmq/enabled_plugins").read_text())
    _write(etc / "server.properties", server_properties(stack, paths.data() / "kafka"))
    _write(etc / "prometheus.yml", render(scrape_targets(stack), rules=f"{PROMETHEUS}/rules/*.yml"))


def _write(path: Path, text: str) -> None:
    path.write_text(text)


def _write_private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)


def users_definition() -> str:
    """A definitions file with the lab's user: a node that loads definitions makes no default user."""
    user, password = rabbitmq_user()
    everything = {"user": user, "vhost": "/", "configure": ".*", "write": ".*", "read": ".*"}
    return json.dumps(
        {
            "vhosts": [{"name": "/"}],
            "users": [{"name": user, "password": password, "tags": "administrator"}],
            "permissions": [everything],
        }
    )


def rabbitmq_conf(stack: Stack, definitions: Path) -> str:
    """The shared rabbitmq.conf, bound to loopback, with the definitions to load at boot."""
    ports = stack.ports
    return (
        (SERVICES / "async_rabbitmq/rabbitmq.conf").read_text()
        + f"""
listeners.tcp.local = {LOOPBACK}:{ports["rabbitmq"]}
management.tcp.ip = {LOOPBACK}
management.tcp.port = {ports["rabbitmq-management"]}
prometheus.tcp.ip = {LOOPBACK}
prometheus.tcp.port = {ports["rabbitmq-metrics"]}
load_definitions = {definitions}
"""
    )


def server_properties(stack: Stack, data: Path) -> str:
    """The shared server.properties, bound to loopback, with its data folder."""
    broker, controller = stack.ports["kafka"], stack.ports["kafka-controller"]
    return (
        (SERVICES / "streaming_kafka/server.properties").read_text()
        + f"""
listeners=PLAINTEXT://{LOOPBACK}:{broker},CONTROLLER://{LOOPBACK}:{controller}
advertised.listeners=PLAINTEXT://{LOOPBACK}:{broker}
controller.quorum.voters=1@{LOOPBACK}:{controller}
log.dirs={data}
"""
    )


def scrape_targets(stack: Stack) -> dict[str, str]:
    """`host:port` by job, for Prometheus on this machine."""
    targets = {service.name: f"{LOOPBACK}:{service.metrics_port}" for service in stack.services}
    targets |= {tool.name: f"{LOOPBACK}:{tool.port}" for tool in stack.tools}
    targets["rabbitmq"] = f"{LOOPBACK}:{stack.ports['rabbitmq-metrics']}"
    targets["prometheus"] = f"{LOOPBACK}:{stack.ports['prometheus']}"
    return targets


def python_environment(stack: Stack, part: Service | Tool) -> dict[str, str]:
    """The variables of one of the lab's own programs."""
    passed = {
        name: value
        for name, value in os.environ.items()
        if value and (name in PASSED_ON or name.startswith(PASSED_ON_PREFIXES))
    }
    ports = stack.ports
    addresses = {
        "LAB_HOST": LOOPBACK,
        "LAB_PORT": str(part.port),
        "LAB_DATA": str(paths.data()),
        "LAB_LOG_FORMAT": os.environ.get("LAB_LOG_FORMAT") or "json",
        "PYTHONUNBUFFERED": "1",
        **FEW_ARENAS,
        "RABBITMQ_URL": rabbitmq_url(LOOPBACK, ports["rabbitmq"]),
        "KAFKA_BOOTSTRAP_SERVERS": f"{LOOPBACK}:{ports['kafka']}",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{LOOPBACK}:{ports['jaeger-otlp-http']}",
    }
    if isinstance(part, Service):
        addresses["LAB_METRICS_PORT"] = str(part.metrics_port)
        if part.instance > 1:
            addresses["LAB_INSTANCE"] = str(part.instance)
    for service in stack.services:
        if service.name in ("sync-inventory", "sync-notification"):
            name = service.name.replace("-", "_").upper()
            addresses[f"{name}_URL"] = f"http://{LOOPBACK}:{service.port}"
    return {**addresses, **passed}


def programs(stack: Stack, found: Programs) -> list[Program]:
    """What the supervisor runs: Erlang's port mapper, brokers, tools, services."""
    home, etc, data, ports = paths.home(), paths.home() / "etc", paths.data(), stack.ports
    erlang = {"ERL_EPMD_PORT": str(ports["epmd"]), "ERL_EPMD_ADDRESS": LOOPBACK}
    listed = [
        Program("epmd", (str(found.epmd),), directory=home, environment=erlang, stop_seconds=5),
        Program(
            "rabbitmq",
            (str(found.rabbitmq),),
            directory=data / "rabbitmq",
            environment=erlang | rabbitmq_environment(stack, etc, data / "rabbitmq"),
            stop_seconds=25,
        ),
        Program(
            "kafka",
            (*found.kafka.server, str(etc / "server.properties")),
            directory=home,
            environment=kafka_environment(),
            stop_seconds=25,
        ),
        Program(
            "prometheus",
            (
                str(found.prometheus),
                f"--config.file={etc}/prometheus.yml",
                f"--storage.tsdb.path={data}/prometheus",
                "--storage.tsdb.retention.time=7d",
                "--storage.tsdb.retention.size=1GB",
                f"--web.listen-address={LOOPBACK}:{ports['prometheus']}",
                "--web.enable-lifecycle",
                "--log.level=warn",
            ),
            directory=home,
        ),
    ]
    if found.jaeger:
        # GOMEMLIMIT keeps the collector from letting the heap double before it collects.
        jaeger_environment = {"JAEGER_LISTEN_HOST": LOOPBACK, "GOMEMLIMIT": "160MiB"}
        listed.append(
            Program(
                "jaeger",
                (str(found.jaeger), f"--config={JAEGER}"),
                directory=home,
                environment=jaeger_environment,
                # Its graceful end waits for senders to close; what it holds is in memory alone.
                stop_seconds=3,
            )
        )
    own: tuple[Service | Tool, ...] = (*stack.tools, *stack.services, *stack.replicas)
    listed += [
        Program(
            part.name,
            (sys.executable, "-m", part.module),
            directory=paths.CHECKOUT,
            environment=python_environment(stack, part),
            stop_seconds=15,
        )
        for part in own
    ]
    return listed


def rabbitmq_environment(stack: Stack, etc: Path, data: Path) -> dict[str, str]:
    """Variables that give a node its own name, files and ports, apart from any node that the user runs."""
    return {
        "HOME": str(data),
        "PATH": os.environ.get("PATH", os.defpath),
        "RABBITMQ_NODENAME": NODE,
        "RABBITMQ_NODE_IP_ADDRESS": LOOPBACK,
        "RABBITMQ_NODE_PORT": str(stack.ports["rabbitmq"]),
        "RABBITMQ_DIST_PORT": str(stack.ports["rabbitmq-distribution"]),
        "RABBITMQ_CONF_ENV_FILE": str(etc / "rabbitmq-env.conf"),
        "RABBITMQ_CONFIG_FILE": str(etc / "rabbitmq.conf"),
        "RABBITMQ_ADVANCED_CONFIG_FILE": str(SERVICES / "async_rabbitmq/advanced.config"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(etc / "enabled_plugins"),
        "RABBITMQ_MNESIA_BASE": str(data / "mnesia"),
        "RABBITMQ_LOG_BASE": str(data / "log"),
        "RABBITMQ_LOGS": "-",
        "RABBITMQ_PID_FILE": str(data / "node.pid"),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
    }


def kafka_environment() -> dict[str, str]:
    """Variables of Kafka's own start script; the jars of the cache ignore them."""
    return {
        "KAFKA_HEAP_OPTS": KAFKA_HEAP,
        "KAFKA_JVM_PERFORMANCE_OPTS": KAFKA_JVM,
        "LOG_DIR": str(paths.data() / "kafka-log"),
        **FEW_ARENAS,
    }
