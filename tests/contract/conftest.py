"""What every contract test starts from: a healthy stack, no faults, shelves full enough."""

from collections.abc import Iterator
from contextlib import suppress

import httpx
import pytest

from lab.runtime.base import Runtime
from tests.contract.calls import SERVICES, call
from tests.contract.models import EVENTUAL, MODELS, STOCK, Model


@pytest.fixture(params=MODELS, ids=repr)
def model(request: pytest.FixtureRequest) -> Model:
    """Each of the three models in turn."""
    found: Model = request.param
    return found


@pytest.fixture(params=EVENTUAL, ids=repr)
def eventual(request: pytest.FixtureRequest) -> Model:
    """Each of the models over a broker in turn."""
    found: Model = request.param
    return found


@pytest.fixture(autouse=True)
def calm(stack: Runtime) -> Iterator[None]:
    """Full shelves before each test; no fault and no dead service after it."""
    for each in MODELS:
        each.restock(STOCK)
    yield
    for name in SERVICES:
        with suppress(httpx.TransportError):
            call("POST", name, "/admin/reset")
            continue
        stack.start(name)
        call("POST", name, "/admin/reset")
