"""What the tests of telemetry share."""

import pytest

from lab.http import post
from lab.runtime.base import Runtime
from lab.stack import stack as declared

MODELS = ("sync", "async", "streaming")


@pytest.fixture(scope="module")
def on_the_shelf(stack: Runtime) -> None:
    """Stock for every order of a module, and no fault left from before."""
    for service in declared().services:
        post(service.name, "/admin/reset", {})
    for model in MODELS:
        post(f"{model}-inventory", "/admin/restock", {"quantity": 1000})
