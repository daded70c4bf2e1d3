"""The compose runtime: the containers of `compose.yaml`, driven through the `docker` program."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

from lab.console import say
from lab.errors import LabError
from lab.native.ports import require_free
from lab.native.programs import traces
from lab.paths import CHECKOUT
from lab.runtime import health
from lab.runtime.base import PartStatus
from lab.runtime.native import Part, served
from lab.stack import Stack
from lab.waiting import wait_until

PROJECT = "campus-food-lab"
PROFILES = ("--profile", "load", "--profile", "scale")
OPTIONAL = "grafana"
"""The one part that nothing else needs: the stack starts without it where its image is not to be had."""

MINIMUM_COMPOSE = (2, 23, 1)
"""The first Compose that knows the inline `content` of configs."""

START_LIMIT = 180.0
_ANSWER_LIMIT = 20.0
_UNITS = {"B": 1, "kB": 1000, "KiB": 1024, "MB": 1000**2, "MiB": 1024**2, "GB": 1000**3, "GiB": 1024**3}


@dataclass(frozen=True, slots=True)
class Container:
    """A container of the project; `pid` and `started` are None while it does not run."""

    id: str
    part: str
    state: str
    pid: int | None
    started: float | None


def _docker(*arguments: str, limit: float = _ANSWER_LIMIT) -> str:
    """What `docker` prints.

    Raises:
        LabError: It is not installed, does not answer in time, or refuses; the message ends in its own last line.
    """
    try:
        done = subprocess.run(  # noqa: S603
            [shutil.which("docker") or "docker", *arguments],
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            check=False,
            timeout=limit,
        )
    except OSError as error:
        raise LabError("Docker is not installed; install it, or use `--runtime native`.") from error
    except subprocess.TimeoutExpired as error:
        raise LabError(
            f"Docker does not answer within {limit:.0f} s; restart it, or use `--runtime native`."
        ) from error
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or ["no reason given"]
        raise LabError(f"`docker {' '.join(arguments[:2])}` failed: {said[-1]}.")
    return done.stdout


def _shown(*arguments: str) -> bool:
    """Run `docker` with its own progress on standard error; whether it succeeded."""
    sys.stderr.flush()
    command = [shutil.which("docker") or "docker", *arguments]
    return subprocess.run(command, cwd=CHECKOUT, stdout=sys.stderr, check=False).returncode == 0  # noqa: S603


def _compose(*arguments: str) -> tuple[str, ...]:
    return ("compose", "--project-name", PROJECT, *arguments)


class ComposeRuntime:
    """Runs the stack in containers of one Compose project; see `lab.runtime.base.Runtime`."""

    name = "compose"

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.parts = {part.name: part for part in self._parts()}
        self.replicas = {replica.name: served(replica, "replica") for replica in stack.replicas}

    def _parts(self) -> Iterable[Part]:
        ports = self.stack.ports
        amqp = tuple(ports[f"rabbitmq{end}"] for end in ("", "-management", "-metrics"))
        yield Part("rabbitmq", "broker", amqp, health.rabbitmq(ports["rabbitmq-management"]))
        yield Part("kafka", "broker", (ports["kafka"],), health.kafka(ports["kafka"]))
        for name, path, others in (
            ("prometheus", "/-/ready", ()),
            ("jaeger", "/api/services", (ports["jaeger-otlp-grpc"], ports["jaeger-otlp-http"])),
            ("grafana", "/api/health", ()),
        ):
            if name != "jaeger" or traces():
                check = health.http(f"http://127.0.0.1:{ports[name]}{path}")
                yield Part(name, "tool", (ports[name], *others), check)
        for tool in self.stack.tools:
            yield Part(tool.name, "tool", (tool.port,), health.http(f"http://127.0.0.1:{tool.port}/health"))
        for service in self.stack.services:
            yield served(service, "service")

    # What there is.

    def containers(self) -> dict[str, Container]:
        """The project's containers by part; of the load generators' several workers, one."""
        label = f"label=com.docker.compose.project={PROJECT}"
        ids = _docker("ps", "--all", "--quiet", "--no-trunc", "--filter", label).split()
        found = json.loads(_docker("inspect", "--type", "container", *ids)) if ids else []
        return {container.part: container for container in map(_container, found)}

    def is_running(self) -> bool:
        """Whether a container of the project runs; False where no engine answers."""
        try:
            return any(container.pid for container in self.containers().values())
        except LabError:
            return False

    def unavailable(self) -> str | None:
        """Why this runtime cannot be had here, as the reason in a sentence, or None when it can."""
        if os.environ.get("LAB_STACK"):
            return "compose.yaml runs the lab's own stack, and LAB_STACK names another"
        if reason := _engine_lacks():
            return reason
        absent = self._absent_images(needed_to_start=True)
        if absent and not _registry_has(absent[0]):
            return f"the image {absent[0]} is not here and its registry does not answer"
        return None

    def _declared(self) -> Mapping[str, Mapping[str, object]]:
        """The services of compose.yaml, without those of a profile."""
        services: dict[str, dict[str, object]] = json.loads(_docker(*_compose("config", "--format", "json")))[
            "services"
        ]
        return services

    def _absent_images(self, *, needed_to_start: bool = False) -> list[str]:
        """Images that are not on this machine; with `needed_to_start`, those that the stack cannot do without."""
        services = self._declared()
        own = {str(service["image"]) for service in services.values() if "build" in service}
        wanted = [
            str(service["image"])
            for name, service in services.items()
            if service["image"] not in own and not (needed_to_start and name == OPTIONAL)
        ]
        if needed_to_start and any(not _is_here(image) for image in own):
            wanted += _bases()
        return [image for image in dict.fromkeys(wanted) if not _is_here(image)]

    # What it does.

    def setup(self) -> None:
        """Pull the images that are missing and build the lab's own."""
        self._images()

    def _images(self) -> list[str]:
        """Have every image; returns the options of `up` that leave out what cannot be had."""
        if reason := self.unavailable():
            raise LabError(f"The compose runtime cannot be had: {reason}; mend that, or use `--runtime native`.")
        optional = str(self._declared()[OPTIONAL]["image"])
        left_out: list[str] = []
        for image in self._absent_images():
            say(f"Pulling {image}.")
            if _shown("pull", "--quiet", image):
                continue
            if image != optional:
                raise LabError(f"The image {image} cannot be pulled; check the network, or use `--runtime native`.")
            say(f"Grafana's image {image} is not to be had, so the rest starts without it.")
            left_out = ["--scale", f"{OPTIONAL}=0"]
        say("Building the lab's image; minutes the first time, seconds afterwards.")
        if not _shown(*_compose("build", "--quiet")):
            raise LabError("The lab's image cannot be built; see what the build said above.")
        return left_out

    def up(self) -> None:
        """Start what does not run, in the order of `depends_on`; return when all is healthy."""
        began = time.monotonic()
        left_out = self._images()
        running = self.containers()
        idle = [part for name, part in self.parts.items() if not (name in running and running[name].pid)]
        if not traces():
            left_out += ["--scale", "jaeger=0"]
        require_free({port: part.name for part in idle for port in part.ports if f"{part.name}=0" not in left_out})
        options = ("--detach", "--wait", "--wait-timeout", f"{START_LIMIT:.0f}", "--pull", "never", "--no-build")
        if not _shown(*_compose("up", *options, *left_out)):
            ailing = [f"{part.name} ({part.problem})" for part in self.status() if not part.healthy]
            raise LabError(
                f"The containers did not become healthy: {'; '.join(ailing) or 'see above'}; see `lab logs NAME`."
            )
        # Rules and targets may have changed in the mounted files since it was started.
        _docker(*_compose("kill", "--signal", "SIGHUP", "prometheus"))
        started = [name for name in self.containers() if name in self.parts]
        self._await(started)
        say(f"All {len(started)} parts are healthy after {time.monotonic() - began:.0f} s.")

    def down(self, *, volumes: bool = False) -> None:
        """Remove the containers, gracefully stopped; data stays in named volumes unless told otherwise."""
        if not self.containers():
            say("Nothing is running.")
        options = ("--remove-orphans", *(("--volumes",) if volumes else ()))
        if not _shown(*_compose(*PROFILES, "down", *options)):
            raise LabError("The containers cannot be removed; see what Docker said above.")

    def status(self) -> list[PartStatus]:
        """Every part with its container and its health; Grafana only where it has a container, replicas that run."""
        running = self.containers()
        with ThreadPoolExecutor(max_workers=8) as pool:
            memory = pool.submit(_memory, [one.id for one in running.values() if one.pid])
            parts = [part for part in self.parts.values() if part.name != OPTIONAL or part.name in running]
            parts += [part for name, part in self.replicas.items() if name in running and running[name].pid]
            problems = list(pool.map(lambda part: _problem(part, running.get(part.name)), parts))
            return [
                _status(part, running.get(part.name), problem, memory.result())
                for part, problem in zip(parts, problems, strict=True)
            ]

    def logs(self, part: str, *, follow: bool = False, lines: int = 100) -> None:
        """Hand over to `docker compose logs`."""
        self._known(part)
        sys.stdout.flush()
        options = ("--no-log-prefix", "--no-color", "--tail", str(lines), *(("--follow",) if follow else ()))
        command = [shutil.which("docker") or "docker", *_compose("logs", *options, part)]
        subprocess.run(command, cwd=CHECKOUT, check=False)  # noqa: S603

    def stop(self, part: str) -> None:
        """Stop a container by SIGTERM; its grace period is compose.yaml's."""
        _docker("stop", self._container(part).id, limit=60)

    def start(self, part: str) -> None:
        """Start a container, without those it depends on; one that runs is only waited for."""
        if part in self.replicas and part not in self.containers():
            # `up` makes no containers for them.
            _docker(*_compose("up", "--detach", "--no-deps", "--no-build", "--pull", "never", part), limit=60)
        _docker("start", self._container(part).id, limit=60)
        self._await([part])

    def kill(self, part: str) -> None:
        """End a container by SIGKILL and return when the engine has seen it."""
        container = self._container(part)
        if container.pid is None:
            raise LabError(f"{part} is not running; start it with `lab start {part}`.")
        _docker("kill", container.id)
        wait_until(
            lambda: "it still runs" if self._container(part).pid else None,
            limit=10,
            what=f"The end of {part}",
            interval=0.05,
        )

    def resident_memory(self) -> int:
        """Resident bytes of all the project's containers, without the file cache."""
        return sum(_memory([one.id for one in self.containers().values() if one.pid]).values())

    def _known(self, part: str) -> Part:
        known = self.parts | self.replicas
        if part not in known:
            raise LabError(f"There is no part {part!r}; the parts are {', '.join(known)}.")
        return known[part]

    def _container(self, part: str) -> Container:
        self._known(part)
        found = self.containers()
        if part not in found:
            raise LabError(f"{part} has no container; start the lab with `lab up`.")
        return found[part]

    def _await(self, names: Sequence[str]) -> None:
        """Wait until these parts are healthy as seen from this machine.

        Raises:
            LabError: One ended or is not healthy within the limit.
        """

        def look() -> str | None:
            found = self.containers()
            ended = [name for name in names if not (name in found and found[name].pid)]
            if ended:
                raise LabError(f"{', '.join(ended)} ended; see `lab logs {ended[0]}`.")
            problems = {name: self._known(name).check() for name in names}
            return "; ".join(f"{name}: {problem}" for name, problem in problems.items() if problem) or None

        wait_until(look, limit=START_LIMIT, what=f"Health of {', '.join(names)}", hint="see `lab logs NAME`")


def _engine_lacks() -> str | None:
    """Why the engine cannot run the project, or None when it can."""
    if shutil.which("docker") is None:
        return "Docker is not installed"
    try:
        _docker("version", "--format", "{{.Server.Version}}")
    except LabError:
        return "no Docker Engine answers"
    try:
        version = _docker("compose", "version", "--short")
    except LabError:
        return "this Docker has no Compose"
    if tuple(int(part) for part in re.findall(r"\d+", version)[:3]) < MINIMUM_COMPOSE:
        return f"Compose {version.strip()} is older than {'.'.join(map(str, MINIMUM_COMPOSE))}"
    return None


def _container(inspected: Mapping[str, object]) -> Container:
    state, config = inspected["State"], inspected["Config"]
    assert isinstance(state, dict)  # noqa: S101 - the engine's API says so
    assert isinstance(config, dict)  # noqa: S101
    runs = bool(state["Running"])
    return Container(
        id=str(inspected["Id"]),
        part=config["Labels"]["com.docker.compose.service"],
        state=state["Status"],
        pid=int(state["Pid"]) if runs else None,
        # Nanoseconds are more than a datetime holds.
        started=datetime.fromisoformat(re.sub(r"\.\d+", "", state["StartedAt"])).timestamp() if runs else None,
    )


def _problem(part: Part, container: Container | None) -> str | None:
    if container is None or container.pid is None:
        return f"not running ({container.state if container else 'no container'})"
    return part.check()


def _status(part: Part, container: Container | None, problem: str | None, memory: Mapping[str, int]) -> PartStatus:
    if container is None or container.pid is None or container.started is None:
        return PartStatus(part.name, part.kind, None, None, None, part.ports[0], problem)
    uptime = max(0.0, time.time() - container.started)
    return PartStatus(part.name, part.kind, container.pid, uptime, memory.get(container.id), part.ports[0], problem)


def _memory(ids: Sequence[str]) -> dict[str, int]:
    """Bytes that each of these containers holds, by id."""
    if not ids:
        return {}
    told = _docker("stats", "--no-stream", "--no-trunc", "--format", "{{.ID}} {{.MemUsage}}", *ids)
    used = (re.match(r"(\w+) ([\d.]+)(\w+)", line) for line in told.splitlines())
    return {one[1]: round(float(one[2]) * _UNITS[one[3]]) for one in used if one}


def _is_here(image: str) -> bool:
    try:
        _docker("image", "inspect", "--format", "{{.Id}}", image)
    except LabError:
        return False
    return True


def _bases() -> list[str]:
    """The images that the Dockerfile starts from."""
    text = (CHECKOUT / "Dockerfile").read_text()
    arguments = dict(re.findall(r"^ARG (\w+)=(\S+)$", text, re.M))
    named = re.findall(r"^FROM (\S+)", text, re.M)
    return [re.sub(r"\$\{(\w+)\}", lambda name: arguments[name[1]], image) for image in named]


def _registry_has(image: str) -> bool:
    try:
        _docker("manifest", "inspect", image)
    except LabError:
        return False
    return True
