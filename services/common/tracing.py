"""Traces of a service over OTLP; what the transports need to carry a trace across a broker.

LAB_TRACES=off leaves everything here out. The SDK's own variables (OTEL_TRACES_SAMPLER, OTEL_BSP_*,
OTEL_EXPORTER_OTLP_*) hold as the SDK documents them. Spans are exported by a thread from a bounded queue: with
nobody to receive them they are dropped and counted (otel_sdk_processor_span_processed_total with an error_type,
otel_sdk_exporter_span_exported_total likewise), and no order waits for them.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

from fastapi import FastAPI
from opentelemetry import metrics, propagate, trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind
from opentelemetry.util.types import AttributeValue

from services.common.settings import Service, Settings

LINKS_MAX = 10_000
"""Links a span may have: above the largest batch, whose span links to each of its messages."""

ORDER_ID = "campus.order.id"
"""The attribute that names the order a span is about."""

_tracer = trace.get_tracer("campus.messaging")

# Where the lab's default differs from the SDK's: what was dropped is counted, an order is found in Jaeger a second
# after it ended, not five (the delay is in milliseconds), and HTTP spans have the stable conventions' attributes.
_DEFAULTS = {
    "OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED": "true",
    "OTEL_BSP_SCHEDULE_DELAY": "1000",
    "OTEL_SEMCONV_STABILITY_OPT_IN": "http",
}


def _set_defaults() -> None:
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)


def start_tracing(service: Service, settings: Settings, meters: metrics.MeterProvider) -> Callable[[], None]:
    """Export this process's spans from now on; call the result to send what is left and end.

    Args:
        service: Whose spans they are.
        settings: With `traces` "off" nothing is recorded or sent.
        meters: Where exported and dropped spans are counted.
    """
    if settings.traces == "off":
        return lambda: None
    _set_defaults()
    provider = TracerProvider(
        resource=Resource.create(
            {
                "service.name": service.name,
                "service.namespace": "campus-food",
                "service.instance.id": f"{service.name}-{settings.instance}",
            }
        ),
        span_limits=SpanLimits(max_links=LINKS_MAX),
        meter_provider=metrics.NoOpMeterProvider(),
    )
    exporter = OTLPSpanExporter(timeout=2, meter_provider=meters)
    provider.add_span_processor(BatchSpanProcessor(exporter, meter_provider=meters))
    trace.set_tracer_provider(provider)
    return provider.shutdown


def instrument(app: FastAPI, settings: Settings) -> None:
    """Give each request of `app` a span, health checks apart."""
    if settings.traces == "on":
        # The instrumentors read theirs when the first of them is used.
        _set_defaults()
        FastAPIInstrumentor.instrument_app(
            app,
            excluded_urls="/health,/health/live",
            exclude_spans=["receive", "send"],
            meter_provider=metrics.NoOpMeterProvider(),
        )


NOT_TRACED = Context()
"""The context of a message that carries none."""


def carried(headers: Mapping[str, str]) -> Context:
    """The context that a message's headers carry."""
    return propagate.extract(headers, NOT_TRACED)


def left_out() -> Context:
    """A context that tells everyone downstream not to record: for messages by the thousand in one request."""
    span = trace.get_current_span().get_span_context()
    quiet = trace.SpanContext(span.trace_id, span.span_id, is_remote=False, trace_flags=trace.TraceFlags(0))
    return trace.set_span_in_context(trace.NonRecordingSpan(quiet), NOT_TRACED)


class Sends:
    """Spans around handing messages to a broker, from `begin` to the end of the `with` block: to their confirm.

    Args:
        system: `messaging.system`.
    """

    def __init__(self, system: str) -> None:
        self._system = system
        self._spans: list[trace.Span] = []

    def begin(
        self, destination: str, context: Context | None, body: bytes, about: Mapping[str, AttributeValue]
    ) -> dict[str, str]:
        """Begin the span of one message to a queue or topic, and return the headers that carry it.

        The span is a child of the one in `context`, or of the current one where that is absent; `about` has
        further attributes.
        """
        attributes = _operation(self._system, "send", destination) | {"messaging.message.body.size": len(body), **about}
        span = _tracer.start_span(f"send {destination}", context, SpanKind.PRODUCER, attributes)
        self._spans.append(span)
        headers: dict[str, str] = {}
        propagate.inject(headers, trace.set_span_in_context(span, context))
        return headers

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        for span in self._spans:
            if error is not None:
                span.record_exception(error)
                span.set_status(trace.StatusCode.ERROR, str(error))
            span.end()


@dataclass(frozen=True, slots=True)
class Carried:
    """What a message that came tells of its trace: the queue or topic, its context, and the order it is about."""

    source: str
    context: Context
    order_id: str


@contextmanager
def processing(
    system: str, messages: Sequence[Carried], about: Mapping[str, AttributeValue]
) -> Iterator[list[Context]]:
    """Spans around the work on messages: a child of each message's send span.

    Messages that are worked on together share one more span, current within, which links to each that is traced.

    Args:
        system: `messaging.system`.
        messages: What is worked on.
        about: Further attributes of every span.

    Yields:
        The contexts from which the trace of each message goes on.
    """
    if len(messages) == 1:
        [message] = messages
        name, attributes = _process(system, message, about)
        with _tracer.start_as_current_span(name, message.context, SpanKind.CONSUMER, attributes) as span:
            yield [trace.set_span_in_context(span, message.context)]
        return
    contexts = [message.context for message in messages]
    sent = [trace.get_current_span(context).get_span_context() for context in contexts]
    sources = ", ".join(dict.fromkeys(message.source for message in messages))
    together = {**_operation(system, "process", sources), **about, "messaging.batch.message_count": len(messages)}
    links = [trace.Link(span) for span in sent if span.is_valid and span.trace_flags.sampled]
    with _tracer.start_as_current_span(f"process {sources}", Context(), SpanKind.CONSUMER, together, links) as batch:
        to_batch = [trace.Link(batch.get_span_context())]
        spans = []
        for message in messages:
            name, attributes = _process(system, message, about)
            spans.append(_tracer.start_span(name, message.context, SpanKind.CONSUMER, attributes, to_batch))
        try:
            yield [trace.set_span_in_context(span, context) for span, context in zip(spans, contexts, strict=True)]
        except Exception as error:
            for span in spans:
                span.record_exception(error)
                span.set_status(trace.StatusCode.ERROR, str(error))
            raise
        finally:
            for span in spans:
                span.end()


def _process(
    system: str, message: Carried, about: Mapping[str, AttributeValue]
) -> tuple[str, dict[str, AttributeValue]]:
    attributes = {**_operation(system, "process", message.source), **about, ORDER_ID: message.order_id}
    return f"process {message.source}", attributes


def _operation(system: str, operation: str, destination: str) -> dict[str, AttributeValue]:
    return {
        "messaging.system": system,
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        "messaging.destination.name": destination,
    }
