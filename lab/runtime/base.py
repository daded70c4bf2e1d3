"""What every runtime can do, and the parts it does it to."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol

Kind = Literal["broker", "service", "replica", "tool"]


@dataclass(frozen=True, slots=True)
class PartStatus:
    """One part as it is now; what does not run has no pid, uptime or memory.

    Attributes:
        name: As in `stack.toml`, or the broker's or tool's own name.
        kind: What sort of part it is.
        pid: Its main process.
        uptime: Seconds since it was started.
        resident_bytes: Resident memory of its processes; what processes share is counted once where the system
            tells (PSS on Linux).
        port: Where it is reached from the host.
        problem: What is wrong with it, or None when it is healthy.
    """

    name: str
    kind: Kind
    pid: int | None
    uptime: float | None
    resident_bytes: int | None
    port: int
    problem: str | None

    @property
    def healthy(self) -> bool:
        """Whether it can do its work."""
        return self.problem is None

    def as_dict(self) -> dict[str, Any]:
        """The fields as JSON has them, with `healthy`."""
        return {**asdict(self), "healthy": self.healthy}


class Runtime(Protocol):
    """A way to run the stack. Every method raises `LabError` when what it promises cannot be had."""

    name: str

    def setup(self) -> None:
        """Install what is missing; nothing when all is there."""

    def up(self) -> None:
        """Start what does not run and return once every part is healthy."""

    def down(self, *, volumes: bool = False) -> None:
        """Stop everything, gracefully within a limit; with `volumes`, remove the data too."""

    def status(self) -> Sequence[PartStatus]:
        """Every part as it is now, brokers first; replicas that do not run are left out."""

    def logs(self, part: str, *, follow: bool = False, lines: int = 100) -> None:
        """Print the last lines of a part's log to standard output; with `follow`, go on until interrupted."""

    def stop(self, part: str) -> None:
        """Stop a part gracefully; it stays stopped until started."""

    def start(self, part: str) -> None:
        """Start a part, or a replica of a service, and return once it is healthy."""

    def kill(self, part: str) -> None:
        """End a part by SIGKILL; it stays dead until started."""

    def resident_memory(self) -> int:
        """Resident bytes of all that this runtime started, counted as `PartStatus.resident_bytes`."""
        ...
