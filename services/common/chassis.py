"""What every service runs on: its settings, store, metrics, faults and health, and the FastAPI app over them."""

import asyncio
import gc
import logging
import os
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from importlib import metadata
from typing import Protocol

import sqlalchemy as sa
import uvicorn
from fastapi import APIRouter, FastAPI
from fastapi.responses import JSONResponse
from pydantic import ValidationError

from services.common import problems
from services.common.errors import LabError
from services.common.faults import Faults, fault_router
from services.common.settings import Service, Settings
from services.common.store import Store
from services.common.telemetry import Metrics, configure_logs, logger
from services.common.tracing import instrument, start_tracing

_LIBRARIES = ("fastapi", "uvicorn", "httpx", "pika", "confluent-kafka", "sqlalchemy", "opentelemetry-sdk")

GRACE = 15
"""Seconds a service has to finish what it began when it is told to stop."""

KEEP_ALIVE = 75
"""Seconds for which an idle connection is kept: longer than any client of the lab keeps one (aiohttp: 15), so that none
is closed at the moment in which its next request is sent."""

_log = logger("campus.service")


class Component(Protocol):
    """A part of a service that runs beside its requests."""

    @property
    def name(self) -> str:
        """What health calls it."""

    async def start(self) -> None:
        """Begin; return without waiting for anything outside the process."""

    async def stop(self) -> None:
        """Finish the work in hand and end."""

    def failing(self) -> str | None:
        """Why it cannot do its work now, or None when it can."""


class Chassis:
    """One service's shared parts; nothing is opened before the app starts.

    Args:
        service: Who it is.
        tables: What it keeps.
        settings: Its environment; read from the process's own when absent.
    """

    def __init__(self, service: Service, tables: sa.MetaData, settings: Settings | None = None) -> None:
        self.service = service
        self.settings = settings or Settings()
        self.metrics = Metrics(service)
        self.store = Store(self.settings.database_of(service), tables)
        self.faults = Faults(
            self.metrics,
            requests=service.model == "sync" or service.name.endswith("-order"),
            messages=service.model != "sync",
            # One that joins others takes on their faults before it takes a message: see lab.runtime.scale.
            paused=self.settings.instance > 1,
        )
        self._components: list[Component] = [self.store]
        self._at_start: list[Callable[[], Awaitable[None]]] = []

    @property
    def port(self) -> int:
        """The port the service listens on."""
        return self.settings.port or self.service.port

    def runs(self, component: Component) -> None:
        """Start `component` with the service, after those named before, and stop it before them."""
        self._components.append(component)

    def at_start(self, prepare: Callable[[], Awaitable[None]]) -> None:
        """Await `prepare` when the store is open and before any other component starts."""
        self._at_start.append(prepare)

    def app(self, *routers: APIRouter) -> FastAPI:
        """The service's FastAPI app: these routers, /health, and the faults."""
        app = FastAPI(title=self.service.name, lifespan=self._lifespan)
        problems.install(app)
        # The service's own first: routes are looked up in this order. Not included as routers, for each of those
        # is looked up twice, at a tenth of the cost of an order.
        for router in (*routers, self._health_router(), fault_router(self.faults, self.settings.admin_token)):
            app.router.routes.extend(router.routes)
        instrument(app, self.settings)
        return app

    @property
    def conditions(self) -> dict[str, object]:
        """What the service runs with, as far as it bears on a comparison; nothing secret."""
        secret = {"admin_token", "database_url", "rabbitmq_url"}
        return {
            "settings": self.settings.model_dump(mode="json", exclude=secret),
            "sampler": os.environ.get("OTEL_TRACES_SAMPLER", "parentbased_always_on"),
            "versions": {name: metadata.version(name) for name in _LIBRARIES},
        }

    def health(self) -> dict[str, str]:
        """Each part's state, "ok" or what fails."""
        return {component.name: component.failing() or "ok" for component in self._components}

    def _health_router(self) -> APIRouter:
        router = APIRouter(tags=["health"])

        @router.get("/health")
        async def health() -> JSONResponse:
            checks = self.health()
            failing = [name for name, state in checks.items() if state != "ok"]
            about = {"service": self.service.name, "checks": checks}
            if failing:
                return JSONResponse({"status": "unavailable", "failing": failing, **about}, 503)
            return JSONResponse({"status": "ok", **about})

        @router.get("/conditions")
        async def conditions() -> dict[str, object]:
            return {"service": self.service.name, "model": self.service.model, "pid": os.getpid(), **self.conditions}

        @router.get("/health/live")
        async def live() -> dict[str, str]:
            return {"status": "ok", "service": self.service.name}

        return router

    @asynccontextmanager
    async def _lifespan(self, _app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as running:
            try:
                await self._start(running)
            except LabError as error:
                _log.error("cannot start", error=str(error))
                raise
            except Exception:
                _log.exception("cannot start")
                raise
            yield
            _log.info("stopping")

    async def _start(self, running: AsyncExitStack) -> None:
        running.callback(start_tracing(self.service, self.settings, self.metrics.provider))
        metrics_port = self.settings.metrics_port or self.port + 1000
        try:
            self.metrics.serve(self.settings.host, metrics_port)
        except OSError as error:
            raise LabError(
                f"the metrics port {metrics_port} cannot be had ({error.strerror}); "
                "end what holds it or set LAB_METRICS_PORT"
            ) from error
        running.callback(self.metrics.close)
        for component in self._components:
            await component.start()
            running.push_async_callback(component.stop)
            if component is self.store:
                for prepare in self._at_start:
                    await prepare()
        _log.info("started", port=self.port, metrics_port=metrics_port)


def serve(service: Service, create_app: Callable[[Settings], FastAPI]) -> None:
    """Run a service until it is told to stop; exits with 1 and one sentence when it cannot start."""
    try:
        settings = Settings()
    except ValidationError as error:
        wrong = "; ".join(f"{entry['loc'][0]}: {entry['msg']}" for entry in error.errors())
        sys.exit(f"{service.name}: a setting is wrong: {wrong}")
    port = settings.port or service.port
    try:
        # Before anything is begun: a second copy of a service must not take the first one's messages.
        socket.create_server((settings.host, port)).close()
    except OSError as error:
        sys.exit(
            f"{service.name}: the port {port} on {settings.host} cannot be had ({error.strerror}); "
            "end what holds it or set LAB_PORT"
        )
    configure_logs(settings.log_format, service)
    # A failed start ends in the sentence that _lifespan logs; the server would add the traceback.
    logging.getLogger("uvicorn.error").addFilter(lambda record: not record.getMessage().startswith("Traceback"))
    # Reference counts free what an order leaves behind; a search for cycles at the usual rate costs a tenth of it.
    gc.set_threshold(20_000, 20, 100)
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=port,
        log_config=None,
        access_log=False,
        proxy_headers=False,
        timeout_graceful_shutdown=GRACE,
        timeout_keep_alive=KEEP_ALIVE,
        server_header=False,
    )
    # All is stopped and stored; a library's thread that still waits for a broker must not keep the process.
    logging.shutdown()
    os._exit(0)


async def cancelled(task: asyncio.Task[None] | None) -> None:
    """Cancel `task`, if there is one, and wait until it has ended."""
    if task is None:
        return
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
