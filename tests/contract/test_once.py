"""Work is done once: for a message that comes twice, also over a kill, and for a call whose answer is lost."""

from concurrent.futures import ThreadPoolExecutor

import httpx

from lab.runtime.base import Runtime
from tests.contract.brokers import placed, produce, publish
from tests.contract.calls import becomes, call, eventually, get, metric, new_id, post
from tests.contract.models import MODELS, Model

SYNC, ASYNC, STREAMING = MODELS


def test_the_same_request_twice_takes_stock_once(model: Model, stack: Runtime) -> None:
    """A repeated request for stock is ignored and counted, also by an inventory killed and started in between."""
    order_id, before, ignored = new_id(), model.stock(), model.duplicates()
    model.ask(order_id, quantity=3)
    assert model.decided(order_id)["status"] == "reserved"
    model.ask(order_id, quantity=3)
    becomes(model.duplicates, ignored + 1, "the ignored duplicate")
    assert model.stock() == before - 3
    outcomes = metric(model.inventory, "campus_order_outcomes_total", outcome="reserved")
    stack.kill(model.inventory)
    stack.start(model.inventory)
    # A killed consumer may be given its last messages again, so there may be more duplicates than this one.
    ignored = model.duplicates()
    model.ask(order_id, quantity=3)
    eventually(lambda: None if model.duplicates() > ignored else "none yet", "the duplicate ignored after the restart")
    assert model.stock() == before - 3
    assert model.decided(order_id)["status"] == "reserved"
    assert metric(model.inventory, "campus_order_outcomes_total", outcome="reserved") == outcomes


def test_a_repeated_refusal_stays_one(model: Model) -> None:
    """An order that was refused for want of stock stays refused when it is asked again with full shelves."""
    order_id = new_id()
    model.restock(1, "pizza")
    model.ask(order_id, "pizza", 2)
    assert model.decided(order_id)["status"] == "failed"
    model.restock(10, "pizza")
    ignored = model.duplicates()
    model.ask(order_id, "pizza", 2)
    becomes(model.duplicates, ignored + 1, "the ignored duplicate")
    assert (model.stock("pizza"), model.decided(order_id)["status"]) == (10, "failed")


def test_a_message_id_used_twice_takes_stock_once() -> None:
    """A second order under a message id that was processed is ignored, over both brokers."""
    for model, send in (
        (ASYNC, lambda message, key: publish("order.placed", message, key)),
        (STREAMING, lambda message, key: produce("order-events", message, key)),
    ):
        first, second, before, ignored = new_id(), new_id(), model.stock(), model.duplicates()
        # Kafka's key is the order id: with one key both come from one partition, in their sequence.
        send(placed(first), first)
        model.decided(first)
        send(placed(second, message_id=first), first)
        becomes(model.duplicates, ignored + 1, f"the {model} message id ignored")
        assert model.stock() == before - 1


def test_a_repeated_notification_is_sent_once() -> None:
    """POST /send twice for one order leaves one notification."""
    order_id = new_id()
    for _ in range(2):
        post(SYNC.last, "/send", {"order_id": order_id, "status": "reserved", "item": "burger"})
    assert len(get(SYNC.last, "/notifications", order_id=order_id)) == 1


def test_a_release_gives_back_once() -> None:
    """POST /release twice gives the units back once."""
    order_id, before = new_id(), SYNC.stock()
    SYNC.ask(order_id, quantity=4)
    assert SYNC.stock() == before - 4
    for _ in range(2):
        assert post(SYNC.inventory, "/release", {"order_id": order_id})["status"] == "released"
    assert SYNC.stock() == before


def test_a_release_that_overtakes_its_reserve_wins() -> None:
    """A reserve that comes after the release of its order is refused and takes nothing."""
    order_id, before = new_id(), SYNC.stock()
    assert post(SYNC.inventory, "/release", {"order_id": order_id})["status"] == "released"
    reply = call("POST", SYNC.inventory, "/reserve", json={"order_id": order_id, "item": "burger", "quantity": 4})
    assert (reply.status_code, reply.json()) == (409, {"detail": "released before it was reserved"})
    assert SYNC.stock() == before


def test_a_timed_out_order_holds_no_stock(stack: Runtime) -> None:
    """Inventory that answers too late gives 504 and a release, which is owed even by a service killed at once."""
    before = SYNC.stock()
    timeouts = metric(SYNC.order, "campus_orders_rejected_total", reason="timeout")
    # Longer than the service's own limit of 5 s, so that the reservation comes after the reply.
    post(SYNC.inventory, "/admin/delay", {"seconds": 7})
    reply = call("POST", SYNC.order, "/order", json={"item": "burger", "quantity": 5})
    counted = metric(SYNC.order, "campus_orders_rejected_total", reason="timeout")
    stack.kill(SYNC.order)
    assert reply.status_code == 504, reply.text
    order = reply.json()["detail"]["order"]
    assert order["status"] == "timeout"
    assert counted == timeouts + 1
    becomes(SYNC.stock, before - 5, "the late reservation")
    post(SYNC.inventory, "/admin/reset")
    stack.start(SYNC.order)
    becomes(SYNC.stock, before, "the units of the timed-out order back")
    assert SYNC.status(order["order_id"]) == "timeout"
    assert (SYNC.reservation(order["order_id"]) or {})["status"] == "released"


def test_an_order_that_nobody_answered_holds_no_stock(stack: Runtime) -> None:
    """A sync order whose service is killed while it is under way ends as failed, and what it reserved comes back."""
    before, placed_before = SYNC.stock(), get(SYNC.order, "/orders/summary")
    post(SYNC.last, "/admin/delay", {"seconds": 4})
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(call, "POST", SYNC.order, "/order", json={"item": "burger", "quantity": 5})
        becomes(SYNC.stock, before - 5, "the reservation")
        stack.kill(SYNC.order)
        assert isinstance(asked.exception(), httpx.TransportError)
    post(SYNC.last, "/admin/reset")
    stack.start(SYNC.order)
    becomes(SYNC.stock, before, "the units of the unanswered order back")
    after = get(SYNC.order, "/orders/summary")
    assert after == placed_before | {"failed": placed_before["failed"] + 1}


def test_a_failing_inventory_refuses_sync_orders() -> None:
    """While the inventory fails, an order is answered 502, nobody is notified, and nothing stays reserved."""
    before = SYNC.stock()
    post(SYNC.inventory, "/admin/fail", {"enabled": True})
    reply = call("POST", SYNC.order, "/order", json={"item": "burger", "quantity": 5})
    assert reply.status_code == 502, reply.text
    order = reply.json()["detail"]["order"]
    assert order["status"] == "failed"
    post(SYNC.inventory, "/admin/reset")
    becomes(lambda: (SYNC.reservation(order["order_id"]) or {}).get("status"), "released", "the release")
    assert SYNC.stock() == before
    assert get(SYNC.last, "/notifications", order_id=order["order_id"]) == []


def test_an_order_is_reserved_although_nobody_can_be_notified() -> None:
    """While the notification service fails, an order is accepted as reserved and keeps its stock."""
    before = SYNC.stock()
    post(SYNC.last, "/admin/fail", {"enabled": True})
    order = SYNC.place(quantity=2)
    assert order["status"] == "reserved"
    assert SYNC.status(order["order_id"]) == "reserved"
    assert SYNC.stock() == before - 2


def test_a_key_outlives_a_kill(model: Model, stack: Runtime) -> None:
    """An order service that was killed and started gives the same order for the same key."""
    key, before = new_id(), model.stock()
    order = model.place(key=key)
    model.ends(order["order_id"])
    stack.kill(model.order)
    stack.start(model.order)
    assert model.place(key=key)["order_id"] == order["order_id"]
    assert model.stock() == before - 1
