"""The overview: the three models on the same panels, one expression for all of them."""

from grafana_foundation_sdk.builders import dashboard

from observability.dashboards import rows
from observability.dashboards.frame import Rows, build, model_variable
from observability.dashboards.panels import figure, graph, traces

SELECTED = 'model=~"$model"'
MODEL_TRACES = traces("Traces of this model", "${__field.labels.model}-order", operation="POST /order")
SLOW_TRACES = traces(
    "Slow orders of this model", "${__field.labels.model}-order", operation="POST /order", minDuration="500ms"
)
FAILED_TRACES = traces("Failed orders of this model", "${__field.labels.model}-order", tags='{"error":"true"}')


def overview() -> dashboard.Dashboard:
    """What a visitor opens first."""
    accept, completion = "campus_order_accept_seconds", "campus_order_completion_seconds"
    content: Rows = {
        "Now": [
            figure(
                "Orders accepted per second",
                "The load as each model takes it.",
                "reqps",
                (rows.rate("campus_orders_accepted_total", SELECTED, "model"), "{{model}}"),
                width=6,
            ),
            figure(
                "Orders waiting",
                "Accepted and not yet at an end that the customer can see. Sync has none, by its nature.",
                "short",
                (
                    f"sum by (model) (campus_orders_accepted_total{{{SELECTED}}})"
                    f" - sum by (model) ({completion}_count{{{SELECTED}}})",
                    "{{model}}",
                ),
                width=6,
                thresholds=((20, "orange"),),
            ),
            rows.dead_letters(SELECTED, width=6),
            figure(
                "Alerts firing",
                "More than 0: docs/alerts.md has a section for each.",
                "short",
                ('count(ALERTS{alertstate="firing"}) or vector(0)', "alerts"),
                width=3,
                thresholds=((1, "red"),),
            ),
            figure(
                "Parts up",
                "Of 12 that are scraped: nine services, RabbitMQ, the lag exporter, itself. Fewer: `lab status`.",
                "short",
                ("sum(up)", "up"),
                width=3,
            ),
        ],
        "Rate and errors": [
            graph(
                "Orders accepted per second",
                "Under the same load the lines lie on each other until a model cannot take more. In a burst sync "
                "bends first; async and streaming take all and queue.",
                "reqps",
                (rows.rate("campus_orders_accepted_total", SELECTED, "model"), "{{model}}"),
                links=[MODEL_TRACES],
            ),
            graph(
                "Orders rejected per second",
                "A failing inventory shows here for sync alone: that is failure coupling.",
                "reqps",
                (rows.rate("campus_orders_rejected_total", SELECTED, "model"), "{{model}}"),
                links=[FAILED_TRACES],
            ),
            graph(
                "Orders decided per second",
                "What inventory gets done. Where it lies below the accepted, a backlog grows.",
                "reqps",
                (rows.rate("campus_order_outcomes_total", SELECTED, "model"), "{{model}}"),
                links=[MODEL_TRACES],
            ),
        ],
        "Latency": [
            graph(
                "Accept latency, median",
                "What a customer waits for a reply. A slow inventory lifts sync and leaves the others alone.",
                "s",
                (rows.quantile(0.5, accept, SELECTED, "model"), "{{model}}"),
                width=12,
                thresholds=rows.SLOW,
                links=[MODEL_TRACES],
            ),
            graph(
                "Accept latency, p95",
                "One customer in twenty waits this long or longer. The objective is 0.5 s.",
                "s",
                (rows.quantile(0.95, accept, SELECTED, "model"), "{{model}}"),
                width=12,
                thresholds=rows.SLOW,
                links=[SLOW_TRACES],
            ),
            graph(
                "Completion latency, median",
                "Placed to decided and visible. Under a slow inventory all three models are slow here: the work is "
                "the same, only who waits for it differs.",
                "s",
                (rows.quantile(0.5, completion, SELECTED, "model"), "{{model}}"),
                width=12,
                links=[MODEL_TRACES],
            ),
            graph(
                "Completion latency, p95",
                "Climbs steadily while a backlog grows, and falls only when it has drained.",
                "s",
                (rows.quantile(0.95, completion, SELECTED, "model"), "{{model}}"),
                width=12,
                links=[MODEL_TRACES],
            ),
        ],
        "Waiting and trouble": [
            graph(
                "Backlog and lag",
                "Messages in RabbitMQ's queues and records that Kafka's groups have not read. Up while a consumer is "
                "dead or slow; the slope downwards is the speed of recovery.",
                "short",
                ('sum by (queue) (rabbitmq_queue_messages_ready{queue!="dlq_queue"})', "async {{queue}}"),
                ("sum by (group) (kafka_consumer_group_lag)", "streaming {{group}}"),
                thresholds=((20, "orange"),),
            ),
            graph(
                "Duplicates ignored per second",
                "Work that was asked for again and not done again: redeliveries after a kill, retries, tests.",
                "reqps",
                (rows.rate("campus_duplicates_ignored_total", SELECTED, "model"), "{{model}}"),
            ),
            graph(
                "Dead letters per second",
                "Each is a message that nobody could understand or that failed at every try.",
                "reqps",
                (rows.rate("campus_messages_dead_lettered_total", SELECTED, "model"), "{{model}}"),
                thresholds=((0.001, "orange"),),
            ),
            rows.faults(".+", "service"),
        ],
        "Ledger": rows.ledger(SELECTED),
        "Processes": rows.resources(".+"),
        "Telemetry's own health": rows.telemetry(".+"),
    }
    about = "The three models side by side: the same panels, the same PromQL, which differs in `model` alone."
    return build("campus-overview", "Campus food: overview", about, content, [model_variable()])
