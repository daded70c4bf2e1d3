"""Kafka's topics: what `topics.toml` declares, and their creation (`python -m lab.runtime.topics`)."""

import os
import sys
import tomllib
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from lab.console import say
from lab.errors import LabError
from lab.paths import CHECKOUT
from lab.waiting import wait_until


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic that has to exist, with its number of partitions."""

    name: str
    partitions: int


def declared() -> tuple[Topic, ...]:
    """The topics of `services/streaming_kafka/topics.toml`."""
    text = (CHECKOUT / "services/streaming_kafka/topics.toml").read_text()
    return tuple(Topic(**entry) for entry in tomllib.loads(text)["topic"])


def client_settings(bootstrap: str) -> dict[str, Any]:
    """Settings of a librdkafka client that asks the broker and keeps its own log quiet."""
    return {"bootstrap.servers": bootstrap, "socket.timeout.ms": 5000, "log_level": 0}


def create(bootstrap: str, *, limit: float = 60.0) -> list[str]:
    """Create the declared topics that do not exist yet, waiting for the broker first.

    Args:
        bootstrap: Addresses of the brokers.
        limit: Seconds to wait for the broker.

    Returns:
        The names of the topics it created.

    Raises:
        LabError: The broker did not answer in time or refused a topic.
    """
    admin = AdminClient(client_settings(bootstrap))
    existing: set[str] = set()

    def ask() -> str | None:
        try:
            existing.update(admin.list_topics(timeout=2).topics)
        except KafkaException as error:
            return str(error.args[0].str())
        return None

    wait_until(ask, limit=limit, what=f"Kafka at {bootstrap}", hint="see `lab logs kafka`")
    missing = [topic for topic in declared() if topic.name not in existing]
    requests = [NewTopic(t.name, num_partitions=t.partitions, replication_factor=1) for t in missing]
    for name, result in (admin.create_topics(requests) if requests else {}).items():
        try:
            result.result(timeout=limit)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise LabError(f"Kafka refused topic {name} ({error.args[0].str()}); see `lab logs kafka`.") from error
    return [topic.name for topic in missing]


def main() -> None:
    """Create the topics on the brokers of `KAFKA_BOOTSTRAP_SERVERS`; exit with 1 and one sentence on failure."""
    try:
        created = create(os.environ.get("KAFKA_BOOTSTRAP_SERVERS") or "127.0.0.1:29092")
    except LabError as error:
        say(str(error))
        sys.exit(1)
    say(f"topics created: {', '.join(created) or 'none, all are there'}")


if __name__ == "__main__":
    main()
