"""What the tests of telemetry share."""

import pytest

from lab.http import post
from lab.stack import stack as declared

MODELS = ("sync", "async", "streaming")


@pytest.fixture(scope="module", autouse=True)
def on_the_shelf(request: pytest.FixtureRequest) -> None:
    """Stock for every order of a module that needs the stack, and no fault left from before."""
    if not any("stack" in getattr(item, "fixturenames", ()) for item in request.node.collect()):
        return
    request.getfixturevalue("stack")
    for service in declared().services:
        post(service.name, "/admin/reset", {})
    for model in MODELS:
        post(f"{model}-inventory", "/admin/restock", {"quantity": 1000})
