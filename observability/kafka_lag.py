"""How far each consumer group is behind, for Prometheus: `python -m observability.kafka_lag`.

The broker is asked, not the consumers, so a dead consumer's lag is seen growing. Metrics are named as the
OpenTelemetry Collector's kafkametrics receiver names them. The groups shown are those of `lab/stack.toml`.
"""

import json
import logging
import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from lab.stack import stack

LOG = logging.getLogger("kafka-lag")
PERIOD_SECONDS = 1.0
REQUEST_SECONDS = 2.0

Partition = tuple[str, int]
"""A topic and the number of one of its partitions."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the broker said last.

    Attributes:
        problem: Why there is nothing to show, or None.
        brokers: How many brokers answered for the cluster.
        oldest: Log start offset by partition.
        newest: Log end offset by partition, the offset that the next record will get.
        committed: Committed offset by group and partition; absent where the group has not committed.
        groups: The topics each group reads.
    """

    problem: str | None
    brokers: int = 0
    oldest: Mapping[Partition, int] = field(default_factory=dict)
    newest: Mapping[Partition, int] = field(default_factory=dict)
    committed: Mapping[tuple[str, Partition], int] = field(default_factory=dict)
    groups: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def lags(self) -> Iterator[tuple[str, Partition, int]]:
        """Group, partition and the records it has yet to read: all of the log where nothing is committed."""
        for group, topics in self.groups.items():
            for partition, end in self.newest.items():
                if partition[0] in topics:
                    start = self.committed.get((group, partition), self.oldest[partition])
                    yield group, partition, max(0, end - start)


class Watcher:
    """Asks the broker once a second in a thread of its own; `latest` is what it last learnt.

    It asks through one consumer per group, which never subscribes and so is no member of the group: the admin client's
    ListOffsets ends the process with a segmentation fault where a partition has no leader yet (confluent-kafka 2.16).
    """

    def __init__(self, bootstrap: str, groups: Mapping[str, Sequence[str]]) -> None:
        self.groups = groups
        self.latest = Snapshot(problem="the broker has not been asked yet")
        self._stopping = threading.Event()
        self._readers = {group: Consumer(_settings(bootstrap, group)) for group in groups}

    def stop(self) -> None:
        """End `run` at the next turn."""
        self._stopping.set()

    def run(self) -> None:
        """Refresh `latest` until stopped; a failing broker is reported once and asked again."""
        while not self._stopping.is_set():
            began = time.monotonic()
            previous = self.latest.problem
            try:
                self.latest = self.ask()
            except KafkaException as error:
                self.latest = Snapshot(problem=f"Kafka does not answer: {_reason(error)}")
            if self.latest.problem != previous:
                LOG.warning(self.latest.problem or "Kafka answers.")
            self._stopping.wait(max(0.0, PERIOD_SECONDS - (time.monotonic() - began)))

    def ask(self) -> Snapshot:
        """Everything the metrics show, in one round.

        Raises:
            KafkaException: The broker refused or did not answer.
        """
        reader = next(iter(self._readers.values()))
        cluster = reader.list_topics(timeout=REQUEST_SECONDS)
        wanted = {topic for topics in self.groups.values() for topic in topics}
        if absent := sorted(wanted - set(cluster.topics)):
            return Snapshot(problem=f"topics missing: {', '.join(absent)}", brokers=len(cluster.brokers))
        partitions = [(topic, number) for topic in sorted(wanted) for number in cluster.topics[topic].partitions]
        # Commits before ends: a record that arrives in between counts as lag, and no lag is negative.
        committed = dict(self._committed(partitions))
        bounds = {at: reader.get_watermark_offsets(TopicPartition(*at), REQUEST_SECONDS) for at in partitions}
        return Snapshot(
            problem=None,
            brokers=len(cluster.brokers),
            oldest={at: start for at, (start, _) in bounds.items()},
            newest={at: end for at, (_, end) in bounds.items()},
            committed=committed,
            groups=self.groups,
        )

    def _committed(self, partitions: Sequence[Partition]) -> Iterator[tuple[tuple[str, Partition], int]]:
        for group, topics in self.groups.items():
            asked = [TopicPartition(topic, number) for topic, number in partitions if topic in topics]
            for at in self._readers[group].committed(asked, timeout=REQUEST_SECONDS):
                # A negative offset stands for "none committed".
                if at.offset >= 0:
                    yield (group, (at.topic, at.partition)), at.offset


def _settings(bootstrap: str, group: str) -> dict[str, Any]:
    return {
        "bootstrap.servers": bootstrap,
        "client.id": "lag-exporter",
        "group.id": group,
        "enable.auto.commit": False,
        # The end of the log itself, not of its last finished transaction.
        "isolation.level": "read_uncommitted",
        "reconnect.backoff.max.ms": 1000,
        "log_level": 0,
    }


def _reason(error: Exception) -> str:
    cause = error.args[0] if error.args else type(error).__name__
    return cause.str() if isinstance(cause, KafkaError) else str(cause)


class LagCollector(Collector):
    """The watcher's latest snapshot as metrics; nothing is asked while Prometheus waits."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher

    def collect(self) -> Iterator[Metric]:
        """Gauges of brokers, offsets and lags; without a broker, `kafka_brokers` is 0 and the others absent."""
        now = self._watcher.latest
        brokers = GaugeMetricFamily("kafka_brokers", "Brokers in the cluster; 0 while it does not answer.")
        brokers.add_metric([], now.brokers)
        at, by_group = ["topic", "partition"], ["group", "topic", "partition"]
        oldest = GaugeMetricFamily("kafka_partition_oldest_offset", "Log start offset.", labels=at)
        newest = GaugeMetricFamily("kafka_partition_current_offset", "Log end offset.", labels=at)
        committed = GaugeMetricFamily("kafka_consumer_group_offset", "Committed offset.", labels=by_group)
        lag = GaugeMetricFamily(
            "kafka_consumer_group_lag", "Log end offset - committed offset, in records.", labels=by_group
        )
        for (topic, partition), offset in now.oldest.items():
            oldest.add_metric([topic, str(partition)], offset)
        for (topic, partition), offset in now.newest.items():
            newest.add_metric([topic, str(partition)], offset)
        for (group, (topic, partition)), offset in now.committed.items():
            committed.add_metric([group, topic, str(partition)], offset)
        for group, (topic, partition), behind in now.lags():
            lag.add_metric([group, topic, str(partition)], behind)
        yield from (brokers, oldest, newest, committed, lag)


def server(watcher: Watcher, host: str, port: int) -> ThreadingHTTPServer:
    """An HTTP server, bound but not yet serving, with /metrics, /health and /health/live."""
    registry = CollectorRegistry()
    registry.register(LagCollector(watcher))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            problem = watcher.latest.problem
            if self.path == "/metrics":
                self._answer(200, CONTENT_TYPE_LATEST, generate_latest(registry))
            elif self.path == "/health/live":
                self._json(200, {"status": "ok"})
            elif self.path == "/health":
                self._json(503, {"detail": problem}) if problem else self._json(200, {"status": "ok"})
            else:
                self._json(404, {"detail": "there are /metrics, /health and /health/live"})

        def _json(self, status: int, body: Mapping[str, Any]) -> None:
            self._answer(status, "application/json", json.dumps(body).encode())

        def _answer(self, status: int, content_type: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name for it
            """A scrape each second is not worth a line each."""

    return ThreadingHTTPServer((host, port), Handler)


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    tool = next(tool for tool in stack().tools if tool.module == "observability.kafka_lag")
    watcher = Watcher(os.environ.get("KAFKA_BOOTSTRAP_SERVERS") or "127.0.0.1:29092", stack().groups)
    httpd = server(watcher, os.environ.get("LAB_HOST") or "127.0.0.1", int(os.environ.get("LAB_PORT") or tool.port))
    threading.Thread(target=watcher.run, name="watcher", daemon=True).start()

    def end(*_: object) -> None:
        watcher.stop()
        # shutdown() waits for serve_forever, which runs in this very thread.
        threading.Thread(target=httpd.shutdown).start()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    httpd.serve_forever()
    httpd.server_close()


if __name__ == "__main__":
    main()
