"""The one place that knows httpx: calls to the other services of the synchronous model."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import httpx
import orjson
from httpx_aiohttp import HttpxAiohttpClient
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.metrics import NoOpMeterProvider

from services.common.errors import PeerRefused, PeerTimeout, PeerUnreachable
from services.common.settings import Settings

_JSON = {"content-type": "application/json"}


@contextmanager
def _ours(peer: httpx.URL) -> Iterator[None]:
    """The one place where httpx's errors become ours."""
    try:
        yield
    except httpx.ConnectTimeout as error:
        raise PeerUnreachable(f"{peer} accepts no connection") from error
    except httpx.TimeoutException as error:
        raise PeerTimeout(f"{peer} did not answer in time") from error
    except httpx.HTTPError as error:
        raise PeerUnreachable(f"{peer} cannot be reached: {str(error) or repr(error)}") from error


class Peers:
    """The services this one calls, through one client whose connections are kept.

    Args:
        settings: Where the peers are and how long an answer may take, in seconds.
    """

    name = "client"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._client: httpx.AsyncClient | None = None
        self._reserve = httpx.URL(f"{settings.sync_inventory_url}/reserve")
        self._release = httpx.URL(f"{settings.sync_inventory_url}/release")
        self._send = httpx.URL(f"{settings.sync_notification_url}/send")
        # Waiting for one of the connections is waiting for the answer, not for a peer that accepts none.
        self._limits = {"timeout": httpx.Timeout(settings.sync_timeout, pool=None).as_dict()}

    async def start(self) -> None:
        """Open the client."""
        limits = httpx.Limits(max_connections=200, max_keepalive_connections=200)
        self._client = HttpxAiohttpClient(timeout=self._settings.sync_timeout, limits=limits)
        if self._settings.traces == "on":
            HTTPXClientInstrumentor.instrument_client(self._client, meter_provider=NoOpMeterProvider())

    async def stop(self) -> None:
        """Close every connection."""
        if self._client is not None:
            await self._client.aclose()

    def failing(self) -> str | None:
        """None: a peer that is gone fails single orders, which say so."""
        return None if self._client is not None and not self._client.is_closed else "the HTTP client is closed"

    async def reserve(self, order_id: str, item: str, quantity: int) -> None:
        """Have the inventory reserve stock.

        Raises:
            PeerRefused: It will not; the text is its reason.
            PeerTimeout: It has not answered in time, and may have reserved.
            PeerUnreachable: It cannot be reached or fails.
        """
        body = {"order_id": order_id, "item": item, "quantity": quantity}
        await self._post(self._reserve, body)

    async def release(self, order_id: str) -> None:
        """Have the inventory give back what an order may hold; raises as `reserve` does."""
        await self._post(self._release, {"order_id": order_id})

    async def send(self, order_id: str, status: str, item: str) -> None:
        """Have the notification service tell the customer; raises as `reserve` does."""
        body = {"order_id": order_id, "status": status, "item": item}
        await self._post(self._send, body)

    async def _post(self, peer: httpx.URL, body: Mapping[str, object]) -> None:
        if self._client is None:
            raise PeerUnreachable("the HTTP client is not open")
        with _ours(peer):
            # aiohttp's limits are per operation; an order's is for the whole exchange.
            try:
                async with asyncio.timeout(self._settings.sync_timeout):
                    reply = await self._client.send(self._request(peer, body))
            except TimeoutError as error:
                raise httpx.ReadTimeout(str(error)) from error
        if reply.status_code in (404, 409, 422):
            raise PeerRefused(_reason(reply))
        if not reply.is_success:
            raise PeerUnreachable(f"{peer} answered {reply.status_code}")

    def _request(self, url: httpx.URL, body: Mapping[str, object]) -> httpx.Request:
        # Built here, for `AsyncClient.post` merges URLs, headers and cookies anew at a fifth of a call's cost.
        return httpx.Request("POST", url, headers=_JSON, content=orjson.dumps(body), extensions=self._limits)


def _reason(reply: httpx.Response) -> str:
    detail = reply.json().get("detail")
    return detail if isinstance(detail, str) else f"the request was not understood: {detail}"
