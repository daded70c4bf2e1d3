"""An order and the states it passes through."""

from dataclasses import dataclass
from enum import StrEnum

MENU = ("burger", "pizza", "salad")
"""What the canteen serves; any other item is unknown."""

QUANTITY_MIN = 1
QUANTITY_MAX = 1000


class OrderStatus(StrEnum):
    """Where an order stands.

    `placed` is the only state that waits for something; every other one is an end, save `reserved` in the
    synchronous model, which becomes `notified` within the same request.
    """

    PLACED = "placed"
    RESERVED = "reserved"
    NOTIFIED = "notified"
    FAILED = "failed"
    TIMEOUT = "timeout"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Order:
    """A customer's wish for `quantity` units of one `item`.

    Attributes:
        order_id: Unique for ever.
        item: One of `MENU`.
        quantity: `QUANTITY_MIN` to `QUANTITY_MAX` units.
        status: Where the order stands.
        timestamp: When it was placed, in Unix seconds.
    """

    order_id: str
    item: str
    quantity: int
    status: OrderStatus
    timestamp: float
