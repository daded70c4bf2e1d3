"""The three models as the contract tests see them: what is alike stands in `Model`, the rest is what differs."""

from collections.abc import Callable
from typing import Any

from tests.contract.brokers import placed, produce, publish
from tests.contract.calls import call, eventually, get, metric, post


class Model:
    """A way to build the order flow.

    Attributes:
        slug: Its name everywhere.
        accepted: The HTTP status of an accepted order.
        answered: The status of an order in the reply that accepts it.
        reserved: The status in which an order ends whose stock was reserved.
        last: The service at the end of the flow.
    """

    slug: str
    accepted: int
    answered: str
    reserved: str
    last: str

    def __repr__(self) -> str:
        return self.slug

    @property
    def order(self) -> str:
        """Its order service."""
        return f"{self.slug}-order"

    @property
    def inventory(self) -> str:
        """Its inventory service."""
        return f"{self.slug}-inventory"

    @property
    def services(self) -> tuple[str, str, str]:
        """All of its services."""
        return self.order, self.inventory, self.last

    def place(self, item: str = "burger", quantity: int = 1, key: str | None = None) -> dict[str, Any]:
        """Place an order that is accepted, and return it."""
        headers = {"Idempotency-Key": key} if key else {}
        reply = call("POST", self.order, "/order", json={"item": item, "quantity": quantity}, headers=headers)
        assert reply.status_code == self.accepted, f"{reply.status_code} {reply.text}"
        order: dict[str, Any] = reply.json()
        return order

    def status(self, order_id: str) -> str:
        """Where an order stands now."""
        return str(get(self.order, f"/orders/{order_id}")["status"])

    def ends(self, order_id: str, status: str | None = None) -> None:
        """Wait until an order has the status in which it ends."""
        wanted = status or self.reserved

        def look() -> str | None:
            now = self.status(order_id)
            return None if now == wanted else f"it is {now}"

        eventually(look, f"{self.slug} order {order_id} as {wanted}")

    def stock(self, item: str = "burger") -> int:
        """Units of an item that can still be reserved."""
        return int(get(self.inventory, "/stock")[item])

    def restock(self, quantity: int, item: str | None = None) -> None:
        """Set the units that can be reserved."""
        post(self.inventory, "/admin/restock", {"item": item, "quantity": quantity})

    def reservation(self, order_id: str) -> dict[str, Any] | None:
        """What became of an order's request for stock, or None while there was none."""
        reply = call("GET", self.inventory, f"/reservations/{order_id}")
        if reply.status_code == 404:
            return None
        assert reply.status_code == 200, reply.text
        found: dict[str, Any] = reply.json()
        return found

    def decided(self, order_id: str) -> dict[str, Any]:
        """Wait for the decision on an order and return it."""
        eventually(lambda: None if self.reservation(order_id) else "none yet", f"{self.slug} decision on {order_id}")
        return self.reservation(order_id) or {}

    def units(self, state: str) -> float:
        """Units of all items that are left, reserved or were ever received, as the inventory's metrics say."""
        return metric(self.inventory, "campus_stock_units", model=self.slug, state=state)

    def duplicates(self) -> float:
        """How often the inventory was asked for what it had decided before."""
        return metric(self.inventory, "campus_duplicates_ignored_total", model=self.slug)

    def ask(self, order_id: str, item: str = "burger", quantity: int = 1) -> None:
        """Hand the inventory a request for stock, past the order service."""
        raise NotImplementedError

    def watch_last(self) -> Callable[[str], str | None]:
        """A check of whether one more order, given by id, has reached the last service since this call."""
        return lambda order_id: (
            None if len(get(self.last, "/notifications", order_id=order_id)) == 1 else "no notification"
        )


class Sync(Model):
    """Synchronous REST."""

    slug = "sync"
    accepted = 201
    answered = reserved = "notified"
    last = "sync-notification"

    def ask(self, order_id: str, item: str = "burger", quantity: int = 1) -> None:
        """Call the inventory; its answer is the reservation's."""
        call("POST", self.inventory, "/reserve", json={"order_id": order_id, "item": item, "quantity": quantity})


class Async(Model):
    """Messages over RabbitMQ."""

    slug = "async"
    accepted = 202
    answered = "placed"
    reserved = "reserved"
    last = "async-notification"

    def ask(self, order_id: str, item: str = "burger", quantity: int = 1) -> None:
        """Publish the message that the order service would."""
        publish("order.placed", placed(order_id, item, quantity), order_id)


class Streaming(Model):
    """A log of events on Kafka."""

    slug = "streaming"
    accepted = 201
    answered = "placed"
    reserved = "reserved"
    last = "streaming-analytics"

    def ask(self, order_id: str, item: str = "burger", quantity: int = 1) -> None:
        """Produce the record that the order service would."""
        produce("order-events", placed(order_id, item, quantity), order_id)

    def watch_last(self) -> Callable[[str], str | None]:
        """Analytics counts orders and decisions; it does not tell them by id."""
        before = get(self.last, "/metrics")

        def look(_order_id: str) -> str | None:
            now = get(self.last, "/metrics")
            more = [now[what] - before[what] for what in ("total_orders", "total_inventory_events")]
            return None if more == [1, 1] else f"{more[0]} more orders and {more[1]} more decisions are counted"

        return look


MODELS: tuple[Model, ...] = (Sync(), Async(), Streaming())
EVENTUAL: tuple[Model, ...] = MODELS[1:]
"""The models in which the outcome comes after the reply."""

STOCK = 10_000
"""Units of each item on the shelves at the start of a test."""
