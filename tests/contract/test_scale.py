"""Several processes of an inventory on one queue or group: they share the work, and the books are one."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from lab.faults import inject
from lab.runtime.base import Runtime
from lab.runtime.scale import scale
from lab.stack import stack as parts
from tests.contract.calls import eventually, get, metric
from tests.contract.models import EVENTUAL, Model
from tests.contract.test_crashes import Ledger, assert_balance, order_while

ORDERS = 90

TAKEN_OVER_LIMIT = 60.0
"""Seconds in which the others go on with a dead process's work: Kafka waits for the end of its session."""


@dataclass(frozen=True)
class Three:
    """A model with three processes of its inventory, by name, the first one first."""

    model: Model
    names: tuple[str, ...]

    def ignored(self) -> dict[str, float]:
        """How many duplicates each process that answers has ignored."""
        return {name: metric(name, "campus_duplicates_ignored_total") for name in self.names}


@pytest.fixture(scope="module", params=EVENTUAL, ids=repr)
def three(request: pytest.FixtureRequest, stack: Runtime) -> Iterator[Three]:
    """Three processes of each model's inventory in turn; one again afterwards."""
    model: Model = request.param
    scale(stack, model.inventory, 3)
    try:
        yield Three(model, tuple(process.name for process in parts().instances(model.inventory)))
    finally:
        scale(stack, model.inventory, 1)


def test_a_fault_reaches_every_process(three: Three) -> None:
    """A fault of a service is injected into all its processes, and its reset ends it in all."""
    inject(three.model.inventory, "throttle", "0.01")
    assert {get(name, "/admin/faults")["throttle"] for name in three.names} == {0.01}
    inject(three.model.inventory, "reset", None)
    assert {get(name, "/admin/faults")["throttle"] for name in three.names} == {0}


def test_three_processes_decide_each_order_once(three: Three) -> None:
    """Orders that come twice to three processes take stock once, and every process has its share of the work."""
    model, stock, ignored = three.model, three.model.stock(), three.ignored()
    orders = [model.place()["order_id"] for _ in range(ORDERS)]
    for order_id in orders:
        model.ends(order_id)
    for order_id in orders:
        model.ask(order_id)

    def all_ignored() -> str | None:
        more = {name: count - ignored[name] for name, count in three.ignored().items()}
        return None if sum(more.values()) >= ORDERS and all(more.values()) else f"ignored by process: {more}"

    eventually(all_ignored, f"{ORDERS} duplicates, some by each process")
    assert {get(name, "/stock")["burger"] for name in three.names} == {stock - ORDERS}


def test_the_others_go_on_where_one_is_paused_and_one_is_killed(three: Three, stack: Runtime) -> None:
    """Every accepted order is decided once, by those that are left."""
    model, before = three.model, Ledger.of(three.model)
    inject(model.inventory, "throttle", "0.005")
    inject(model.inventory, "pause", "on")
    # The replicas go on: the pause is the first one's alone.
    for name in three.names[1:]:
        inject(name, "pause", "off")

    def decided() -> str | None:
        now = get(model.order, "/orders/summary")[model.reserved]
        return None if now > before.orders[model.reserved] else "nothing is decided while the first one is paused"

    def disturb() -> None:
        eventually(decided, f"a decision of another {model.inventory}")
        stack.kill(three.names[1])

    customers = order_while(model, disturb)
    assert customers.answers == {model.accepted: len(customers.accepted)}
    inject(model.inventory, "pause", "off")
    assert_balance(model, before, customers, TAKEN_OVER_LIMIT)
