"""Several processes of an inventory on one queue or group: they share the work, and the books are one."""

from collections.abc import Iterator

import pytest

from lab.runtime.base import Runtime
from lab.runtime.scale import scale
from lab.stack import stack as stack_file
from tests.contract.calls import eventually, get, metric, post
from tests.contract.models import Model
from tests.contract.test_crashes import Ledger, assert_balance, order_while


@pytest.fixture
def three(eventual: Model, stack: Runtime) -> Iterator[list[str]]:
    """Three processes of the model's inventory, by name, the first one first; one again afterwards."""
    scale(stack, eventual.inventory, 3)
    yield [instance.name for instance in stack_file().instances(eventual.inventory)]
    scale(stack, eventual.inventory, 1)


def test_each_order_is_decided_once_whoever_decides_it(eventual: Model, three: list[str], stack: Runtime) -> None:
    """The others decide while the first one is paused and another is killed; what is asked for twice is done once."""
    before = Ledger.of(eventual)
    post(three[0], "/admin/pause", {"enabled": True})
    for name in three:
        post(name, "/admin/throttle", {"seconds": 0.005})

    def decided_by_others() -> str | None:
        now = get(eventual.order, "/orders/summary")[eventual.reserved]
        return None if now > before.orders[eventual.reserved] else "nothing is decided while the first one is paused"

    def disturb() -> None:
        eventually(decided_by_others, f"a decision of another {eventual.inventory}")
        stack.kill(three[1])

    customers = order_while(eventual, disturb)
    assert customers.answers == {eventual.accepted: len(customers.accepted)}
    post(three[0], "/admin/pause", {"enabled": False})
    for order_id in customers.accepted[:50]:
        eventual.ask(order_id)
    assert_balance(eventual, before, customers)

    def ignored() -> str | None:
        count = sum(
            metric(name, "campus_duplicates_ignored_total", model=eventual.slug) for name in (three[0], three[2])
        )
        return None if count >= 50 else f"{count:g} of 50 duplicates ignored"

    eventually(ignored, "the end of the repeated requests")
    assert_balance(eventual, before, customers)
