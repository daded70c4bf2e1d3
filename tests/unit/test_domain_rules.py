"""The domain's rules, and events as they travel: no I/O."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.wire import decode, encode
from services.domain.events import TEXT_MAX, EventType, InventoryDecided, Malformed, OrderPlaced
from services.domain.orders import MENU, QUANTITY_MAX, QUANTITY_MIN, Order, OrderStatus
from services.domain.stock import Refusal, Shelf, Stock

printable = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=TEXT_MAX)
quantities = st.integers(QUANTITY_MIN, QUANTITY_MAX)
times = st.floats(0, 1e12)
orders_placed = st.builds(OrderPlaced, printable, printable, printable, quantities, times)
decisions = st.builds(InventoryDecided, printable, printable, printable, quantities, times, st.none() | printable)

steps = st.one_of(
    st.tuples(st.just("reserve"), st.sampled_from([*MENU, "sushi"]), quantities),
    st.tuples(st.just("release"), st.sampled_from(MENU), st.just(0)),
    st.tuples(st.just("restock"), st.sampled_from(MENU), st.integers(0, 5000)),
)


def _stock(units: int) -> Stock:
    return Stock({item: Shelf(units, 0, units) for item in MENU})


@given(st.integers(0, 5000), st.lists(steps, max_size=50))
def test_the_books_balance_after_any_sequence(units: int, sequence: list[tuple[str, str, int]]) -> None:
    """Whatever is reserved, released and restocked: received = left + reserved, and neither is negative."""
    stock = _stock(units)
    held: list[tuple[str, int]] = []
    for step, item, quantity in sequence:
        if step == "reserve":
            left = stock.shelves[item].left if item in stock.shelves else 0
            refusal = stock.reserve(item, quantity)
            if item not in stock.shelves:
                assert refusal is Refusal.UNKNOWN_ITEM
            else:
                assert refusal is (None if quantity <= left else Refusal.NOT_ENOUGH)
            if refusal is None:
                held.append((item, quantity))
        elif step == "release" and held:
            stock.release(*held.pop())
        elif step == "restock":
            stock.restock([item], quantity)
            assert stock.shelves[item].left == quantity
        for name, shelf in stock.shelves.items():
            assert shelf.received == shelf.left + shelf.reserved
            assert shelf.left >= 0
            assert shelf.reserved == sum(count for of, count in held if of == name)


def test_a_refusal_changes_nothing() -> None:
    """A reservation is for all units or none, and a refusal leaves every shelf as it was."""
    stock = _stock(5)
    assert stock.reserve("burger", 6) is Refusal.NOT_ENOUGH
    assert stock.reserve("sushi", 1) is Refusal.UNKNOWN_ITEM
    assert stock.shelves == _stock(5).shelves
    assert stock.reserve("burger", 5) is None
    assert stock.shelves["burger"] == Shelf(0, 5, 5)
    assert stock.reserve("burger", 1) is Refusal.NOT_ENOUGH


@given(orders_placed)
def test_an_order_survives_the_wire(event: OrderPlaced) -> None:
    """What is encoded is read back the same."""
    assert OrderPlaced.from_wire(decode(encode(event))) == event


@given(decisions)
def test_a_decision_survives_the_wire(event: InventoryDecided) -> None:
    """A decision is read back with its outcome and its reason."""
    read = InventoryDecided.from_wire(decode(encode(event)))
    assert read == event
    assert read.outcome is (OrderStatus.RESERVED if event.reason is None else OrderStatus.FAILED)


def test_the_event_may_stand_in_the_channel_alone() -> None:
    """Without `event` in the body the routing key says what a message is; one that contradicts is malformed."""
    fields = {"order_id": "1", "message_id": "1", "item": "burger", "quantity": 1, "timestamp": 1}
    assert OrderPlaced.from_wire(fields, EventType.ORDER_PLACED).quantity == 1
    assert InventoryDecided.from_wire(fields, EventType.INVENTORY_RESERVED).reason is None
    assert InventoryDecided.from_wire(fields, EventType.INVENTORY_FAILED).reason == "refused"
    with pytest.raises(Malformed, match=r"^event: "):
        OrderPlaced.from_wire(fields, EventType.INVENTORY_RESERVED)
    with pytest.raises(Malformed, match=r"^event: "):
        InventoryDecided.from_wire(fields, EventType.ORDER_PLACED)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=10,
)
FIELDS = ("order_id", "message_id", "item", "quantity", "timestamp", "event")


@given(st.sampled_from(FIELDS), json_values)
def test_one_strange_field_is_understood_or_named(field: str, value: Any) -> None:
    """A good message with any one field replaced is read, or is malformed by the name of that field."""
    fields = {"order_id": "1", "message_id": "1", "item": "burger", "quantity": 1, "timestamp": 1}
    for read in (OrderPlaced.from_wire, InventoryDecided.from_wire):
        event = "order.placed" if read == OrderPlaced.from_wire else "inventory.failed"
        try:
            read(fields | {"event": event} | {field: value})
        except Malformed as error:
            assert str(error).startswith(f"{field}: ")


@given(st.binary())
def test_any_bytes_are_understood_or_malformed(body: bytes) -> None:
    """Bytes from a broker raise nothing but Malformed."""
    try:
        OrderPlaced.from_wire(decode(body))
    except Malformed:
        return
    assert isinstance(json.loads(body), dict)


def test_an_order_has_one_event() -> None:
    """The same order always gives the same event, so that publishing it again can be recognised."""
    order = Order("7", "pizza", 2, OrderStatus.PLACED, 12.5)
    assert OrderPlaced.of(order) == OrderPlaced.of(order) == OrderPlaced("7", "7", "pizza", 2, 12.5)
