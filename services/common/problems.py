"""How an HTTP error looks: `{"detail": …}`, whatever went wrong."""

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.common.errors import InjectedFailure, StoreUnavailable
from services.common.telemetry import logger

BODY_MAX = 64 * 1024
"""The largest request body, in bytes; one more gives 413."""

_log = logger("campus.http")


class Problem(Exception):  # noqa: N818 - it is an answer, not a defect
    """An HTTP error reply.

    Args:
        status: The HTTP status.
        detail: What stands under `detail`, a sentence or an object.
        headers: Headers of the reply.
    """

    def __init__(self, status: int, detail: object, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(str(detail))
        self.status = status
        self.detail = detail
        self.headers = headers

    @classmethod
    def field(cls, place: str, name: str, message: str) -> "Problem":
        """A 422 that names a field of the request's `place` (body, query, header), as FastAPI's own do."""
        return cls(422, [{"loc": [place, name], "msg": message, "type": "value_error"}])

    def reply(self) -> JSONResponse:
        """The reply itself."""
        return JSONResponse({"detail": self.detail}, self.status, self.headers)


def install(app: FastAPI) -> None:
    """Give `app` the lab's error replies and its limit on bodies."""
    app.add_middleware(BodyLimit)

    @app.exception_handler(Problem)
    async def problem(_request: Request, error: Problem) -> JSONResponse:
        return error.reply()

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        # Without the offending input: it may be anything, also what JSON cannot carry.
        return Problem(422, [{key: entry[key] for key in ("loc", "msg", "type")} for entry in error.errors()]).reply()

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        # FastAPI's 400 is for a body that cannot be decoded at all: bad input like any other.
        if error.status_code == 400:
            return await invalid(request, RequestValidationError([_undecodable()]))
        return Problem(error.status_code, error.detail).reply()

    @app.exception_handler(StoreUnavailable)
    async def store(_request: Request, error: StoreUnavailable) -> JSONResponse:
        _log.error("store unavailable", error=str(error))
        return Problem(503, f"the service's database cannot be used: {error}").reply()

    @app.exception_handler(InjectedFailure)
    async def injected(_request: Request, error: InjectedFailure) -> JSONResponse:
        return Problem(500, str(error)).reply()


def _undecodable() -> dict[str, Any]:
    return {"loc": ("body",), "msg": "the body is not JSON in UTF-8", "type": "json_invalid"}


class BodyLimit:
    """ASGI middleware that answers 413 to a body over `BODY_MAX` bytes, declared or streamed."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it as soon as it is known to be too large."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if int(declared) > BODY_MAX:
            await _too_large(scope, receive, send)
            return
        taken = 0

        async def counted() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > BODY_MAX:
                raise HTTPException(413, _TOO_LARGE)
            return message

        await self._app(scope, counted, send)


_TOO_LARGE = f"the body is larger than {BODY_MAX} bytes"


async def _too_large(scope: Scope, receive: Receive, send: Send) -> None:
    await Problem(413, _TOO_LARGE).reply()(scope, receive, send)
