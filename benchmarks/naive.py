"""The order flow the way people begin: the other side of the ratios in `speed.py`. In-memory, no telemetry.

`python -m benchmarks.naive sync-order PORT` (with sync-inventory and sync-notification on the next two ports), or
`async-order PORT`; `streaming_inventory` runs in the caller's process.
"""

import json
import os
import sys
import time
import uuid

import confluent_kafka as kafka
import httpx
import pika
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

from services.async_rabbitmq.amqp import INVENTORY_QUEUE
from services.common.schemas import OrderWish
from services.streaming_kafka.log import ORDER_EVENTS


class Reserve(OrderWish):
    """The body of POST /reserve."""

    order_id: str


class Send(BaseModel):
    """The body of POST /send."""

    order_id: str


def sync_order(port: int) -> FastAPI:
    """A new HTTP client for each call."""
    app = FastAPI()

    @app.post("/order", status_code=201)
    async def order(wish: OrderWish) -> dict[str, object]:
        order_id = str(uuid.uuid4())
        body = {"order_id": order_id, **wish.model_dump()}
        async with httpx.AsyncClient() as client:
            (await client.post(f"http://127.0.0.1:{port + 1}/reserve", json=body)).raise_for_status()
        async with httpx.AsyncClient() as client:
            (await client.post(f"http://127.0.0.1:{port + 2}/send", json={"order_id": order_id})).raise_for_status()
        return {**body, "status": "notified", "timestamp": time.time()}

    return app


def sync_inventory(_port: int) -> FastAPI:
    """Stock in a dictionary."""
    app = FastAPI()
    stock = dict.fromkeys(("burger", "pizza", "salad"), 10**9)

    @app.post("/reserve")
    async def reserve(request: Reserve) -> dict[str, object]:
        stock[request.item] -= request.quantity
        return {"status": "reserved"}

    return app


def sync_notification(_port: int) -> FastAPI:
    """Notifications in a list."""
    app = FastAPI()
    sent: list[str] = []

    @app.post("/send")
    async def send(request: Send) -> dict[str, object]:
        sent.append(request.order_id)
        return {"status": "sent"}

    return app


def async_order(_port: int) -> FastAPI:
    """A new AMQP connection for each publish, confirmed, in an `async def` endpoint, where it blocks."""
    app = FastAPI()

    @app.post("/order", status_code=202)
    async def order(wish: OrderWish) -> dict[str, object]:
        return _published(wish)

    return app


def async_order_threads(_port: int) -> FastAPI:
    """The same in a plain `def` endpoint, which FastAPI runs in a pool of 40 threads."""
    app = FastAPI()

    @app.post("/order", status_code=202)
    def order(wish: OrderWish) -> dict[str, object]:
        return _published(wish)

    return app


def _published(wish: OrderWish) -> dict[str, object]:
    body = {"order_id": str(uuid.uuid4()), **wish.model_dump(), "timestamp": time.time()}
    connection = pika.BlockingConnection(pika.URLParameters(os.environ["RABBITMQ_URL"]))
    channel = connection.channel()
    channel.confirm_delivery()
    persistent = pika.BasicProperties(delivery_mode=pika.DeliveryMode.Persistent)
    channel.basic_publish("", INVENTORY_QUEUE, json.dumps(body).encode(), persistent)
    connection.close()
    return {**body, "status": "placed"}


def streaming_inventory(bootstrap: str, messages: int, into: str) -> float:
    """Read `messages` orders from the beginning, flush and commit after each; return the messages per second."""
    consumer = kafka.Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": f"naive-{uuid.uuid4()}",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    producer = kafka.Producer({"bootstrap.servers": bootstrap, "acks": "all"})
    stock = dict.fromkeys(("burger", "pizza", "salad"), 10**9)
    consumer.subscribe([ORDER_EVENTS])
    handled, began = 0, 0.0
    while handled < messages:
        message = consumer.poll(1)
        if message is None or message.error():
            continue
        began = began or time.perf_counter()
        order = json.loads(message.value() or b"")
        stock[order["item"]] -= order["quantity"]
        producer.produce(into, json.dumps({**order, "event": "inventory.reserved"}).encode(), message.key())
        producer.flush()
        consumer.commit(message=message, asynchronous=False)
        handled += 1
    rate = (handled - 1) / (time.perf_counter() - began)
    consumer.close()
    return rate


APPS = {
    "sync-order": sync_order,
    "sync-inventory": sync_inventory,
    "sync-notification": sync_notification,
    "async-order": async_order,
    "async-order-threads": async_order_threads,
}

if __name__ == "__main__":
    name, port = sys.argv[1], int(sys.argv[2])
    uvicorn.run(APPS[name](port), host="127.0.0.1", port=port, log_level="warning", access_log=False)
