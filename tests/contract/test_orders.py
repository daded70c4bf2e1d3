"""An order from its placing to its end, in all three models alike."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.contract.calls import becomes, call, eventually, get, metric, new_id, post
from tests.contract.models import MODELS, Model


def test_an_order_is_reserved_and_reaches_the_last_service(model: Model) -> None:
    """An accepted order takes its stock, can be looked up everywhere, and reaches the end of the flow once."""
    before = model.stock()
    accepted = metric(model.order, "campus_orders_accepted_total", model=model.slug)
    completed = metric(model.order, "campus_order_completion_seconds_count", outcome="reserved")
    reached = model.watch_last()
    order = model.place(quantity=3)
    assert set(order) == {"order_id", "item", "quantity", "status", "timestamp"}
    assert (order["item"], order["quantity"], order["status"]) == ("burger", 3, model.answered)
    model.ends(order["order_id"])
    assert get(model.order, f"/orders/{order['order_id']}") == order | {"status": model.reserved}
    reservation = model.reservation(order["order_id"]) or {}
    assert (reservation["item"], reservation["quantity"], reservation["status"]) == ("burger", 3, "reserved")
    assert model.stock() == before - 3
    eventually(lambda: reached(order["order_id"]), f"the end of the {model} flow")
    assert metric(model.order, "campus_orders_accepted_total", model=model.slug) == accepted + 1
    assert metric(model.order, "campus_order_completion_seconds_count", outcome="reserved") == completed + 1


def test_more_than_there_is_is_refused(model: Model) -> None:
    """An order for more than is left takes nothing and ends as failed, with the reason kept."""
    model.restock(2, "pizza")
    failed = metric(model.inventory, "campus_order_outcomes_total", outcome="failed")
    reply = call("POST", model.order, "/order", json={"item": "pizza", "quantity": 3})
    if model.slug == "sync":
        assert reply.status_code == 422, reply.text
        assert reply.json()["detail"]["reason"] == "not enough stock"
        order = reply.json()["detail"]["order"]
    else:
        assert reply.status_code == model.accepted, reply.text
        order = reply.json()
    model.ends(order["order_id"], "failed")
    reservation = model.reservation(order["order_id"]) or {}
    assert (reservation["status"], reservation["reason"]) == ("failed", "not enough stock")
    assert model.stock("pizza") == 2
    assert metric(model.inventory, "campus_order_outcomes_total", outcome="failed") == failed + 1
    if model.slug != "streaming":
        assert get(model.last, "/notifications", order_id=order["order_id"]) == []


def test_the_last_units_are_sold(model: Model) -> None:
    """An order for exactly what is left is reserved."""
    model.restock(3, "salad")
    model.ends(model.place("salad", 3)["order_id"])
    assert model.stock("salad") == 0


def test_an_item_unknown_to_the_inventory_is_refused_by_it(model: Model) -> None:
    """A request for stock of an item that is not on the menu is decided as failed, not set aside."""
    order_id = new_id()
    model.ask(order_id, item="sushi")
    decision = model.decided(order_id)
    assert (decision["status"], decision["reason"]) == ("failed", "unknown item")


def test_orders_are_listed_newest_first_page_by_page(model: Model) -> None:
    """Pages of GET /orders follow each other without gap or repetition, and filter by status."""
    placed = [model.place()["order_id"] for _ in range(5)]
    for order_id in placed:
        model.ends(order_id)
    first = get(model.order, "/orders", limit=2)
    second = get(model.order, "/orders", limit=3, after=first[-1]["order_id"])
    assert [order["order_id"] for order in first + second] == placed[::-1]
    ended = get(model.order, "/orders", limit=1000, status=model.reserved)
    assert {order["status"] for order in ended} == {model.reserved}
    assert [order["order_id"] for order in ended][:5] == placed[::-1]


def test_the_summary_counts_by_status(model: Model) -> None:
    """GET /orders/summary names every status and grows by what was placed."""
    before = get(model.order, "/orders/summary")
    assert set(before) == {"placed", "reserved", "notified", "failed", "timeout", "rejected"}
    for order_id in [model.place()["order_id"] for _ in range(3)]:
        model.ends(order_id)
    after = get(model.order, "/orders/summary")
    assert after == before | {model.reserved: before[model.reserved] + 3}


def test_an_unknown_order_is_not_found(model: Model) -> None:
    """Looking up an order or a reservation that was never asked for gives 404 with a sentence."""
    for service, path in ((model.order, f"/orders/{new_id()}"), (model.inventory, f"/reservations/{new_id()}")):
        reply = call("GET", service, path)
        assert reply.status_code == 404
        assert isinstance(reply.json()["detail"], str)


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"limit": "0"}, "limit"),
        ({"limit": "1001"}, "limit"),
        ({"limit": "two"}, "limit"),
        ({"status": "eaten"}, "status"),
        ({"after": "no-such-order"}, "after"),
        ({"after": "two words"}, "after"),
    ],
    ids=str,
)
def test_a_bad_page_is_refused_with_its_field(model: Model, parameters: dict[str, str], field: str) -> None:
    """A query parameter that is out of range or unknown gives 422 and is named."""
    reply = call("GET", model.order, "/orders", params=parameters)
    assert reply.status_code == 422
    assert reply.json()["detail"][0]["loc"] == ["query", field]


def test_the_same_key_gives_the_same_order(model: Model) -> None:
    """A repeated Idempotency-Key takes stock once, and another body under it is refused with the field named."""
    key, before = new_id(), model.stock()
    first = model.place(key=key)
    model.ends(first["order_id"])
    again = model.place(key=key)
    assert again == first | {"status": model.reserved}
    other = call(
        "POST", model.order, "/order", json={"item": "burger", "quantity": 2}, headers={"Idempotency-Key": key}
    )
    assert other.status_code == 422
    assert other.json()["detail"][0]["loc"] == ["header", "Idempotency-Key"]
    assert model.stock() == before - 1


def test_the_same_key_at_once_gives_one_order(model: Model) -> None:
    """Many requests with one key at the same time place one order, whose id all of them get."""
    key, before = new_id(), model.stock()
    # All requests wait together before the desk, and come to it at the same moment.
    post(model.order, "/admin/delay", {"seconds": 0.3})
    with ThreadPoolExecutor(16) as pool:
        orders = list(pool.map(lambda _: model.place(key=key), range(16)))
    assert len({order["order_id"] for order in orders}) == 1
    model.ends(orders[0]["order_id"])
    becomes(model.stock, before - 1, "one unit less")


@pytest.mark.parametrize("key", ["", "two words", "k" * 101, "caf\u00e9".encode()], ids=repr)
def test_a_bad_key_is_refused(model: Model, key: str | bytes) -> None:
    """An Idempotency-Key that is empty, too long or not visible ASCII gives 422 and is named."""
    reply = call(
        "POST", model.order, "/order", json={"item": "burger", "quantity": 1}, headers={"Idempotency-Key": key}
    )
    assert reply.status_code == 422
    assert reply.json()["detail"][0]["loc"][0] == "header"


def test_bulk_orders_are_all_carried_out() -> None:
    """POST /orders/bulk answers when all are confirmed; every one of them ends as reserved."""
    streaming = MODELS[2]
    before, stock = get(streaming.order, "/orders/summary"), streaming.stock("salad")
    reply = call("POST", streaming.order, "/orders/bulk", json={"count": 1000, "item": "salad", "quantity": 2})
    assert reply.status_code == 201, reply.text
    assert reply.json()["count"] == 1000
    assert len(set(reply.json()["order_ids_sample"])) == 5
    becomes(
        lambda: get(streaming.order, "/orders/summary")["reserved"], before["reserved"] + 1000, "1000 orders reserved"
    )
    assert streaming.stock("salad") == stock - 2000
