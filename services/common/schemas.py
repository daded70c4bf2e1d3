"""What clients may send: request bodies and the limits of their fields."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field, StringConstraints

from services.domain.events import TEXT_MAX
from services.domain.orders import MENU, QUANTITY_MAX, QUANTITY_MIN

Identifier = Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]+$", max_length=TEXT_MAX)]
"""An order id or an idempotency key: visible ASCII characters without spaces."""

ItemName = Annotated[str, StringConstraints(min_length=1, max_length=TEXT_MAX)]
"""A name that may be on the menu or not."""

Quantity = Annotated[int, Field(strict=True, ge=QUANTITY_MIN, le=QUANTITY_MAX)]


def _on_menu(item: str) -> str:
    if item not in MENU:
        raise ValueError(f"not on the menu, which is {', '.join(MENU)}")
    return item


MenuItem = Annotated[str, AfterValidator(_on_menu)]


class OrderWish(BaseModel):
    """The body of POST /order."""

    item: MenuItem
    quantity: Quantity


class Restock(BaseModel):
    """The body of POST /admin/restock: units of one item, or of every item, from now on."""

    item: MenuItem | None = None
    quantity: int = Field(strict=True, ge=0, le=1_000_000_000)
