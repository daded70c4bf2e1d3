"""One dashboard per model: the same rows, and one on what carries its messages."""

from collections.abc import Mapping

from grafana_foundation_sdk.builders import dashboard

from observability.dashboards import rows
from observability.dashboards.frame import Rows, build, service_variable
from observability.dashboards.panels import Panel, graph, traces


def model_dashboard(model: str) -> dashboard.Dashboard:
    """Everything about one model, from the customer inwards."""
    selector = f'model="{model}"'
    order = f"{model}-order"
    all_orders = traces("Traces of these orders", order, operation="POST /order")
    slow = traces("Orders slower than 500 ms", order, operation="POST /order", minDuration="500ms")
    failed = traces("Failed orders", order, tags='{"error":"true"}')
    content: Rows = {
        "Orders": [
            graph(
                "Orders in",
                "Accepted is what customers got a 2xx for; each reason of a rejection has a line of its own.",
                "reqps",
                (rows.rate("campus_orders_accepted_total", selector, "model"), "accepted"),
                (rows.rate("campus_orders_rejected_total", selector, "reason"), "rejected: {{reason}}"),
                links=[all_orders, failed],
            ),
            graph(
                "Orders decided",
                "By inventory, each order once. Many `failed`: the shelf is empty, restock it.",
                "reqps",
                (rows.rate("campus_order_outcomes_total", selector, "outcome"), "{{outcome}}"),
                links=[all_orders],
            ),
            graph(
                "Duplicates and dead letters",
                "Duplicates cost work and change nothing. A dead letter waits for someone to look at it.",
                "reqps",
                (rows.rate("campus_duplicates_ignored_total", selector, "model"), "duplicates ignored"),
                (rows.rate("campus_messages_dead_lettered_total", selector, "reason"), "set aside: {{reason}}"),
            ),
        ],
        "Latency": [
            graph(
                "Accept latency",
                "What a customer waits. Look at the distance of p99 from p50: a wide one is a queue somewhere.",
                "s",
                *_quantiles("campus_order_accept_seconds", selector),
                width=12,
                thresholds=rows.SLOW,
                links=[slow],
            ),
            graph(
                "Completion latency",
                "Placed to decided and visible, for reserved and failed orders together.",
                "s",
                *_quantiles("campus_order_completion_seconds", selector),
                width=12,
                links=[all_orders],
            ),
            *rows.spread(selector),
        ],
        **_between(model, selector),
        "Faults": [rows.faults(f"{model}-.+", "service", "fault")],
        "Ledger": rows.ledger(selector),
        "Processes": rows.resources("$service"),
        "Telemetry's own health": rows.telemetry("$service"),
    }
    about = f"The {model} model from the customer inwards."
    return build(f"campus-{model}", f"Campus food: {model}", about, content, [service_variable(model)])


def _quantiles(metric: str, selector: str) -> list[tuple[str, str]]:
    return [(rows.quantile(share, metric, selector, "model"), f"p{share * 100:g}") for share in (0.5, 0.95, 0.99)]


def _between(model: str, selector: str) -> Mapping[str, list[Panel]]:
    if model == "async":
        return {"Between the services: RabbitMQ": queues()}
    if model == "streaming":
        return {"Between the services: Kafka": [*lags(), _analytics(selector)]}
    return {
        "Between the services: calls": [
            graph(
                "Orders in the reply's path",
                "Mean number of customers waiting for a reply at once (rate times mean latency, Little's law). "
                "Nothing else queues in this model: its callers do.",
                "short",
                ("sum(rate(campus_order_accept_seconds_sum{" + selector + "}[$__rate_interval]))", "waiting customers"),
                width=12,
            ),
            graph(
                "Notified against reserved",
                "Reservations and notifications per second. A gap: the notification service is away, and orders end "
                "as `reserved` instead of `notified`.",
                "reqps",
                (rows.rate("campus_order_outcomes_total", selector + ',outcome="reserved"', "model"), "reserved"),
                (rows.rate("campus_notifications_sent_total", selector, "model"), "notified"),
                width=12,
            ),
        ]
    }


def queues() -> list[Panel]:
    """What waits in RabbitMQ, and who takes it."""
    return [
        graph(
            "Messages ready",
            "Waiting for a consumer. A rising line: the consumer is dead, paused or too slow.",
            "short",
            ("sum by (queue) (rabbitmq_queue_messages_ready)", "{{queue}}"),
            thresholds=((20, "orange"),),
        ),
        graph(
            "Messages unacknowledged",
            "Handed to a consumer that has not finished. Given back to the queue if it dies.",
            "short",
            ("sum by (queue) (rabbitmq_queue_messages_unacked)", "{{queue}}"),
        ),
        graph(
            "Consumers",
            "One per queue, none for dlq_queue. 0 elsewhere: nobody works.",
            "short",
            ("sum by (queue) (rabbitmq_queue_consumers)", "{{queue}}"),
        ),
    ]


def lags() -> list[Panel]:
    """How far Kafka's groups are behind, and how fast they go."""
    return [
        graph(
            "Consumer lag",
            "Records that a group has yet to read. Up during a burst or a replay; it must come back to 0.",
            "short",
            ("sum by (group) (kafka_consumer_group_lag)", "{{group}}"),
            thresholds=((20, "orange"),),
        ),
        graph(
            "Records appended and read",
            "Per second. Where a group reads less than is appended, its lag grows by the difference.",
            "ops",
            (
                "sum by (topic) (clamp_min(deriv(kafka_partition_current_offset[$__rate_interval]), 0))",
                "appended: {{topic}}",
            ),
            (
                "sum by (group) (clamp_min(deriv(kafka_consumer_group_offset[$__rate_interval]), 0))",
                "read: {{group}}",
            ),
        ),
    ]


def _analytics(selector: str) -> Panel:
    return graph(
        "Orders in the analytics view",
        "Drops to 0 at a replay and climbs back to the same figure: the log is the truth, the view is derived.",
        "short",
        (f"sum by (what) (campus_analytics_events{{{selector}}})", "{{what}}"),
    )
