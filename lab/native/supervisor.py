"""supervisord: its configuration file, and its control over XML-RPC."""

import contextlib
import hashlib
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xmlrpc.client import Fault, ServerProxy

import psutil
from supervisor.xmlrpc import SupervisorTransport

from lab.console import say
from lab.errors import LabError
from lab.waiting import wait_until

RUNNING = "RUNNING"
ALIVE = frozenset({"STARTING", "RUNNING", "STOPPING"})
# supervisor.xmlrpc.Faults: the state asked for is there already.
ALREADY_STARTED, NOT_RUNNING = 60, 70
# Every supervised process carries its lab home in this variable, by which it is known should the supervisor be killed.
MARK = "CAMPUS_LAB_SUPERVISED_FOR"


@dataclass(frozen=True, slots=True)
class Program:
    """A process to supervise; it is started only when asked for and stays down once it ended.

    Attributes:
        name: The part's name.
        command: The argument list.
        environment: Variables on top of those of whoever starts the supervisor.
        directory: The working directory.
        stop_seconds: How long it may take to end after SIGTERM before SIGKILL.
    """

    name: str
    command: tuple[str, ...]
    directory: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    stop_seconds: int = 10


def _value(text: str) -> str:
    """The text as the configuration file has it, quoted for an environment or a command."""
    if any(mark in text for mark in ("\n", '"', " ;", " #")):
        raise LabError(f"The setting {text!r} holds a character that cannot be passed on; choose another value.")
    return '"' + text.replace("%", "%%") + '"'


def render(programs: Iterable[Program], *, run: Path, socket_path: Path, logs: Path) -> str:
    """The text of supervisord.conf.

    Args:
        programs: What to supervise.
        run: The folder of the supervisor's own pid file.
        socket_path: Where it listens for XML-RPC.
        logs: The folder of the log files, one per program, rotated at 5 MB.
    """
    sections = [
        f"""[unix_http_server]
file={socket_path}
chmod=0700

[supervisord]
logfile={logs}/supervisord.log
logfile_maxbytes=1MB
logfile_backups=1
pidfile={run}/supervisord.pid
childlogdir={logs}
nocleanup=true

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
"""
    ]
    for program in programs:
        marked = {**program.environment, MARK: str(run.parent)}
        environment = ",".join(f"{name}={_value(value)}" for name, value in sorted(marked.items()))
        sections.append(f"""[program:{program.name}]
command={" ".join(_value(word) for word in program.command)}
environment={environment}
directory={program.directory}
autostart=false
autorestart=false
startsecs=1
startretries=0
stopsignal=TERM
stopwaitsecs={program.stop_seconds}
killasgroup=true
redirect_stderr=true
stdout_logfile={logs}/{program.name}.log
stdout_logfile_maxbytes=5MB
stdout_logfile_backups=2
""")
    return "\n".join(sections)


class Supervisor:
    """One supervisord, known by the lab home it serves; it outlives the command that started it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.run = home / "run"
        self.logs = home / "logs"
        # A Unix socket's path is limited to about 100 bytes, which a deep checkout exceeds.
        key = hashlib.sha256(str(home).encode()).hexdigest()[:12]
        self.socket = Path(tempfile.gettempdir()) / f"campus-lab-{os.getuid()}-{key}" / "s"
        self.configuration = self.run / "supervisord.conf"

    def _rpc(self) -> Any:
        proxy = ServerProxy("http://localhost", transport=SupervisorTransport(None, None, f"unix://{self.socket}"))
        return proxy.supervisor

    def is_running(self) -> bool:
        """Whether a supervisor answers for this home."""
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(5)
            try:
                probe.connect(str(self.socket))
            except OSError:
                return False
        return True

    def ensure(self, programs: Iterable[Program]) -> None:
        """Have a supervisor that knows exactly these programs; what changed is stopped, nothing is started.

        Raises:
            LabError: It does not start.
        """
        for folder in (self.run, self.logs):
            folder.mkdir(parents=True, exist_ok=True)
        self.socket.parent.mkdir(mode=0o700, exist_ok=True)
        if self.socket.parent.stat().st_uid != os.getuid():
            raise LabError(
                f"{self.socket.parent} belongs to another user; remove it or set TMPDIR to a folder of yours."
            )
        text = render(programs, run=self.run, socket_path=self.socket, logs=self.logs)
        # Values may be secrets (LAB_ADMIN_TOKEN), so the file is the user's alone.
        self.configuration.touch(mode=0o600)
        self.configuration.write_text(text)
        if self.is_running():
            self._reload()
            return
        done = subprocess.run(  # noqa: S603
            [sys.executable, "-m", "supervisor.supervisord", "-c", str(self.configuration)],
            cwd=self.home,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise LabError(f"The supervisor did not start ({(done.stderr or done.stdout).strip()[-300:]}).")
        wait_until(
            lambda: None if self.is_running() else "no answer",
            limit=15,
            what="The supervisor",
            hint=f"see {self.logs}/supervisord.log",
        )

    def _reload(self) -> None:
        rpc = self._rpc()
        added, changed, removed = rpc.reloadConfig()[0]
        if changed:
            say(f"Settings changed, so these start anew: {', '.join(changed)}.")
        self.stop((*changed, *removed))
        for name in (*changed, *removed):
            rpc.removeProcessGroup(name)
        for name in (*added, *changed):
            rpc.addProcessGroup(name)

    def processes(self) -> dict[str, dict[str, Any]]:
        """What supervisord knows of each program (statename, pid, start, now); empty when it does not run."""
        if not self.is_running():
            return {}
        return {entry["name"]: entry for entry in self._rpc().getAllProcessInfo()}

    def start(self, names: Iterable[str]) -> None:
        """Spawn these programs and return without waiting for them.

        Raises:
            LabError: One cannot be spawned.
        """
        rpc = self._rpc()
        for name in names:
            try:
                rpc.startProcess(name, False)
            except Fault as fault:
                if fault.faultCode != ALREADY_STARTED:
                    raise LabError(
                        f"{name} cannot be started ({fault.faultString}); see {self.logs}/{name}.log."
                    ) from fault

    def stop(self, names: Iterable[str]) -> None:
        """End these programs together and wait: SIGTERM, and SIGKILL after each one's limit."""
        rpc = self._rpc()
        waiting = list(names)
        if not waiting:
            return
        for name in waiting:
            try:
                rpc.stopProcess(name, False)
            except Fault as fault:
                if fault.faultCode != NOT_RUNNING:
                    raise LabError(f"{name} cannot be stopped ({fault.faultString}).") from fault

        def still_up() -> str | None:
            known = self.processes()
            alive = [name for name in waiting if known.get(name, {}).get("statename") in ALIVE]
            return ", ".join(alive) or None

        wait_until(still_up, limit=60, what=f"The end of {', '.join(waiting)}", hint=f"see {self.logs}")

    def shutdown(self) -> None:
        """End the supervisor itself and wait until it is gone."""
        self._rpc().shutdown()
        wait_until(lambda: "still there" if self.is_running() else None, limit=30, what="The supervisor's end")
        self.socket.unlink(missing_ok=True)
        if self.socket.parent.is_dir() and not any(self.socket.parent.iterdir()):
            self.socket.parent.rmdir()

    def end_orphans(self) -> list[str]:
        """End what a supervisor that was itself killed has left behind; returns the names of those programs."""
        orphans = [process for process in psutil.process_iter(["name"]) if self._is_ours(process)]
        for process in orphans:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.terminate()
        for process in psutil.wait_procs(orphans, timeout=15)[1]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        return sorted({process.info["name"] for process in orphans})

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            return process.environ().get(MARK) == str(self.home)
        except (psutil.Error, OSError):
            return False
