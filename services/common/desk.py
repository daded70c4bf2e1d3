"""The order desk: what a client sees of an order service, the same in all three models."""

import asyncio
import random
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from dataclasses import replace as copy_with
from typing import Annotated

import structlog
from fastapi import APIRouter, Depends, FastAPI, Header, Query
from fastapi.responses import JSONResponse
from opentelemetry import trace
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.common.chassis import Chassis
from services.common.errors import (
    BrokerUnavailable,
    LabError,
    PeerRefused,
    PeerTimeout,
    PeerUnreachable,
    Rejection,
)
from services.common.orders import Entry, OrderBook
from services.common.problems import Problem
from services.common.schemas import Identifier, OrderWish
from services.common.telemetry import Metrics, logger
from services.common.tracing import ORDER_ID
from services.domain.orders import Order, OrderStatus

_log = logger("campus.orders")

Confirmed = Callable[[Sequence[Order]], None]

Place = Callable[[Order], Awaitable[OrderStatus]]
"""Hands an order to the rest of the flow and returns where it stands then; raises a `LabError` of `_REJECTED`."""


@dataclass(frozen=True, slots=True)
class _Rejected:
    """What a failure to place an order means to the client and to the book; `final` when a retry is no use."""

    answer: int
    reason: Rejection
    status: OrderStatus
    final: bool = True


_REJECTED: dict[type[LabError], _Rejected] = {
    PeerRefused: _Rejected(422, Rejection.REFUSED, OrderStatus.FAILED),
    PeerUnreachable: _Rejected(502, Rejection.UNREACHABLE, OrderStatus.FAILED),
    PeerTimeout: _Rejected(504, Rejection.TIMEOUT, OrderStatus.TIMEOUT),
    BrokerUnavailable: _Rejected(503, Rejection.UNCONFIRMED, OrderStatus.REJECTED, final=False),
}
_REASON_OF_ANSWER = {rejected.answer: rejected.reason for rejected in _REJECTED.values()}
_REPLAYED = "Idempotent-Replayed"
_REJECTION = "Campus-Rejection"
_COMPLETION = {
    OrderStatus.RESERVED: OrderStatus.RESERVED,
    OrderStatus.NOTIFIED: OrderStatus.RESERVED,
    OrderStatus.FAILED: OrderStatus.FAILED,
}


def new_order(item: str, quantity: int) -> Order:
    """An order placed now, with an id of its own."""
    # Unique, not secret: the system's own generator costs a system call for each.
    order_id = uuid.UUID(int=random.getrandbits(128), version=4)
    return Order(str(order_id), item, quantity, OrderStatus.PLACED, time.time())


class OrderDesk:
    """Takes orders, answers with what became of them, and repeats that answer for a repeated idempotency key.

    Args:
        chassis: The order service's.
        book: Its orders.
        place: The model's way to hand an order on.
        accepted: The HTTP status of an accepted order.
        confirmed: Told of accepted orders whose outcome comes by an event later; absent where `place` returns it.
    """

    def __init__(
        self, chassis: Chassis, book: OrderBook, place: Place, *, accepted: int, confirmed: Confirmed | None = None
    ) -> None:
        self._metrics = chassis.metrics
        self._faults = chassis.faults
        self._book = book
        self._place = place
        self._accepted = accepted
        self._confirmed = confirmed
        self._under_way: dict[str, asyncio.Lock] = {}

    async def take(self, wish: OrderWish, key: str | None) -> JSONResponse:
        """Place the order, or answer as before where `key` was used before.

        Raises:
            Problem: The order is rejected; 422 also where `key` stands for another order.
        """
        if key is None:
            return await self._take_new(new_order(wish.item, wish.quantity), None)
        lock = self._under_way.setdefault(key, asyncio.Lock())
        try:
            async with lock:
                known = await self._book.by_key(key)
                if known is None:
                    return await self._take_new(new_order(wish.item, wish.quantity), key)
                return await self._take_again(known, wish, key)
        finally:
            if not lock.locked():
                self._under_way.pop(key, None)

    async def _take_new(self, order: Order, key: str | None) -> JSONResponse:
        trace.get_current_span().set_attribute(ORDER_ID, order.order_id)
        structlog.contextvars.bind_contextvars(order_id=order.order_id)
        await self._book.add([order], key)
        return await self._answer(order, key)

    async def _take_again(self, known: Entry, wish: OrderWish, key: str) -> JSONResponse:
        if (known.order.item, known.order.quantity) != (wish.item, wish.quantity):
            raise Problem.field("header", "Idempotency-Key", "this key was used for an order with another body")
        self._metrics.duplicates(1)
        if known.answer is None:
            await self._book.reopen(known.order.order_id)
            return await self._answer(copy_with(known.order, status=OrderStatus.PLACED), key)
        if known.answer < 300:
            return JSONResponse(_shown(known.order), known.answer, {_REPLAYED: "true"})
        raise _rejection(known.answer, known.order, known.reason or "")

    async def _answer(self, order: Order, key: str | None) -> JSONResponse:
        try:
            status = await self._place(order)
        except LabError as error:
            rejected = _REJECTED.get(type(error))
            if rejected is None:
                raise
            order = copy_with(order, status=rejected.status)
            await self._book.answered([order], rejected.answer if rejected.final else None, str(error))
            if rejected.reason is Rejection.REFUSED:
                self._completed(order)
            _log.warning("order rejected", order_id=order.order_id, reason=rejected.reason, error=str(error))
            raise _rejection(rejected.answer, order, str(error)) from error
        order = copy_with(order, status=status)
        if self._confirmed is not None and key is None:
            self._confirmed([order])
        else:
            await self._book.answered([order], self._accepted)
        if order.status in _COMPLETION:
            self._completed(order)
        return JSONResponse(_shown(order), self._accepted)

    async def take_all(self, orders: Sequence[Order], publish: Callable[[Sequence[Order]], Awaitable[None]]) -> None:
        """Place many orders with one call of `publish`, all or none as far as the client is told.

        Raises:
            Problem: Not all were confirmed; those that were nevertheless are carried out.
        """
        await self._book.add(orders)
        try:
            await publish(orders)
        except BrokerUnavailable as error:
            rejected = _REJECTED[BrokerUnavailable]
            await self._book.answered([copy_with(order, status=rejected.status) for order in orders], None, str(error))
            self._metrics.rejected(rejected.reason, len(orders))
            raise Problem(rejected.answer, str(error)) from error
        self._metrics.accepted(len(orders))
        if self._confirmed is not None:
            self._confirmed(orders)

    def _completed(self, order: Order) -> None:
        self._metrics.completed(_COMPLETION[order.status], time.time() - order.timestamp)


def _shown(order: Order) -> dict[str, object]:
    """The order as clients see it."""
    return {
        "order_id": order.order_id,
        "item": order.item,
        "quantity": order.quantity,
        "status": order.status.value,
        "timestamp": order.timestamp,
    }


def _rejection(answer: int, order: Order, reason: str) -> Problem:
    return Problem(answer, {"order": _shown(order), "reason": reason}, {_REJECTION: _REASON_OF_ANSWER[answer]})


def order_router(desk: OrderDesk, book: OrderBook, chassis: Chassis) -> APIRouter:
    """The endpoints of every order service."""
    router = APIRouter(tags=["orders"])

    @router.post("/order", dependencies=[Depends(chassis.faults.before_request)])
    async def order(wish: OrderWish, idempotency_key: Annotated[Identifier | None, Header()] = None) -> JSONResponse:
        return await desk.take(wish, idempotency_key)

    @router.get("/orders")
    async def orders(
        status: OrderStatus | None = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        after: Identifier | None = None,
    ) -> JSONResponse:
        page = await book.page(status, limit, after)
        if page is None:
            raise Problem.field("query", "after", "no order has this id")
        return JSONResponse([_shown(order) for order in page])

    @router.get("/orders/summary")
    async def summary() -> dict[str, int]:
        return await book.summary()

    @router.get("/orders/{order_id}")
    async def one(order_id: str) -> JSONResponse:
        found = await book.get(order_id)
        if found is None:
            raise Problem(404, f"no order has the id {order_id}")
        return JSONResponse(_shown(found))

    return router


def count_replies(app: FastAPI, metrics: Metrics) -> None:
    """Count and time every reply to POST /order that `app` gives, whichever part of it gave it."""
    app.add_middleware(_Replies, metrics=metrics)


class _Replies:
    """ASGI middleware that keeps the accept metrics."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != "/order" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        answer, headers = 500, Headers()

        async def noted(message: Message) -> None:
            nonlocal answer, headers
            if message["type"] == "http.response.start":
                answer, headers = message["status"], Headers(raw=message["headers"])
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            self._metrics.accept_seconds(time.perf_counter() - began)
            if answer >= 500:
                self._metrics.rejected(Rejection(headers.get(_REJECTION, Rejection.ERROR)))
            elif answer >= 300:
                self._metrics.rejected(Rejection(headers.get(_REJECTION, Rejection.INVALID)))
            elif _REPLAYED not in headers:
                self._metrics.accepted()
