"""How many processes of a service run."""

from lab.errors import LabError
from lab.faults import copy
from lab.runtime.base import Runtime
from lab.stack import stack


def start(runtime: Runtime, part: str) -> None:
    """Start a part and return once it is healthy; a replica reads its first message with the faults of the first one.

    Raises:
        LabError: It does not start.
    """
    runtime.start(part)
    for replica in stack().replicas:
        if replica.name == part:
            # It has begun paused.
            copy(part.removesuffix(f"-{replica.instance}"), part)


def scale(runtime: Runtime, service: str, processes: int) -> None:
    """Start or stop replicas of a service until that many processes of it run, the first one among them.

    Raises:
        LabError: The service cannot have so many or so few, or one does not start.
    """
    instances = [instance.name for instance in stack().instances(service)]
    if not 1 <= processes <= len(instances):
        raise LabError(f"{service} can have 1 to {len(instances)} processes, so not {processes}.")
    running = {part.name for part in runtime.status() if part.pid}
    for name in instances[:processes]:
        if name not in running:
            start(runtime, name)
    for name in instances[processes:]:
        if name in running:
            runtime.stop(name)
