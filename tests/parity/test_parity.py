"""Compose and the native runtime start the same parts with the same settings, from the same files."""

import copy
import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from lab.native import config
from lab.paths import CHECKOUT
from lab.runtime.compose import PROJECT, ComposeRuntime
from lab.runtime.native import NativeRuntime
from lab.stack import stack
from observability.prometheus.config import COMPOSE_FILE, in_compose
from services.common.settings import Settings
from tests.parity.compose_file import COMPOSE_ALONE, NATIVE_ALONE, Compose, differences, published, read

COMPOSE = read()
SERVICES: dict[str, Compose] = COMPOSE["services"]
OWN = {name: service for name, service in SERVICES.items() if service["image"].startswith("campus-food-lab:")}


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables of whoever runs the tests must not decide them."""
    for name in (*_passed_on(), "LAB_RABBITMQ_USER", "LAB_RABBITMQ_PASSWORD", "LAB_LOG_FORMAT", "LAB_STACK"):
        monkeypatch.delenv(name, raising=False)


def _passed_on() -> list[str]:
    return [name for name, value in COMPOSE["x-own-environment"].items() if value is None]


def test_both_runtimes_start_the_same() -> None:
    """Parts, modules, ports and variables are the same in compose.yaml and in the native runtime."""
    assert differences(COMPOSE, stack()) == []


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        (lambda s: s.pop("async-inventory"), "async-inventory is started by native alone"),
        (lambda s: s.update(extra={"image": "x"}), "extra is started by compose alone"),
        (lambda s: s["sync-order"].update(command=["python", "-m", "services.other"]), "sync-order runs"),
        (lambda s: s["sync-order"].update(ports=["127.0.0.1:8050:8000"]), "sync-order publishes"),
        (lambda s: s["sync-order"].update(ports=["8000:8000", "127.0.0.1:9000:9000"]), "sync-order publishes"),
        (lambda s: s["sync-order"]["environment"].update(LAB_PORT="8050"), "sync-order has LAB_PORT=8050"),
        (lambda s: s["sync-order"]["environment"].update(LAB_STOCK="7"), "sync-order has LAB_STOCK=7"),
        (lambda s: s["sync-order"]["environment"].pop("KAFKA_BOOTSTRAP_SERVERS"), "KAFKA_BOOTSTRAP_SERVERS=None"),
        (lambda s: s["rabbitmq"].update(ports=[]), "rabbitmq publishes"),
        (lambda s: s["kafka"]["environment"].update(KAFKA_HEAP_OPTS="-Xmx2g"), "kafka has KAFKA_HEAP_OPTS"),
        (lambda s: s["prometheus"]["command"].remove("--web.enable-lifecycle"), "prometheus lacks"),
        (lambda s: s["jaeger"]["environment"].update(GOMEMLIMIT="1MiB"), "jaeger has GOMEMLIMIT"),
    ],
)
def test_a_change_in_one_place_only_is_found(changed: Callable[[dict[str, Any]], object], expected: str) -> None:
    """The comparison is no formality: one part, port or variable changed in compose.yaml alone is named."""
    other = copy.deepcopy(COMPOSE)
    changed(other["services"])
    assert any(expected in difference for difference in differences(other, stack()))


def test_every_setting_of_a_service_can_be_given_to_both(monkeypatch: pytest.MonkeyPatch) -> None:
    """What compose passes on from the shell the native runtime passes on too, and no setting is forgotten."""
    for name in _passed_on():
        monkeypatch.setenv(name, "7")
    native = config.python_environment(stack(), stack().services[0])
    assert {name for name in _passed_on() if native.get(name) != "7"} == set()
    # One database for all would be no database per service; which instance it is, no user says.
    aliases = {str(field.alias) for field in Settings.model_fields.values()} - {"DATABASE_URL", "LAB_INSTANCE"}
    assert aliases - set(SERVICES["sync-order"]["environment"]) == set()


def test_the_command_line_knows_the_same_parts() -> None:
    """`lab status` lists the same parts, kinds and ports over either runtime, but for what only one of them needs."""
    native, compose = NativeRuntime(stack()), ComposeRuntime(stack())
    assert {n: (p.kind, p.ports[0]) for n, p in native.parts.items() if n not in NATIVE_ALONE} == {
        n: (p.kind, p.ports[0]) for n, p in compose.parts.items() if n not in COMPOSE_ALONE
    }
    assert native.replicas.keys() == compose.replicas.keys() == {replica.name for replica in stack().replicas}
    assert COMPOSE["name"] == PROJECT


def test_prometheus_scrapes_the_same_jobs() -> None:
    """The committed file is what the stack file gives, and its jobs are those of the native runtime."""
    text = COMPOSE_FILE.read_text()
    assert text == in_compose(stack()), "run `python -m observability.prometheus.config`"
    assert re.findall(r"job_name: (\S+)", text) == list(config.scrape_targets(stack()))
    for host, port in re.findall(r'"([\w-]+):(\d+)"', text):
        assert host == "localhost" or int(port) in published(SERVICES[host])


def test_the_same_broker_files_are_mounted() -> None:
    """The servers read the native runtime's own files, which exist, and can write none of them."""
    mounted = [
        volume.split(":")
        for service in SERVICES.values()
        for volume in service.get("volumes", [])
        if volume.startswith("./") and not volume.startswith("./observability/grafana")
    ]
    assert {source for source, *_ in mounted} == {
        "./services/async_rabbitmq/rabbitmq.conf",
        "./services/async_rabbitmq/advanced.config",
        "./services/async_rabbitmq/enabled_plugins",
        "./services/async_rabbitmq/definitions.json",
        "./services/streaming_kafka/server.properties",
        "./observability/prometheus/compose.yml",
        "./observability/prometheus/rules",
        "./observability/jaeger/jaeger.yaml",
    }
    assert all((CHECKOUT / source).exists() for source, *_ in mounted)
    assert all(mode == ["ro"] for _, _, *mode in mounted)


def test_rabbitmq_has_the_same_user() -> None:
    """The user in compose's definitions is the one that the native runtime defines."""
    assert json.loads(COMPOSE["configs"]["rabbitmq-user"]["content"]) == json.loads(config.users_definition())


def test_versions_are_those_of_the_native_runtime() -> None:
    """Kafka and Jaeger are the versions that the native runtime installs; Jaeger 2.13 is its Go module 1.76."""
    pom = (CHECKOUT / "lab/native/kafka-pom.xml").read_text()
    assert f"<kafka.version>{SERVICES['kafka']['image'].partition(':')[2]}<" in pom
    module = (CHECKOUT / "observability/jaeger/go.mod").read_text()
    assert "github.com/jaegertracing/jaeger v1.76.0" in module
    assert SERVICES["jaeger"]["image"] == "jaegertracing/jaeger:2.13.0"


def test_images_are_pinned_by_version() -> None:
    """Each image, those of the Dockerfile too, has a tag that begins with a version."""
    bases = re.findall(r"^FROM (\S+:\S+)", (CHECKOUT / "Dockerfile").read_text().replace("${PYTHON}", "3.13"), re.M)
    images = {service["image"] for service in SERVICES.values()} | set(bases)
    assert len(images) >= 8
    assert {image for image in images if not re.search(r":v?\d+\.\d+[\w.-]*$", image)} == set()


def test_containers_have_no_more_rights_than_they_need() -> None:
    """No container has a capability or can gain one; the lab's own have a read-only root and their image's user."""
    for name, service in SERVICES.items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert not {"cap_add", "privileged", "network_mode", "pid"} & set(service), name
        assert len(published(service)) == len(service.get("ports", [])), f"{name} is open to the network"
    assert len(OWN) == 17
    assert all(service["read_only"] and "user" not in service for service in OWN.values())
    assert re.findall(r"^USER (\S+)", (CHECKOUT / "Dockerfile").read_text(), re.M) == ["lab"]


def test_memory_limits_add_up_to_four_gigabytes_at_most() -> None:
    """Every container has a limit, and all of them fit in 4 GB, with the load generators or with the replicas."""
    limits = {
        name: int(re.fullmatch(r"(\d+)m", service["mem_limit"])[1]) * service.get("scale", 1)  # type: ignore[index]
        for name, service in SERVICES.items()
    }
    for profile in ("load", "scale"):
        together = {
            name: limit for name, limit in limits.items() if set(SERVICES[name].get("profiles", [])) <= {profile}
        }
        assert sum(together.values()) <= 4096, (profile, together)


def test_everything_that_stays_up_says_whether_it_is_healthy() -> None:
    """Each part has a health check, and what needs a broker waits for it to be healthy."""
    without = {name for name, service in SERVICES.items() if service["healthcheck"].get("disable")}
    assert without == {"kafka-topics", "locust-worker"}
    for name, service in SERVICES.items():
        awaited = service.get("depends_on", {})
        if name.startswith("async-"):
            assert awaited == {"rabbitmq": {"condition": "service_healthy"}}
        if name.startswith("streaming-"):
            assert awaited["kafka-topics"] == {"condition": "service_completed_successfully"}
