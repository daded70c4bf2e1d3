"""The events of the flow and how they look on the wire, whichever broker carries them.

On the wire an event is a JSON object `{event, order_id, message_id, item, quantity, timestamp}`; a refusal adds
`reason`. `event` may be left out where the channel says it (AMQP's routing key).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from services.domain.orders import QUANTITY_MAX, QUANTITY_MIN, Order, OrderStatus

TEXT_MAX = 100
"""The longest identifier or item name, in characters."""


class Malformed(ValueError):  # noqa: N818 - named for what the message is, as its dead letter says
    """A message that cannot be understood; the text names the field and what is wrong with it."""


class EventType(StrEnum):
    """What happened; also AMQP's routing keys."""

    ORDER_PLACED = "order.placed"
    INVENTORY_RESERVED = "inventory.reserved"
    INVENTORY_FAILED = "inventory.failed"


@dataclass(frozen=True, slots=True)
class OrderPlaced:
    """A customer placed an order; `timestamp` is when, in Unix seconds."""

    order_id: str
    message_id: str
    item: str
    quantity: int
    timestamp: float

    event = EventType.ORDER_PLACED

    @classmethod
    def of(cls, order: Order) -> Self:
        """The event of this order; the same order always gives the same event."""
        return cls(order.order_id, order.order_id, order.item, order.quantity, order.timestamp)

    @classmethod
    def from_wire(cls, fields: object, event: str | None = None) -> Self:
        """Read a decoded JSON value.

        Raises:
            Malformed: It is not such an event, or a field is absent, of a wrong type or out of range.
        """
        message = _message(fields)
        if message.get("event", event or cls.event) != cls.event:
            raise Malformed(f"event: {message.get('event', event)!r} is not {cls.event}")
        return cls(*_common(message))

    def to_wire(self) -> dict[str, object]:
        """The JSON object that carries this event."""
        return {
            "event": str(self.event),
            "order_id": self.order_id,
            "message_id": self.message_id,
            "item": self.item,
            "quantity": self.quantity,
            "timestamp": self.timestamp,
        }


@dataclass(frozen=True, slots=True)
class InventoryDecided:
    """Inventory reserved stock for an order, or refused to (`reason`); `timestamp` is when, in Unix seconds."""

    order_id: str
    message_id: str
    item: str
    quantity: int
    timestamp: float
    reason: str | None = None

    @property
    def event(self) -> EventType:
        """Whether the stock was reserved."""
        return EventType.INVENTORY_RESERVED if self.reason is None else EventType.INVENTORY_FAILED

    @property
    def outcome(self) -> OrderStatus:
        """The state in which this decision leaves the order."""
        return OrderStatus.RESERVED if self.reason is None else OrderStatus.FAILED

    @classmethod
    def from_wire(cls, fields: object, event: str | None = None) -> Self:
        """Read a decoded JSON value.

        Raises:
            Malformed: It is not such an event, or a field is absent, of a wrong type or out of range.
        """
        message = _message(fields)
        what = message.get("event", event)
        if what == EventType.INVENTORY_RESERVED:
            return cls(*_common(message))
        if what == EventType.INVENTORY_FAILED:
            return cls(*_common(message), reason=str(message.get("reason") or "refused"))
        raise Malformed(f"event: {what!r:.60} is no decision of the inventory")

    def to_wire(self) -> dict[str, object]:
        """The JSON object that carries this event."""
        fields: dict[str, object] = {
            "event": str(self.event),
            "order_id": self.order_id,
            "message_id": self.message_id,
            "item": self.item,
            "quantity": self.quantity,
            "timestamp": self.timestamp,
        }
        return fields if self.reason is None else fields | {"reason": self.reason}


Event = OrderPlaced | InventoryDecided


def _message(fields: object) -> Mapping[str, object]:
    if not isinstance(fields, dict):
        raise Malformed(f"message: a JSON object is wanted, not {type(fields).__name__}")
    return fields


def _common(message: Mapping[str, object]) -> tuple[str, str, str, int, float]:
    return (
        _text(message, "order_id"),
        _text(message, "message_id"),
        _text(message, "item"),
        _quantity(message),
        _timestamp(message),
    )


def _field(message: Mapping[str, object], name: str) -> object:
    if name not in message:
        raise Malformed(f"{name}: absent")
    return message[name]


def _text(message: Mapping[str, object], name: str) -> str:
    value = _field(message, name)
    if not isinstance(value, str) or not 1 <= len(value) <= TEXT_MAX or not value.isprintable():
        raise Malformed(f"{name}: {value!r:.60} is not a text of 1 to {TEXT_MAX} printable characters")
    return value


def _quantity(message: Mapping[str, object]) -> int:
    value = _field(message, "quantity")
    if not isinstance(value, int) or isinstance(value, bool):
        raise Malformed(f"quantity: {value!r:.60} is not an integer")
    if not QUANTITY_MIN <= value <= QUANTITY_MAX:
        raise Malformed(f"quantity: {value!r:.60} is not from {QUANTITY_MIN} to {QUANTITY_MAX}")
    return value


def _timestamp(message: Mapping[str, object]) -> float:
    value = _field(message, "timestamp")
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value) or value < 0:
        raise Malformed(f"timestamp: {value!r:.60} is not a time in Unix seconds")
    return float(value)
