"""What an experiment may do to the stack: a verb and its arguments, as a phase has them.

- `stop|start|kill PART`, as the command line has them
- `fault SERVICE KIND VALUE`, `fault SERVICE reset`
- `scale SERVICE COUNT`: so many processes of it run from now on
- `bulk COUNT`: that many orders in one call, to the streaming model
- `replay`: analytics reads its log from the beginning
- `publish MODEL COUNT twice|malformed`: that many orders, each sent two times, or messages nobody can understand
- `purge MODEL`: what waits for that model's inventory or analytics is thrown away at the broker
"""

from collections.abc import Callable, Mapping

import httpx
from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from lab.errors import LabError
from lab.experiments.messages import publish
from lab.faults import inject
from lab.http import post
from lab.runtime.base import Runtime
from lab.runtime.health import rabbitmq_user
from lab.runtime.scale import scale, start
from lab.runtime.topics import client_settings
from lab.stack import stack

Verb = Callable[..., object]


def perform(action: str, runtime: Runtime) -> None:
    """Do one action, for example "fault sync-inventory delay 2".

    Raises:
        LabError: There is no such verb, or what it asks for failed.
    """
    verb, *arguments = action.split()
    verbs: Mapping[str, Verb] = {
        "stop": runtime.stop,
        "start": lambda part: start(runtime, part),
        "kill": runtime.kill,
        "fault": lambda service, kind, value=None: inject(service, kind, value),
        "scale": lambda service, count: scale(runtime, service, int(count)),
        "bulk": lambda count: post("streaming-order", "/orders/bulk", {"count": int(count)}),
        "replay": lambda: post("streaming-analytics", "/admin/reset-offsets", {}),
        "publish": publish,
        "purge": _purge,
    }
    if verb not in verbs:
        raise LabError(f"An experiment cannot {verb!r}; it can {', '.join(verbs)}.")
    try:
        verbs[verb](*arguments)
    except TypeError as error:
        raise LabError(f"The action {action!r} has the wrong arguments: {error}.") from error


def _purge(model: str) -> None:
    if model == "async":
        _purge_queue("inventory_queue")
    elif model == "streaming":
        _delete_records("order-events", "inventory-events")


def _purge_queue(queue: str) -> None:
    url = f"http://127.0.0.1:{stack().ports['rabbitmq-management']}/api/queues/%2F/{queue}/contents"
    try:
        httpx.delete(url, auth=rabbitmq_user(), timeout=10, trust_env=False).raise_for_status()
    except httpx.HTTPError as error:
        raise LabError(f"{queue} cannot be purged ({error}); see `lab status`.") from error


def _delete_records(*topics: str) -> None:
    admin = AdminClient(client_settings(f"127.0.0.1:{stack().ports['kafka']}"))
    try:
        known = admin.list_topics(timeout=10).topics
        # An offset of -1 is the end of the partition.
        partitions = [TopicPartition(topic, number, -1) for topic in topics for number in known[topic].partitions]
        for deleted in admin.delete_records(partitions).values():
            deleted.result()
    except (KafkaException, KeyError) as error:
        raise LabError(f"{', '.join(topics)} cannot be purged ({error}); see `lab status`.") from error
