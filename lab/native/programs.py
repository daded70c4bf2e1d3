"""The programs that the native runtime starts: where they are, or that they are missing."""

import hashlib
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from lab.errors import LabError
from lab.paths import CHECKOUT, cache

KAFKA_POM = Path(__file__).with_name("kafka-pom.xml")
JAEGER_MODULE = CHECKOUT / "observability/jaeger"
MINIMUM_JAVA = 17


def search_path() -> str:
    """PATH, and beside each of its `bin` folders the `sbin` that an ordinary user's PATH leaves out."""
    folders: list[str] = []
    for entry in os.environ.get("PATH", os.defpath).split(os.pathsep):
        folder = Path(entry)
        folders += [entry, str(folder.with_name("sbin"))] if folder.name == "bin" else [entry]
    return os.pathsep.join(dict.fromkeys(folders))


def which(name: str) -> Path | None:
    """The program of that name, or None."""
    found = shutil.which(name, path=search_path())
    return Path(found) if found else None


def kafka_jars() -> Path:
    """The folder in the cache of Kafka's jars; its name follows the pinned versions."""
    return cache() / f"kafka-{_digest(KAFKA_POM)}"


def jaeger_binary() -> Path:
    """The file in the cache of the Jaeger built here; its folder's name follows the pinned versions."""
    return cache() / f"jaeger-{_digest(JAEGER_MODULE / 'go.mod', JAEGER_MODULE / 'go.sum')}" / "jaeger"


def _digest(*files: Path) -> str:
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]


def rabbitmq_server() -> Path | None:
    """The script that starts a RabbitMQ node as whoever calls it.

    Distributions put a wrapper on PATH that insists on its own user; the script it wraps lies beside it.
    """
    found = which("rabbitmq-server")
    if found is None:
        return None
    beside = found.resolve().with_name("rabbitmq-server")
    return beside if beside.exists() else found


def epmd() -> Path | None:
    """Erlang's port mapper: on PATH, else where the Erlang that is on PATH keeps it."""
    if (found := which("epmd")) is not None:
        return found
    erl = which("erl")
    if erl is None:
        return None
    return next(iter(sorted(erl.resolve().parent.parent.rglob("bin/epmd"))), None)


def java() -> Path | None:
    """A Java runtime of version 17 or later, from JAVA_HOME or PATH."""
    home = os.environ.get("JAVA_HOME")
    for found in (Path(home) / "bin/java" if home else None, which("java")):
        if found is not None and found.exists() and _java_version(found) >= MINIMUM_JAVA:
            return found
    return None


def _java_version(program: Path) -> int:
    done = subprocess.run([program, "-version"], capture_output=True, text=True, check=False)  # noqa: S603
    found = re.search(r'version "(\d+)', done.stderr)
    return int(found[1]) if found else 0


@dataclass(frozen=True, slots=True)
class Kafka:
    """The command lines of Kafka's broker and storage tool, without their arguments."""

    server: tuple[str, ...]
    storage: tuple[str, ...]


# Kafka's own scripts read the same settings from KAFKA_HEAP_OPTS and KAFKA_JVM_PERFORMANCE_OPTS.
KAFKA_HEAP = "-Xms128m -Xmx256m"
KAFKA_JVM = "-XX:+UseSerialGC -XX:ReservedCodeCacheSize=96m -Xss512k"


def kafka() -> Kafka | None:
    """Kafka by its scripts on PATH, else by the cache's jars and a Java runtime; None without either."""
    for suffix in (".sh", ""):
        server, storage = which(f"kafka-server-start{suffix}"), which(f"kafka-storage{suffix}")
        if server and storage:
            return Kafka((str(server),), (str(storage),))
    runtime = java()
    if runtime is None or not kafka_jars().is_dir():
        return None
    log4j = Path(__file__).with_name("log4j2.xml")
    base = (str(runtime), "-cp", f"{kafka_jars()}/*", f"-Dlog4j2.configurationFile={log4j}")
    return Kafka(
        server=(*base, *KAFKA_HEAP.split(), *KAFKA_JVM.split(), "kafka.Kafka"),
        storage=(*base, "-Xmx64m", "-XX:TieredStopAtLevel=1", "kafka.tools.StorageTool"),
    )


def jaeger() -> Path | None:
    """Jaeger 2 from PATH, else the one built into the cache."""
    return which("jaeger") or (jaeger_binary() if jaeger_binary().exists() else None)


def traces() -> bool:
    """Whether traces are wanted: `LAB_TRACES` is not `off`."""
    return os.environ.get("LAB_TRACES", "on").lower() != "off"


@dataclass(frozen=True, slots=True)
class Programs:
    """Every program that the native runtime needs; `jaeger` is None when traces are off."""

    rabbitmq: Path
    epmd: Path
    kafka: Kafka
    prometheus: Path
    jaeger: Path | None


def missing() -> list[str]:
    """The names of what has to be installed: rabbitmq, kafka, prometheus, jaeger."""
    found = {
        "rabbitmq": rabbitmq_server() and epmd(),
        "kafka": kafka(),
        "prometheus": which("prometheus"),
        "jaeger": jaeger() if traces() else "off",
    }
    return [name for name, program in found.items() if not program]


def found() -> Programs:
    """Every program, all present.

    Raises:
        LabError: One is missing.
    """
    rabbitmq, mapper, broker, prometheus = rabbitmq_server(), epmd(), kafka(), which("prometheus")
    tracer = jaeger() if traces() else None
    if not (rabbitmq and mapper and broker and prometheus) or (traces() and tracer is None):
        raise LabError(f"Missing on this machine: {', '.join(missing())}; run `make setup`.")
    return Programs(rabbitmq=rabbitmq, epmd=mapper, kafka=broker, prometheus=prometheus, jaeger=tracer)
