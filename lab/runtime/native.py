"""The native runtime: programs of this machine under a supervisor, without Docker."""

import contextlib
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import httpx
import psutil

from lab import paths
from lab.console import say
from lab.errors import LabError
from lab.native import config, install, programs
from lab.native.ports import require_free
from lab.native.supervisor import ALIVE, Supervisor
from lab.runtime import health, topics
from lab.runtime.base import Kind, PartStatus
from lab.stack import Service, Stack
from lab.waiting import Check, wait_until

START_LIMIT = 90.0


@dataclass(frozen=True, slots=True)
class Part:
    """A supervised program, its ports (it is reached on the first) and how its health is seen."""

    name: str
    kind: Kind
    ports: tuple[int, ...]
    check: Check


def served(service: Service, kind: Kind) -> Part:
    """A service as a part."""
    url = f"http://127.0.0.1:{service.port}/health"
    return Part(service.name, kind, (service.port, service.metrics_port), health.http(url))


class NativeRuntime:
    """Runs the stack under a supervisord of its own, one per lab home; see `lab.runtime.base.Runtime`."""

    name = "native"

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.supervisor = Supervisor(paths.home())
        self.parts = {part.name: part for part in self._parts()}
        self.replicas = {replica.name: served(replica, "replica") for replica in stack.replicas}

    def _parts(self) -> Iterable[Part]:
        ports = self.stack.ports
        yield Part("epmd", "broker", (ports["epmd"],), health.tcp(ports["epmd"]))
        yield Part(
            "rabbitmq",
            "broker",
            tuple(ports[f"rabbitmq{end}"] for end in ("", "-management", "-metrics", "-distribution")),
            health.rabbitmq(ports["rabbitmq-management"]),
        )
        yield Part("kafka", "broker", (ports["kafka"], ports["kafka-controller"]), health.kafka(ports["kafka"]))
        prometheus = ports["prometheus"]
        yield Part("prometheus", "tool", (prometheus,), health.http(f"http://127.0.0.1:{prometheus}/-/ready"))
        if programs.traces():
            jaeger = tuple(ports[f"jaeger{end}"] for end in ("", "-grpc", "-otlp-grpc", "-otlp-http"))
            yield Part("jaeger", "tool", jaeger, health.http(f"http://127.0.0.1:{jaeger[0]}/api/services"))
        for tool in self.stack.tools:
            yield Part(tool.name, "tool", (tool.port,), health.http(f"http://127.0.0.1:{tool.port}/health"))
        for service in self.stack.services:
            yield served(service, "service")

    def setup(self) -> None:
        """Install the programs that are missing."""
        install.ensure()

    def up(self) -> None:
        """Start brokers, topology, then everything else; return when all is healthy."""
        began = time.monotonic()
        install.ensure()
        found = programs.found()
        config.write(self.stack)
        self._require_free(self.supervisor.processes())
        self.supervisor.ensure(config.programs(self.stack, found))
        idle = self._idle()
        if not idle:
            say("Everything was started before; checking its health.")
        self._format_kafka(found.kafka.storage)
        self._start([name for name in ("epmd",) if name in idle])
        self._start([part for part in idle if self.parts[part].kind != "service" and part != "epmd"], wait=False)
        self._await(["rabbitmq"])
        created = topics.create(f"127.0.0.1:{self.stack.ports['kafka']}", limit=START_LIMIT)
        say(f"Kafka: {'topics ' + ', '.join(created) + ' created' if created else 'all topics are there'}.")
        self._start([part for part in idle if self.parts[part].kind == "service"], wait=False)
        self._await(list(self.parts))
        self._reload_prometheus()
        say(f"All {len(self.parts)} parts are healthy after {time.monotonic() - began:.0f} s.")

    def _idle(self) -> list[str]:
        known = self.supervisor.processes()
        return [name for name in self.parts if known.get(name, {}).get("statename") not in ALIVE]

    def _require_free(self, known: dict[str, dict[str, object]], only: Iterable[str] | None = None) -> None:
        wanted = {
            port: part.name
            for part in (self.parts.values() if only is None else map(self._known, only))
            if known.get(part.name, {}).get("statename") not in ALIVE
            for port in part.ports
        }
        require_free(wanted)

    def _format_kafka(self, storage: Sequence[str]) -> None:
        """Give Kafka's data folder the identity that a KRaft node wants before its first start."""
        data = paths.data() / "kafka"
        if (data / "meta.properties").exists():
            return
        say("Kafka: formatting its storage.")
        # The cluster's id is any 16 bytes in base64; a lab's is always the same.
        arguments = ("format", "--cluster-id", "Y2FtcHVzLWZvb2QtbGFiMQ", "--config")
        done = subprocess.run(  # noqa: S603
            [*storage, *arguments, str(paths.home() / "etc/server.properties")],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            said = (done.stderr.strip() or done.stdout.strip()).splitlines()
            raise LabError(
                f"Kafka's storage in {data} cannot be formatted ({said[-1] if said else 'no reason given'})."
            )

    def _start(self, names: list[str], *, wait: bool = True) -> None:
        if not names:
            return
        say(f"Starting {', '.join(names)}.")
        self.supervisor.start(names)
        if wait:
            self._await(names)

    def _await(self, names: list[str]) -> None:
        """Wait until these parts are healthy, reporting each as it comes.

        Raises:
            LabError: One ended or is not healthy within the limit; the message names it and its log.
        """
        pending = list(names)
        problems: dict[str, str] = {}

        def look() -> str | None:
            known = self.supervisor.processes()
            for name in pending:
                state = known.get(name, {}).get("statename")
                if state not in ALIVE:
                    raise LabError(f"{name} ended{_manner(known.get(name))}{self._last_words(name)}")
            with ThreadPoolExecutor(max_workers=4) as pool:
                found = dict(zip(pending, pool.map(lambda name: self._known(name).check(), pending), strict=True))
            for name in [name for name in pending if found[name] is None]:
                pending.remove(name)
                if len(names) > 1 or name in ("rabbitmq", "kafka"):
                    say(f"  {name} is healthy ({len(names) - len(pending)} of {len(names)}).")
            problems.clear()
            problems.update({name: problem for name, problem in found.items() if problem})
            return "; ".join(f"{name}: {problem}" for name, problem in problems.items()) or None

        wait_until(
            look,
            limit=START_LIMIT,
            what=lambda: f"Health of {', '.join(pending)}",
            hint=f"see `lab logs {names[0] if len(names) == 1 else 'NAME'}`",
            interval=0.5,
        )

    def _last_words(self, name: str) -> str:
        log = self.supervisor.logs / f"{name}.log"
        lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
        said = f", saying last {lines[-1].strip()[:300]!r}" if lines else ""
        return f"{said}; see `lab logs {name}`."

    def _reload_prometheus(self) -> None:
        try:
            reply = httpx.post(
                f"http://127.0.0.1:{self.stack.ports['prometheus']}/-/reload", timeout=10, trust_env=False
            )
        except httpx.HTTPError as error:
            raise LabError(f"Prometheus took no new configuration ({error}); see `lab logs prometheus`.") from error
        if not reply.is_success:
            raise LabError(f"Prometheus refused its configuration: {reply.text.strip()}.")

    def down(self, *, volumes: bool = False) -> None:
        """Stop services and tools together, then the brokers, then the supervisor."""
        if self.supervisor.is_running():
            known = self.supervisor.processes()
            alive = [name for name, entry in known.items() if entry["statename"] in ALIVE]
            brokers = [name for name in ("rabbitmq", "kafka") if name in alive]
            for group in (
                [n for n in alive if n not in ("epmd", *brokers)],
                brokers,
                [n for n in alive if n == "epmd"],
            ):
                if group:
                    say(f"Stopping {', '.join(group)}.")
                    self.supervisor.stop(group)
            self.supervisor.shutdown()
        elif orphans := self.supervisor.end_orphans():
            say(f"Ended what an earlier run had left behind: {', '.join(orphans)}.")
        else:
            say("Nothing is running.")
        if volumes:
            for folder in (paths.data(), paths.logs()):
                shutil.rmtree(folder, ignore_errors=True)
            say(f"Removed {paths.data()} and {paths.logs()}.")

    def status(self) -> list[PartStatus]:
        """Every part, and each replica that runs, with its process and its health."""
        known = self.supervisor.processes()
        running = [part for part in self.replicas.values() if known.get(part.name, {}).get("statename") in ALIVE]
        parts = [*self.parts.values(), *running]
        with ThreadPoolExecutor(max_workers=8) as pool:
            return list(pool.map(lambda part: self._status(part, known.get(part.name)), parts))

    def _status(self, part: Part, entry: dict[str, object] | None) -> PartStatus:
        if entry is None or entry["statename"] not in ALIVE:
            state = "stopped" if entry is None else str(entry["statename"]).lower()
            return PartStatus(part.name, part.kind, None, None, None, part.ports[0], f"not running ({state})")
        pid = int(str(entry["pid"]))
        uptime = float(str(entry["now"])) - float(str(entry["start"]))
        memory = sum(_resident(process) for process in _tree(pid))
        return PartStatus(part.name, part.kind, pid, uptime, memory, part.ports[0], part.check())

    def _known(self, part: str) -> Part:
        known = self.parts | self.replicas
        if part not in known:
            raise LabError(f"There is no part {part!r}; the parts are {', '.join(known)}.")
        return known[part]

    def _entry(self, part: str) -> dict[str, object]:
        self._known(part)
        processes = self.supervisor.processes()
        if part not in processes:
            raise LabError("The lab is not running; start it with `lab up`.")
        return processes[part]

    def logs(self, part: str, *, follow: bool = False, lines: int = 100) -> None:
        """Hand the log file to `tail`, which also follows it over a rotation."""
        self._known(part)
        log = self.supervisor.logs / f"{part}.log"
        if not log.exists():
            raise LabError(f"{part} has no log yet; start it with `lab up`.")
        tail = shutil.which("tail") or "tail"
        sys.stdout.flush()
        subprocess.run([tail, "-n", str(lines), *(["-F"] if follow else []), str(log)], check=False)  # noqa: S603

    def stop(self, part: str) -> None:
        """Stop a part by SIGTERM."""
        self._entry(part)
        self.supervisor.stop([part])

    def start(self, part: str) -> None:
        """Start a part; one that runs is only waited for."""
        if self._entry(part)["statename"] not in ALIVE:
            self._require_free(self.supervisor.processes(), only=[part])
            self.supervisor.start([part])
        self._await([part])

    def kill(self, part: str) -> None:
        """End a part's processes by SIGKILL and return when the supervisor has seen it."""
        entry = self._entry(part)
        if entry["statename"] not in ALIVE:
            raise LabError(f"{part} is not running; start it with `lab start {part}`.")
        for process in _tree(int(str(entry["pid"]))):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

        def still_there() -> str | None:
            state = self.supervisor.processes()[part]["statename"]
            return state if state in ALIVE else None

        wait_until(still_there, limit=10, what=f"The end of {part}", interval=0.05)

    def is_running(self) -> bool:
        """Whether the supervisor of the stack's parts runs."""
        return self.supervisor.is_running()

    def resident_memory(self) -> int:
        """Resident bytes of the supervisor and all below it."""
        pidfile = self.supervisor.run / "supervisord.pid"
        if not self.supervisor.is_running() or not pidfile.exists():
            return 0
        return sum(_resident(process) for process in _tree(int(pidfile.read_text())))


def _manner(entry: dict[str, object] | None) -> str:
    """How a process ended, as far as the supervisor knows; it has no exit status for one that a signal ended."""
    status = int(str(entry["exitstatus"])) if entry else 0
    return f" with exit status {status}" if status > 0 else " by a signal" if status < 0 else ""


def _tree(pid: int) -> list[psutil.Process]:
    """The process and all below it, the top first; none when it is gone."""
    try:
        top = psutil.Process(pid)
        return [top, *top.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _resident(process: psutil.Process) -> int:
    try:
        memory = process.memory_full_info()
        return int(getattr(memory, "pss", memory.rss))
    except psutil.Error:
        return 0
