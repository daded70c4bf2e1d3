"""Whether a part can do its work, asked over the network, so alike for every runtime."""

import json
import os
import socket
from urllib.parse import quote

import httpx
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from lab.paths import CHECKOUT
from lab.runtime import topics
from lab.waiting import Check

TIMEOUT = 3.0
# One client for all looks: making one costs more than a look. No proxy stands before loopback.
_client = httpx.Client(timeout=TIMEOUT, trust_env=False)


def rabbitmq_user() -> tuple[str, str]:
    """The user and password of `LAB_RABBITMQ_USER` and `LAB_RABBITMQ_PASSWORD`, each guest unless set."""
    return os.environ.get("LAB_RABBITMQ_USER") or "guest", os.environ.get("LAB_RABBITMQ_PASSWORD") or "guest"


def rabbitmq_url(host: str, port: int) -> str:
    """The AMQP URL with which services log in."""
    user, password = rabbitmq_user()
    return f"amqp://{quote(user, safe='')}:{quote(password, safe='')}@{host}:{port}/"


def tcp(port: int) -> Check:
    """Something accepts connections on this loopback port."""

    def check() -> str | None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT).close()
        except OSError as error:
            return str(error)
        return None

    return check


def http(url: str) -> Check:
    """The URL answers with a 2xx; otherwise the reply's own words say what fails."""

    def check() -> str | None:
        try:
            reply = _client.get(url)
        except httpx.HTTPError as error:
            return str(error) or type(error).__name__
        return None if reply.is_success else f"HTTP {reply.status_code}: {_failing(reply)}"

    return check


def _failing(reply: httpx.Response) -> str:
    try:
        body = reply.json()
    except ValueError:
        return reply.text[:120]
    if not isinstance(body, dict):
        return str(body)[:200]
    if failing := body.get("failing"):
        reasons = body.get("checks", {})
        return "; ".join(f"{part}: {reasons.get(part, 'fails')}" for part in failing)
    return str(body.get("detail", body))[:200]


def rabbitmq(management_port: int) -> Check:
    """The node answers and every queue of the definitions file runs."""
    definitions = json.loads((CHECKOUT / "services/async_rabbitmq/definitions.json").read_text())
    wanted = {queue["name"] for queue in definitions["queues"]}

    def check() -> str | None:
        try:
            reply = _client.get(f"http://127.0.0.1:{management_port}/api/queues/%2F", auth=rabbitmq_user())
        except httpx.HTTPError as error:
            return str(error) or type(error).__name__
        if reply.status_code == httpx.codes.UNAUTHORIZED:
            return "it refuses the user of LAB_RABBITMQ_USER and LAB_RABBITMQ_PASSWORD"
        if not reply.is_success:
            return f"HTTP {reply.status_code}: {_failing(reply)}"
        running = {queue["name"] for queue in reply.json() if queue.get("state") == "running"}
        missing = sorted(wanted - running)
        return f"queues not running: {', '.join(missing)}" if missing else None

    return check


def kafka(port: int) -> Check:
    """The broker answers and every topic of the topics file exists."""
    wanted = {topic.name for topic in topics.declared()}

    def check() -> str | None:
        # librdkafka retries by itself; a closed port is told sooner by the socket.
        if (closed := tcp(port)()) is not None:
            return closed
        try:
            cluster = AdminClient(topics.client_settings(f"127.0.0.1:{port}")).list_topics(timeout=TIMEOUT)
        except KafkaException as error:
            return str(error.args[0].str())
        missing = sorted(wanted - set(cluster.topics))
        return f"topics missing: {', '.join(missing)}" if missing else None

    return check
