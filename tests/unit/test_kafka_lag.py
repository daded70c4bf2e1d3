"""The lag exporter's arithmetic and what it shows while Kafka is gone."""

from prometheus_client import CollectorRegistry, generate_latest

from observability.kafka_lag import LagCollector, Snapshot, Watcher

ORDERS = ("order-events", 0)
OTHER = ("other", 0)


def test_lag_is_the_log_end_less_the_commit() -> None:
    """A group's lag counts from its commit, else from the log's start; topics it does not read are left out."""
    now = Snapshot(
        problem=None,
        oldest={ORDERS: 5, OTHER: 0},
        newest={ORDERS: 100, OTHER: 9},
        committed={("fast", ORDERS): 90},
        groups={"fast": ["order-events"], "new": ["order-events"]},
    )
    assert list(now.lags()) == [("fast", ORDERS, 10), ("new", ORDERS, 95)]


def test_lag_is_never_negative() -> None:
    """A commit read after a truncation counts as caught up."""
    now = Snapshot(
        problem=None,
        oldest={ORDERS: 0},
        newest={ORDERS: 3},
        committed={("g", ORDERS): 7},
        groups={"g": ["order-events"]},
    )
    assert [behind for _, _, behind in now.lags()] == [0]


def test_a_missing_broker_is_said_and_shows_no_stale_lag() -> None:
    """Without a broker the exporter still answers: no brokers, and no lag that could be taken for a fresh one."""
    watcher = Watcher("127.0.0.1:1", {"g": ["order-events"]})
    registry = CollectorRegistry()
    registry.register(LagCollector(watcher))
    text = generate_latest(registry).decode()
    assert "kafka_brokers 0.0" in text
    assert "kafka_consumer_group_lag{" not in text
