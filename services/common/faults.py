"""Faults that a user injects into a running service, and the router that takes them."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from opentelemetry import trace
from pydantic import BaseModel, Field, StrictBool

from services.common.errors import InjectedFailure
from services.common.problems import Problem
from services.common.telemetry import Metrics

DELAY_MAX = 60.0
THROTTLE_MAX = 10.0

_tracer = trace.get_tracer("campus.faults")


class Faults:
    """What is injected now. Nothing is, after a start, unless it is to wait for being told.

    `delay` and `throttle` differ as latency and capacity do: a delay comes before a unit of work (a request, or
    the batch of messages that is ready) and others wait beside it; a throttle is paid for every message in turn.
    In a service that takes requests and messages, `delay` and `fail` are for the requests.

    Args:
        metrics: Where campus_fault_active is kept.
        requests: Whether the service's work is asked for over HTTP.
        messages: Whether the service reads messages, so that it can be throttled and paused.
        paused: Whether it begins paused, reading no message until it is told to.
    """

    def __init__(self, metrics: Metrics, *, requests: bool, messages: bool, paused: bool = False) -> None:
        self._metrics = metrics
        self._requests = requests
        self.messages = messages
        self.delay = 0.0
        self.throttle = 0.0
        self.fail = False
        self.paused = paused and messages
        self.publish()

    def state(self) -> dict[str, float | bool]:
        """What is injected, by kind; seconds or whether it is on."""
        state: dict[str, float | bool] = {"delay": self.delay, "fail": self.fail}
        return state | {"throttle": self.throttle, "pause": self.paused} if self.messages else state

    def reset(self) -> None:
        """End every fault."""
        self.delay = self.throttle = 0.0
        self.fail = self.paused = False
        self.publish()

    def publish(self) -> None:
        """Bring campus_fault_active up to date."""
        for fault, value in self.state().items():
            self._metrics.fault(fault, active=bool(value))

    def batch_limit(self, limit: int) -> int:
        """How many messages to take at once, at most `limit`: a throttled batch takes a second or one message."""
        return limit if not self.throttle else max(1, min(limit, int(1 / self.throttle)))

    async def before_request(self) -> None:
        """What stands before a request's work; a FastAPI dependency.

        Raises:
            InjectedFailure: POST /admin/fail is on.
        """
        await _wait(self.delay)
        self._raise_if_failing()

    async def before_messages(self, count: int) -> None:
        """What stands before the work on a batch of `count` messages: the delay once, the throttle for each."""
        await _wait((0 if self._requests else self.delay) + self.throttle * count)

    def raise_if_messages_fail(self) -> None:
        """Fail the work on messages when a user asked for it.

        Raises:
            InjectedFailure: POST /admin/fail is on.
        """
        if not self._requests:
            self._raise_if_failing()

    def _raise_if_failing(self) -> None:
        if self.fail:
            raise InjectedFailure("this service was told to fail (POST /admin/fail)")


async def _wait(seconds: float) -> None:
    if seconds:
        with _tracer.start_as_current_span("fault", attributes={"campus.fault.seconds": seconds}):
            await asyncio.sleep(seconds)


class Delay(BaseModel):
    """Seconds to wait before each unit of work."""

    seconds: float = Field(ge=0, le=DELAY_MAX, allow_inf_nan=False)


class Throttle(BaseModel):
    """Seconds that each message costs."""

    seconds: float = Field(ge=0, le=THROTTLE_MAX, allow_inf_nan=False)


class Switch(BaseModel):
    """On or off."""

    enabled: StrictBool


def admin_router(token: str | None) -> APIRouter:
    """A router for /admin/*; with a token it answers 401 to requests that do not bear it."""
    bearer = HTTPBearer(auto_error=False)

    def authorised(given: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]) -> None:
        if token and (given is None or given.credentials != token):
            raise Problem(401, "this needs the lab's admin token as a bearer token (LAB_ADMIN_TOKEN)")

    return APIRouter(prefix="/admin", tags=["admin"], dependencies=[Depends(authorised)])


State = dict[str, float | bool]


def fault_router(faults: Faults, token: str | None) -> APIRouter:
    """The endpoints that inject faults and end them; each answers with what is injected after it."""
    router = admin_router(token)

    def applied() -> State:
        faults.publish()
        return faults.state()

    @router.get("/faults")
    async def show() -> State:
        return faults.state()

    @router.post("/delay")
    async def delay(body: Delay) -> State:
        faults.delay = body.seconds
        return applied()

    @router.post("/fail")
    async def fail(body: Switch) -> State:
        faults.fail = body.enabled
        return applied()

    @router.post("/reset")
    async def reset() -> State:
        faults.reset()
        return applied()

    if faults.messages:

        @router.post("/throttle")
        async def throttle(body: Throttle) -> State:
            faults.throttle = body.seconds
            return applied()

        @router.post("/pause")
        async def pause(body: Switch) -> State:
            faults.paused = body.enabled
            return applied()

    return router
