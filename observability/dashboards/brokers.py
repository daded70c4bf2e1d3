"""The brokers: what RabbitMQ and Kafka hold, how fast it moves, whether they are well."""

from grafana_foundation_sdk.builders import dashboard

from observability.dashboards.frame import Rows, build, choose_all
from observability.dashboards.model import lags, queues
from observability.dashboards.panels import graph


def _global(name: str) -> str:
    return f"sum(rate(rabbitmq_global_messages_{name}_total[$__rate_interval]))"


def brokers() -> dashboard.Dashboard:
    """Both brokers on one page."""
    content: Rows = {
        "RabbitMQ: queues": queues(),
        "RabbitMQ: flow": [
            graph(
                "Messages per second",
                "Received, confirmed, delivered and acknowledged run together. Confirmed below received: the broker "
                "cannot keep up. Acknowledged below delivered: the consumers cannot.",
                "ops",
                (_global("received"), "received"),
                (_global("confirmed"), "confirmed"),
                (_global("delivered"), "delivered"),
                (_global("acknowledged"), "acknowledged"),
            ),
            graph(
                "Redelivered, returned, set aside",
                "Redelivered after a consumer died or gave a message back. Returned: no queue wanted it, so the "
                "topology is broken. Set aside: the delivery limit was reached.",
                "ops",
                (_global("redelivered"), "redelivered"),
                (_global("unroutable_returned"), "returned"),
                ("sum(rate(rabbitmq_global_messages_dead_lettered_delivery_limit_total[$__rate_interval]))", "limit"),
            ),
            graph(
                "Memory",
                "Publishers are blocked above the limit, and orders are answered 503.",
                "bytes",
                ("rabbitmq_process_resident_memory_bytes", "used"),
                ("rabbitmq_resident_memory_limit_bytes", "limit"),
            ),
            graph(
                "Connections and channels",
                "Steady: one connection per service and purpose. A sawtooth is a client that reconnects all the time.",
                "short",
                ("rabbitmq_connections", "connections"),
                ("rabbitmq_channels", "channels"),
                width=12,
            ),
            graph(
                "Alarms",
                "1: memory or disk is short, and nothing is taken from publishers.",
                "short",
                ("rabbitmq_alarms_memory_used_watermark", "memory"),
                ("rabbitmq_alarms_free_disk_space_watermark", "disk"),
                width=12,
                thresholds=((1, "red"),),
            ),
        ],
        "Kafka": [
            *lags(),
            graph(
                "Records retained",
                "What a replay would read.",
                "short",
                ("sum by (topic) (kafka_partition_current_offset - kafka_partition_oldest_offset)", "{{topic}}"),
            ),
            graph(
                "Lag by partition: $group",
                "Even lines are the rule, for orders are spread by their id. One partition alone: its consumer hangs.",
                "short",
                (
                    'sum by (group, topic, partition) (kafka_consumer_group_lag{group=~"$group"})',
                    "{{group}} {{topic}} {{partition}}",
                ),
                width=16,
            ),
            graph("Brokers", "Brokers that answer.", "short", ("kafka_brokers", "brokers")),
        ],
    }
    groups = choose_all("group", "Consumer group", "label_values(kafka_consumer_group_lag, group)")
    return build("campus-brokers", "Campus food: brokers", "What the brokers hold and move.", content, [groups])
