"""In what the models differ by design, and why: everything else a comparison holds equal."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lab.stack import MODELS, Model


@dataclass(frozen=True, slots=True)
class Difference:
    """A condition that is not the same for every model.

    Attributes:
        condition: What differs.
        of: What each model has, with the names of service settings in braces.
        why: Why it cannot, or should not, be the same.
    """

    condition: str
    of: Mapping[Model, str]
    why: str


DIFFERENCES = (
    Difference(
        "The customer is answered",
        {
            "sync": "once inventory has decided and the customer is notified",
            "async": "once RabbitMQ has confirmed the message",
            "streaming": "once all in-sync replicas have the record",
        },
        "This is the difference between the models; accept latency shows its price, completion latency takes it out.",
    ),
    Difference(
        "An order travels by",
        {
            "sync": "HTTP/1.1, one request an order, one shared pool of connections",
            "async": "a persistent message in a quorum queue, mandatory and with publisher confirms",
            "streaming": "a record in a log of 3 partitions by order_id, acks=all, idempotent producer",
        },
        "Each transport runs in the mode in which it loses nothing, or the comparison would be of speed with loss.",
    ),
    Difference(
        "No answer means failure after",
        {
            "sync": "{sync_timeout} s, answered 504",
            "async": "{confirm_timeout} s without a confirm, answered 503",
            "streaming": "{confirm_timeout} s without a delivery report, answered 503",
        },
        "The customer's patience is the same; what is waited for differs.",
    ),
    Difference(
        "Inventory takes at a time",
        {
            "sync": "1 request",
            "async": "{amqp_batch} messages an acknowledgement, {amqp_prefetch} prefetched",
            "streaming": "{kafka_batch} records a transaction",
        },
        "Consumers batch because they can: a caller that waits for its answer cannot be batched.",
    ),
    Difference(
        "What cannot be processed",
        {
            "sync": "is answered with an error at once",
            "async": "is delivered again, then goes to dlq_queue",
            "streaming": "is tried again, then goes to dead-letter-events",
        },
        "Without a caller to tell, a message must be kept somewhere with its reason.",
    ),
)


def settings_of(conditions: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The settings that each model's services ran with, by setting and model; only those that bear on a comparison.

    Args:
        conditions: As `lab.experiments.conditions.conditions` reads them.
    """
    left_out = {"host", "port", "metrics_port", "data"}
    shown: dict[str, dict[str, Any]] = {}
    for service in conditions.get("services", {}).values():
        for name, value in {**service["settings"], "sampler": service.get("sampler")}.items():
            if name not in left_out:
                shown.setdefault(name, {}).setdefault(service["model"], value)
    return shown


def differences(conditions: Mapping[str, Any]) -> list[dict[str, str]]:
    """Each difference by design with the settings in force: `condition`, one text per model, `why`."""
    settings = settings_of(conditions)

    def said(text: str, model: str) -> str:
        values = {name: _plain(of[model]) for name, of in settings.items() if model in of}
        return text.format_map(_Unknown(values))

    return [
        {"condition": one.condition, "why": one.why, **{model: said(one.of[model], model) for model in MODELS}}
        for one in DIFFERENCES
    ]


def _plain(value: object) -> object:
    return f"{value:g}" if isinstance(value, float) else value


class _Unknown(dict[str, Any]):
    def __missing__(self, key: str) -> str:
        return f"{key} unknown"
