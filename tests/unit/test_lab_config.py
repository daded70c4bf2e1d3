"""What the native runtime generates: broker, Prometheus and supervisor configuration."""

import json
from configparser import RawConfigParser
from pathlib import Path

import pytest
from supervisor.datatypes import dict_of_key_value_pairs

from lab.errors import LabError
from lab.native import config
from lab.native.programs import Kafka, Programs
from lab.native.supervisor import MARK, Program, render
from lab.paths import CHECKOUT
from lab.runtime.health import rabbitmq_url
from lab.stack import Stack, load

STACK = load(CHECKOUT / "lab/stack.toml")


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_HOME", str(tmp_path))
    for name in ("LAB_RABBITMQ_USER", "LAB_RABBITMQ_PASSWORD", "LAB_ADMIN_TOKEN", "LAB_STOCK"):
        monkeypatch.delenv(name, raising=False)


def properties(text: str) -> dict[str, str]:
    """The settings of a `key = value` file."""
    lines = [line for line in text.splitlines() if "=" in line and not line.startswith("#")]
    return {key.strip(): value.strip() for key, value in (line.split("=", 1) for line in lines)}


def test_every_broker_address_is_loopback() -> None:
    """Nothing that a broker is told to listen on is reachable from another machine."""
    rabbitmq = properties(config.rabbitmq_conf(STACK, Path("/definitions")))
    kafka = properties(config.server_properties(STACK, Path("/data")))
    addresses = [rabbitmq[key] for key in ("listeners.tcp.local", "management.tcp.ip", "prometheus.tcp.ip")]
    addresses += [entry.split("://")[1] for entry in kafka["listeners"].split(",")]
    assert len(addresses) == 5
    assert all(address.startswith("127.0.0.1") for address in addresses)


def test_the_definitions_give_guest_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    """The user of LAB_RABBITMQ_USER is the one in the definitions, with its password and every permission."""
    assert json.loads(config.users_definition())["users"][0]["name"] == "guest"
    monkeypatch.setenv("LAB_RABBITMQ_USER", "cook")
    monkeypatch.setenv("LAB_RABBITMQ_PASSWORD", "p@ss/word")
    made = json.loads(config.users_definition())
    assert (made["users"][0]["name"], made["users"][0]["password"]) == ("cook", "p@ss/word")
    assert made["permissions"][0]["user"] == "cook"
    assert rabbitmq_url("127.0.0.1", 5672) == "amqp://cook:p%40ss%2Fword@127.0.0.1:5672/"


def test_the_topology_dead_letters_what_exceeds_its_deliveries() -> None:
    """Each working queue is a quorum queue with a delivery limit and the dead-letter exchange, `dlq_queue` the sink."""
    made = json.loads((CHECKOUT / "services/async_rabbitmq/definitions.json").read_text())
    queues = {queue["name"]: queue["arguments"] for queue in made["queues"]}
    assert set(queues) == {"inventory_queue", "notification_queue", "order_status_queue", "dlq_queue"}
    assert queues.pop("dlq_queue") == {"x-queue-type": "quorum"}
    for arguments in queues.values():
        assert arguments["x-queue-type"] == "quorum"
        assert arguments["x-delivery-limit"] == 5
        assert arguments["x-dead-letter-exchange"] == "dlx_exchange"
    bindings = {(entry["destination"], entry["routing_key"]) for entry in made["bindings"]}
    assert ("order_status_queue", "inventory.failed") in bindings
    assert ("dlq_queue", "") in bindings


def test_prometheus_scrapes_each_service_on_its_metrics_port() -> None:
    """There is a job per service, named by it, on its port + 1000, beside the broker's and the tools' jobs."""
    targets = config.scrape_targets(STACK)
    assert {service.name for service in STACK.services} < set(targets)
    assert targets["async-order"] == "127.0.0.1:9010"
    assert targets["rabbitmq"] == "127.0.0.1:15692"
    assert targets["lag-exporter"] == "127.0.0.1:9308"


def programs(stack: Stack) -> dict[str, Program]:
    """The supervised programs of a machine whose programs lie in /opt."""
    found = Programs(
        rabbitmq=Path("/opt/rabbitmq-server"),
        epmd=Path("/opt/epmd"),
        kafka=Kafka(("/opt/kafka-server-start",), ("/opt/kafka-storage",)),
        prometheus=Path("/opt/prometheus"),
        jaeger=None,
    )
    return {program.name: program for program in config.programs(stack, found)}


def test_a_service_is_told_where_its_peers_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service's variables hold its ports, the brokers' addresses and the settings of whoever starts the lab."""
    monkeypatch.setenv("LAB_STOCK", "7")
    environment = programs(STACK)["sync-order"].environment
    assert (environment["LAB_PORT"], environment["LAB_METRICS_PORT"]) == ("8000", "9000")
    assert environment["SYNC_INVENTORY_URL"] == "http://127.0.0.1:8001"
    assert environment["KAFKA_BOOTSTRAP_SERVERS"] == "127.0.0.1:29092"
    assert environment["LAB_STOCK"] == "7"


def test_without_jaeger_nothing_is_started_in_its_place() -> None:
    """With traces off the supervisor has every part but Jaeger."""
    assert "jaeger" not in programs(STACK)
    assert {service.name for service in STACK.services} < set(programs(STACK))


def test_supervisor_reads_back_what_was_written(tmp_path: Path) -> None:
    """Commands and variables with spaces, commas, braces, quotes and percent signs come out of the file unchanged."""
    awkward = {"A": "-kernel inet_dist_use_interface {127,0,0,1}", "B": "100%", "C": "it's=so"}
    program = Program("odd", ("/opt/a b", "--x={y}"), directory=tmp_path, environment=awkward)
    parser = RawConfigParser(inline_comment_prefixes=(";", "#"))
    parser.read_string(render([program], run=tmp_path / "run", socket_path=tmp_path / "s", logs=tmp_path))
    section = parser["program:odd"]
    read = dict_of_key_value_pairs(section["environment"].replace("%%", "%"))
    assert read == {**awkward, MARK: str(tmp_path)}
    assert section["command"] == '"/opt/a b" "--x={y}"'
    assert section["autorestart"] == section["autostart"] == "false"


def test_a_value_that_the_file_cannot_hold_is_refused(tmp_path: Path) -> None:
    """A setting with a line break is named in the error instead of breaking the file."""
    program = Program("odd", ("/opt/a",), directory=tmp_path, environment={"A": "one\ntwo"})
    with pytest.raises(LabError, match="choose another value"):
        render([program], run=tmp_path, socket_path=tmp_path / "s", logs=tmp_path)
