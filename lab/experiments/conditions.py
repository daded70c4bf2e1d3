"""Under which conditions the models are compared, read from the live system."""

import platform
from typing import Any

import psutil

from lab.http import get
from lab.runtime.base import Runtime
from lab.stack import stack


def conditions(runtime: Runtime) -> dict[str, Any]:
    """What each service ran with, and the machine, as JSON has it.

    Raises:
        LabError: A service does not answer.
    """
    return {
        "runtime": runtime.name,
        "machine": {
            "system": platform.platform(),
            "cores": psutil.cpu_count(),
            "memory_bytes": psutil.virtual_memory().total,
            "python": platform.python_version(),
        },
        "services": {service.name: get(service.name, "/conditions") for service in stack().services},
    }
