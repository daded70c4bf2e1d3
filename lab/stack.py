"""`stack.toml` as typed values: the one list of parts from which runtimes, targets and health follow."""

import os
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Literal

from lab.errors import LabError

Model = Literal["sync", "async", "streaming"]
MODELS: tuple[Model, ...] = ("sync", "async", "streaming")


@dataclass(frozen=True, slots=True)
class Service:
    """A service of one of the three models; `python -m module` starts it.

    Attributes:
        instance: Which of its processes it is; those beside the first have a name and a port of their own.
    """

    name: str
    model: Model
    module: str
    port: int
    instance: int = 1

    @property
    def metrics_port(self) -> int:
        """Where Prometheus scrapes it: the port + 1000."""
        return self.port + 1000


@dataclass(frozen=True, slots=True)
class Tool:
    """A program of the lab's own beside the services; it serves /metrics and /health on its port."""

    name: str
    module: str
    port: int


@dataclass(frozen=True, slots=True)
class Stack:
    """Everything that `stack.toml` says."""

    services: tuple[Service, ...]
    tools: tuple[Tool, ...]
    ports: dict[str, int]
    groups: dict[str, tuple[str, ...]]
    replicas: tuple[Service, ...] = ()

    def service(self, name: str) -> Service:
        """The service, or one of the replicas, of that name.

        Raises:
            LabError: No service has this name.
        """
        for service in (*self.services, *self.replicas):
            if service.name == name:
                return service
        names = ", ".join(service.name for service in self.services)
        raise LabError(f"There is no service {name!r}; the services are {names}.")

    def instances(self, name: str) -> tuple[Service, ...]:
        """The processes that a service can have, its first one first; of a replica, itself alone.

        Raises:
            LabError: No service has this name.
        """
        first = self.service(name)
        if first.instance > 1:
            return (first,)
        return (first, *(replica for replica in self.replicas if replica.module == first.module))

    def order_service(self, model: str) -> Service:
        """The service that takes a model's orders.

        Raises:
            LabError: No model has this name.
        """
        for service in self.services:
            if service.model == model and service.name.endswith("-order"):
                return service
        raise LabError(f"There is no model {model!r}; the models are {', '.join(MODELS)}.")


def load(path: Path) -> Stack:
    """Read a stack file.

    Raises:
        LabError: The file is absent or does not hold what a stack needs.
    """
    try:
        raw = tomllib.loads(path.read_text())
        services = tuple(Service(**entry) for entry in raw.get("service", []))
        return Stack(
            services=services,
            tools=tuple(Tool(**entry) for entry in raw.get("tool", [])),
            ports=dict(raw["ports"]),
            replicas=tuple(_replica(services, **entry) for entry in raw.get("replica", [])),
            groups={name: tuple(topics) for name, topics in raw.get("kafka", {}).get("groups", {}).items()},
        )
    except (OSError, tomllib.TOMLDecodeError, KeyError, TypeError, ValueError) as error:
        raise LabError(f"The stack file {path} cannot be used ({error}); mend it or unset LAB_STACK.") from error


def _replica(services: Sequence[Service], *, name: str, of: str, port: int) -> Service:
    [first] = [service for service in services if service.name == of]
    return replace(first, name=name, port=port, instance=int(name.removeprefix(f"{of}-")))


@cache
def stack() -> Stack:
    """The stack of this process: the file `LAB_STACK`, else the `stack.toml` beside this module."""
    return load(Path(os.environ.get("LAB_STACK") or Path(__file__).with_name("stack.toml")))
