"""The rules of inventory: what may be reserved, and what a release gives back."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Refusal(StrEnum):
    """Why inventory refuses a reservation."""

    UNKNOWN_ITEM = "unknown item"
    NOT_ENOUGH = "not enough stock"
    RELEASED = "released before it was reserved"


class ReservationStatus(StrEnum):
    """What became of a request for stock."""

    RESERVED = "reserved"
    FAILED = "failed"
    RELEASED = "released"


@dataclass(slots=True)
class Shelf:
    """The units of one item; `received == left + reserved` holds after every operation.

    Attributes:
        left: Units that can still be reserved.
        reserved: Units held by orders.
        received: Units ever put on the shelf, less those ever taken off it by a restock.
    """

    left: int
    reserved: int
    received: int


class Stock:
    """The shelves of the canteen, by item.

    Args:
        shelves: The shelf of each item on sale; the stock changes them in place.
    """

    def __init__(self, shelves: dict[str, Shelf]) -> None:
        self.shelves = shelves

    def reserve(self, item: str, quantity: int) -> Refusal | None:
        """Move `quantity` units of `item` from left to reserved, all or none.

        Returns:
            None when they are reserved, else the reason why nothing was.
        """
        shelf = self.shelves.get(item)
        if shelf is None:
            return Refusal.UNKNOWN_ITEM
        if shelf.left < quantity:
            return Refusal.NOT_ENOUGH
        shelf.left -= quantity
        shelf.reserved += quantity
        return None

    def release(self, item: str, quantity: int) -> None:
        """Give back `quantity` units of `item` that an earlier `reserve` took."""
        shelf = self.shelves[item]
        shelf.left += quantity
        shelf.reserved -= quantity

    def restock(self, items: Iterable[str], quantity: int) -> None:
        """Set the units left of each of `items` to `quantity`; reserved units stay reserved."""
        for item in items:
            shelf = self.shelves[item]
            shelf.received += quantity - shelf.left
            shelf.left = quantity
