"""Metrics, traces and logs of a service, through the OpenTelemetry SDK and structlog.

Metrics are scraped by Prometheus from the service's metrics port. Every series of the contract exists from the
start, at 0, so that a difference of two readings never meets an absent series.
"""

import logging
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from dataclasses import replace as copy_with
from typing import Any
from wsgiref.simple_server import WSGIServer

import structlog
from opentelemetry import metrics, trace
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
)
from opentelemetry.sdk.resources import Resource
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.process_collector import ProcessCollector

from services.common.errors import Rejection, StoreUnavailable
from services.common.settings import Service
from services.domain.orders import OrderStatus
from services.domain.stock import Stock

BUCKETS = (
    *(0.001, 0.002, 0.003, 0.005, 0.0075),
    *(0.01, 0.015, 0.02, 0.03, 0.05, 0.075),
    *(0.1, 0.15, 0.2, 0.3, 0.5, 0.75),
    *(1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 7.5),
    *(10.0, 15.0, 20.0, 30.0, 60.0, 120.0, 300.0),
)
"""Bounds of every latency histogram, in seconds: from a local write to a backlog of minutes."""


class DeadLetterReason:
    """Why a message is set aside: the values of `reason` in campus_messages_dead_lettered_total."""

    MALFORMED = "malformed"
    EXHAUSTED = "exhausted"


@dataclass(frozen=True, slots=True)
class _Declared:
    """A histogram and the attributes of its series."""

    name: str
    description: str
    series: Sequence[Mapping[str, str]]


class _ReaderFromZero(PrometheusMetricReader):
    """A reader that shows declared histograms, empty, before their first recording."""

    def __init__(self, registry: CollectorRegistry, declared: Sequence[_Declared]) -> None:
        self._declared = declared
        super().__init__(scope_info_enabled=False, registry=registry)

    def _receive_metrics(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any) -> None:
        if metrics_data is not None and metrics_data.resource_metrics:
            shown = metrics_data.resource_metrics[0].scope_metrics[0].metrics
            assert isinstance(shown, list)  # noqa: S101 - the SDK builds a list, typed as a sequence
            for histogram in self._declared:
                _show_from_zero(shown, histogram)
        super()._receive_metrics(metrics_data, timeout_millis, **kwargs)


def _show_from_zero(shown: list[Metric], histogram: _Declared) -> None:
    at = next((index for index, metric in enumerate(shown) if metric.name == histogram.name), None)
    recorded: list[HistogramDataPoint] = [] if at is None else list(shown[at].data.data_points)  # type: ignore[arg-type]
    present = [dict(point.attributes or {}) for point in recorded]
    empty = [_empty_point(series) for series in histogram.series if dict(series) not in present]
    data = Histogram([*recorded, *empty], AggregationTemporality.CUMULATIVE)
    if at is None:
        shown.append(Metric(histogram.name, histogram.description, "s", data))
    else:
        shown[at] = copy_with(shown[at], data=data)


def _empty_point(attributes: Mapping[str, str]) -> HistogramDataPoint:
    return HistogramDataPoint(dict(attributes), 0, 0, 0, 0.0, [0] * (len(BUCKETS) + 1), BUCKETS, 0.0, 0.0)


class Metrics:
    """The instruments of the contract, bound to one service.

    Args:
        service: Whose figures they are; its model is a label of every campus_* series.
    """

    def __init__(self, service: Service) -> None:
        self._model = {"model": service.model}
        self._service = service
        self._accept = _Declared(
            "campus_order_accept", "POST /order: request in to reply out, at the order service", [self._model]
        )
        self._completion = _Declared(
            "campus_order_completion",
            "Order placed to its outcome being visible",
            [self._model | {"outcome": outcome} for outcome in (OrderStatus.RESERVED, OrderStatus.FAILED)],
        )
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        declared = [self._accept, self._completion] if service.name.endswith("-order") else []
        resource = Resource.create({"service.name": service.name, "service.namespace": "campus-food"})
        self.provider = MeterProvider([_ReaderFromZero(self.registry, declared)], resource=resource)
        self._instruments(
            self.provider.get_meter("campus"),
            orders=bool(declared),
            notifies=service.name.endswith("-notification"),
        )
        self._server: WSGIServer | None = None

    def _instruments(self, meter: metrics.Meter, *, orders: bool, notifies: bool) -> None:
        self._accepted = meter.create_counter("campus_orders_accepted", description="Orders that got a 2xx")
        self._rejected = meter.create_counter("campus_orders_rejected", description="Orders that got anything else")
        self._inventory: Callable[[], tuple[Mapping[str, int], Stock]] | None = None
        meter.create_observable_counter(
            "campus_order_outcomes", [self._observe_outcomes], description="Decided by inventory, each order once"
        )
        self._dead = meter.create_counter("campus_messages_dead_lettered", description="Messages set aside")
        self._duplicates = meter.create_counter(
            "campus_duplicates_ignored", description="Work asked for again and not done again"
        )
        self._notified = meter.create_counter("campus_notifications_sent", description="Customers notified, each once")
        self._faults = meter.create_gauge("campus_fault_active", description="1 while a fault is injected")
        meter.create_observable_gauge(
            "campus_stock_units",
            [self._observe_stock],
            description="Units of an item: left, reserved, ever received",
        )
        self._analysed = meter.create_gauge("campus_analytics_events", description="Events in the analytics view")
        self._accept_seconds = meter.create_histogram(
            self._accept.name, "s", self._accept.description, explicit_bucket_boundaries_advisory=BUCKETS
        )
        self._completion_seconds = meter.create_histogram(
            self._completion.name,
            "s",
            self._completion.description,
            explicit_bucket_boundaries_advisory=BUCKETS,
        )
        self._duplicates.add(0, self._model)
        if orders:
            self._accepted.add(0, self._model)
            for rejection in Rejection:
                self._rejected.add(0, self._model | {"reason": rejection})
        if notifies:
            self._notified.add(0, self._model)
        for reason in (DeadLetterReason.MALFORMED, DeadLetterReason.EXHAUSTED):
            self._dead.add(0, self._model | {"reason": reason})

    def serve(self, host: str, port: int) -> None:
        """Answer GET /metrics on `port` from now on.

        Raises:
            OSError: The port cannot be had.
        """
        self._server, _ = start_http_server(port, host, self.registry)

    def close(self) -> None:
        """Stop answering."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    def accepted(self, orders: int = 1) -> None:
        """Count orders that the client saw accepted."""
        self._accepted.add(orders, self._model)

    def rejected(self, reason: Rejection, orders: int = 1) -> None:
        """Count orders that the client saw rejected."""
        self._rejected.add(orders, self._model | {"reason": reason})

    def accept_seconds(self, seconds: float) -> None:
        """Record how long a reply to POST /order took."""
        self._accept_seconds.record(seconds, self._model)

    def completed(self, outcome: OrderStatus, seconds: float) -> None:
        """Record how long an order took to its outcome, `reserved` or `failed`."""
        self._completion_seconds.record(seconds, self._model | {"outcome": outcome})

    def dead_lettered(self, reason: str, messages: int = 1) -> None:
        """Count messages set aside; `reason` is one of `DeadLetterReason`."""
        self._dead.add(messages, self._model | {"reason": reason})

    def notified(self, customers: int) -> None:
        """Count customers that were notified."""
        self._notified.add(customers, self._model)

    def duplicates(self, count: int) -> None:
        """Count work that was asked for again."""
        self._duplicates.add(count, self._model)

    def analysed(self, what: str, events: int) -> None:
        """Say how many orders `placed`, `reserved` or `failed` the analytics view holds."""
        self._analysed.set(events, self._model | {"what": what})

    def fault(self, fault: str, *, active: bool) -> None:
        """Say whether a fault is injected into this service."""
        self._faults.set(int(active), {"service": self._service.name, "fault": fault})

    def inventory(self, stored: Callable[[], tuple[Mapping[str, int], Stock]]) -> None:
        """Show, at every scrape, what the inventory has stored: how many orders by outcome, and the stock."""
        self._inventory = stored

    def _stored(self) -> tuple[Mapping[str, int], Stock] | None:
        try:
            return None if self._inventory is None else self._inventory()
        except StoreUnavailable:
            # Health says so; a series without a sample is better than a wrong one.
            return None

    def _observe_outcomes(self, _options: CallbackOptions) -> Iterable[Observation]:
        if stored := self._stored():
            for outcome, orders in stored[0].items():
                yield Observation(orders, self._model | {"outcome": outcome})

    def _observe_stock(self, _options: CallbackOptions) -> Iterable[Observation]:
        if stored := self._stored():
            for item, shelf in stored[1].shelves.items():
                for state, units in asdict(shelf).items():
                    yield Observation(units, self._model | {"item": item, "state": state})


def configure_logs(log_format: str, service: Service) -> None:
    """Send every log record, the libraries' too, to standard output as one line each.

    A line carries the service, the time, and the trace and span ids where a span is current. `log_format` is
    "json", or "console" for a person at a terminal.
    """

    def identify(_logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        span = trace.get_current_span().get_span_context()
        if span.is_valid:
            event["trace_id"] = trace.format_trace_id(span.trace_id)
            event["span_id"] = trace.format_span_id(span.span_id)
        event["service"] = service.name
        return event

    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        identify,
    ]
    final: list[structlog.typing.Processor] = (
        [structlog.dev.ConsoleRenderer()]
        if log_format == "console"
        else [structlog.processors.dict_tracebacks, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *final],
        )
    )
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    # pika logs every step of a reconnection as an error of its own; the transport logs it once.
    logging.getLogger("pika").setLevel(logging.CRITICAL)
    logging.getLogger("httpx").setLevel(logging.WARNING)


def logger(name: str) -> structlog.stdlib.BoundLogger:
    """A logger that takes an event's name and its fields: `log.info("order placed", order_id=…)`."""
    log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return log
