"""SIGKILL in the middle of the work: no accepted order is lost, none is done twice, and the ledger balances."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Event, Thread

import httpx

from lab.runtime.base import Runtime
from tests.contract.calls import SETTLE_LIMIT, becomes, call, eventually, get, post
from tests.contract.models import EVENTUAL, MODELS, Model

CLIENTS = 8
ORDERS = 400
KILL_AFTER = 100


@dataclass
class Customers:
    """Clients that place orders of one burger at the same time, and what they saw.

    Attributes:
        accepted: The ids of the orders they saw accepted.
        answers: How many replies of each HTTP status there were; 0 stands for no reply.
    """

    model: Model
    accepted: list[str] = field(default_factory=list)
    answers: Counter[int] = field(default_factory=Counter)
    some_accepted: Event = field(default_factory=Event)

    def order(self, count: int) -> None:
        """Place `count` orders, each once, whatever the reply."""
        with ThreadPoolExecutor(CLIENTS) as pool:
            for _ in pool.map(self._one, range(count)):
                pass

    def _one(self, _number: int) -> None:
        try:
            reply = call("POST", self.model.order, "/order", json={"item": "burger", "quantity": 1})
        except httpx.TransportError:
            self.answers[0] += 1
            return
        self.answers[reply.status_code] += 1
        if reply.is_success:
            self.accepted.append(reply.json()["order_id"])
        if len(self.accepted) >= KILL_AFTER:
            self.some_accepted.set()


def order_while(model: Model, disturb: Callable[[], None]) -> Customers:
    """Have customers order; call `disturb` when some orders are accepted and more are on their way."""
    customers = Customers(model)
    ordering = Thread(target=customers.order, args=(ORDERS,))
    ordering.start()
    assert customers.some_accepted.wait(60), f"not {KILL_AFTER} orders were accepted: {customers.answers}"
    disturb()
    ordering.join()
    return customers


@dataclass(frozen=True)
class Ledger:
    """The books of a model: orders by status, and units of stock by state."""

    orders: dict[str, int]
    left: float
    reserved: float
    received: float

    @classmethod
    def of(cls, model: Model) -> "Ledger":
        """The books as they are now."""
        return cls(
            get(model.order, "/orders/summary"), *(model.units(state) for state in ("left", "reserved", "received"))
        )


def assert_balance(model: Model, before: Ledger, customers: Customers, limit: float = SETTLE_LIMIT) -> None:
    """Every accepted order ended once as reserved, and exactly the reserved orders hold stock."""

    def unbalanced() -> str | None:
        now = Ledger.of(model)
        if (waiting := now.orders["placed"]) != before.orders["placed"]:
            return f"{waiting} orders still placed"
        orders = now.orders[model.reserved] - before.orders[model.reserved]
        units = now.reserved - before.reserved
        if orders != units:
            return f"{orders} orders reserved, {units:g} units held"
        if now.received != now.left + now.reserved:
            return f"{now.received:g} units received, {now.left:g} left, {now.reserved:g} reserved"
        return None

    eventually(unbalanced, f"the balance of the {model} ledger", limit)
    assert len(set(customers.accepted)) == len(customers.accepted) >= KILL_AFTER
    ended = Counter(model.status(order_id) for order_id in customers.accepted)
    assert ended == {model.reserved: len(customers.accepted)}
    held = Counter((model.reservation(order_id) or {})["status"] for order_id in customers.accepted)
    assert held == {"reserved": len(customers.accepted)}


def test_no_accepted_order_is_lost_with_its_order_service(model: Model, stack: Runtime) -> None:
    """An order service killed under load leaves nothing unfinished once it is started again."""
    before = Ledger.of(model)

    def disturb() -> None:
        stack.kill(model.order)
        stack.start(model.order)

    customers = order_while(model, disturb)
    assert customers.answers[0] > 0, "the kill met no order on its way"
    assert_balance(model, before, customers)


def test_every_order_ends_once_over_a_kill_of_the_inventory(model: Model, stack: Runtime) -> None:
    """An inventory killed under load and started again decides each order once; a rejected one holds nothing."""
    before = Ledger.of(model)
    # Slow enough that the kill meets a batch in hand, or calls under way.
    post(model.inventory, "/admin/delay", {"seconds": 0.02 if model not in EVENTUAL else 0.3})

    def disturb() -> None:
        stack.kill(model.inventory)
        stack.start(model.inventory)

    customers = order_while(model, disturb)
    assert_balance(model, before, customers)
    if model in EVENTUAL:
        assert customers.answers == {model.accepted: ORDERS}
    else:
        assert set(customers.answers) <= {201, 502, 504}
        assert customers.answers[502] > 0, "the kill met no order on its way"


def test_a_stopped_inventory_loses_nothing(eventual: Model, stack: Runtime) -> None:
    """Orders placed while the inventory is stopped are accepted, wait, and are all reserved once it runs."""
    before = Ledger.of(eventual)
    stack.stop(eventual.inventory)
    customers = Customers(eventual)
    customers.order(KILL_AFTER)
    assert customers.answers == {eventual.accepted: KILL_AFTER}
    assert get(eventual.order, "/orders/summary")["placed"] == before.orders["placed"] + KILL_AFTER
    stack.start(eventual.inventory)
    assert_balance(eventual, before, customers)


def test_a_killed_last_service_misses_nothing(model: Model, stack: Runtime) -> None:
    """What was decided while the last service was dead reaches it once it is started, for the models over a broker."""
    if model not in EVENTUAL:
        stack.kill(model.last)
        order = model.place()
        stack.start(model.last)
        assert order["status"] == "reserved"
        assert get(model.last, "/notifications", order_id=order["order_id"]) == []
        return
    reached = model.watch_last()
    stack.kill(model.last)
    order_id = model.place()["order_id"]
    model.ends(order_id)
    stack.start(model.last)
    eventually(lambda: reached(order_id), f"the {model} order at the end of the flow")


def test_a_replay_gives_the_same_figures(stack: Runtime) -> None:
    """Analytics read again from the beginning, and over a kill in the middle of it, shows the same figures."""
    streaming = MODELS[2]
    reached = streaming.watch_last()
    order_id = streaming.place()["order_id"]
    streaming.ends(order_id)
    eventually(lambda: reached(order_id), "the order in the analytics")
    figures = get(streaming.last, "/metrics")
    assert set(figures) == {
        "total_orders",
        "total_inventory_events",
        "failures",
        "orders_per_minute",
        "failure_rate",
        "elapsed_seconds",
    }
    post(streaming.last, "/admin/reset-offsets")
    becomes(lambda: get(streaming.last, "/metrics"), figures, "the same figures after a replay")
    post(streaming.last, "/admin/throttle", {"seconds": 0.002})
    post(streaming.last, "/admin/reset-offsets")
    stack.kill(streaming.last)
    stack.start(streaming.last)
    becomes(lambda: get(streaming.last, "/metrics"), figures, "the same figures after a kill in a replay")
