"""Under which conditions the models are compared, read from the live system."""

import platform
from typing import Any

import httpx
import psutil
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from lab.errors import LabError
from lab.http import get
from lab.runtime.base import Runtime
from lab.runtime.health import rabbitmq_user
from lab.runtime.topics import client_settings
from lab.stack import MODELS, stack


def conditions(runtime: Runtime) -> dict[str, Any]:
    """What each model runs with, its brokers' objects, and the machine, as JSON has it.

    Raises:
        LabError: A service or a broker does not answer.
    """
    return {
        "runtime": runtime.name,
        "machine": {
            "system": platform.platform(),
            "cores": psutil.cpu_count(),
            "memory_bytes": psutil.virtual_memory().total,
            "python": platform.python_version(),
        },
        "stock": {model: get(f"{model}-inventory", "/stock") for model in MODELS},
        "processes": {model: sum(service.model == model for service in stack().services) for model in MODELS},
        "queues": _queues(),
        "topics": _topics(),
        "services": {service.name: get(service.name, "/conditions") for service in stack().services},
    }


def _queues() -> dict[str, dict[str, Any]]:
    """Each queue's type, durability and arguments, as RabbitMQ has them."""
    url = f"http://127.0.0.1:{stack().ports['rabbitmq-management']}/api/queues/%2F"
    try:
        reply = httpx.get(url, auth=rabbitmq_user(), timeout=10, trust_env=False).raise_for_status()
    except httpx.HTTPError as error:
        raise LabError(f"RabbitMQ's management does not answer ({error}); see `lab status`.") from error
    return {
        queue["name"]: {"type": queue.get("type"), "durable": queue["durable"], "arguments": queue["arguments"]}
        for queue in reply.json()
    }


def _topics() -> dict[str, dict[str, int]]:
    """Each topic's partitions and replicas, as Kafka has them."""
    try:
        known = AdminClient(client_settings(f"127.0.0.1:{stack().ports['kafka']}")).list_topics(timeout=10)
    except KafkaException as error:
        raise LabError(f"Kafka does not answer ({error.args[0].str()}); see `lab status`.") from error
    return {
        name: {"partitions": len(topic.partitions), "replicas": len(topic.partitions[0].replicas)}
        for name, topic in sorted(known.topics.items())
        if not name.startswith("__")
    }
