"""The compose runtime for real: what its methods promise, and what its containers may do."""

import os
import subprocess

import pytest

from lab.errors import LabError
from lab.runtime.base import Runtime
from lab.runtime.compose import ComposeRuntime
from lab.stack import stack as stack_file

pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.skipif(os.environ.get("LAB_RUNTIME") != "compose", reason="needs LAB_RUNTIME=compose and an engine"),
]
PART = "async-notification"


def pids(runtime: Runtime) -> dict[str, int | None]:
    """The process of each part."""
    return {part.name: part.pid for part in runtime.status()}


def inside(runtime: Runtime, part: str, *command: str) -> str:
    """What a command prints in a part's container."""
    assert isinstance(runtime, ComposeRuntime)
    container = runtime.containers()[part].id
    done = subprocess.run(["docker", "exec", container, *command], capture_output=True, text=True, check=False)  # noqa: S603, S607
    return done.stdout + done.stderr


def test_status_tells_of_every_part(stack: Runtime) -> None:
    """Each part is healthy, with a process, an uptime and memory below its limit, and the sum is the stack's."""
    parts = stack.status()
    assert {part.name for part in parts} >= {part.name for part in stack_file().services} | {"rabbitmq", "kafka"}
    assert [part for part in parts if not part.healthy or not part.pid or part.uptime is None] == []
    assert all(part.resident_bytes and part.resident_bytes < 800 * 2**20 for part in parts)
    assert 0 < stack.resident_memory() < 4 * 2**30


def test_up_again_changes_nothing(stack: Runtime) -> None:
    """`up` on a stack that runs leaves every process as it is."""
    before = pids(stack)
    stack.up()
    assert pids(stack) == before


def test_stop_and_start(stack: Runtime) -> None:
    """A stopped part stays stopped, its status says so, and start returns once it is healthy again."""
    stack.stop(PART)
    try:
        stopped = next(part for part in stack.status() if part.name == PART)
        assert (stopped.pid, stopped.healthy, stopped.problem) == (None, False, "not running (exited)")
        with pytest.raises(LabError, match=f"lab start {PART}"):
            stack.kill(PART)
    finally:
        stack.start(PART)
    assert all(part.healthy for part in stack.status())


def test_kill_leaves_the_others_alone(stack: Runtime) -> None:
    """A killed part is dead at once and until started; nothing else is restarted with it."""
    before = pids(stack)
    stack.kill(PART)
    try:
        assert {name for name, pid in pids(stack).items() if pid != before[name]} == {PART}
    finally:
        stack.start(PART)
    after = pids(stack)
    assert {name for name, pid in after.items() if pid != before[name]} == {PART}
    assert after[PART] is not None


def test_an_unknown_part_is_refused_by_name(stack: Runtime) -> None:
    """A misspelt part ends in a sentence that lists those there are."""
    with pytest.raises(LabError, match="There is no part 'kitchen'; the parts are rabbitmq, kafka"):
        stack.stop("kitchen")


def test_a_service_can_write_its_data_alone(stack: Runtime) -> None:
    """A service has no user to become, no capability, a read-only root, and may write /data and /tmp."""
    told = inside(stack, "sync-order", "grep", "-E", "^(Uid|CapEff|CapBnd|NoNewPrivs)", "/proc/1/status").split()
    assert told == ["Uid:", *["10001"] * 4, "CapEff:", "0" * 16, "CapBnd:", "0" * 16, "NoNewPrivs:", "1"]
    assert "Read-only file system" in inside(stack, "sync-order", "touch", "/app/x")
    assert inside(stack, "sync-order", "sh", "-c", "touch /data/x /tmp/x && rm /data/x /tmp/x") == ""
