"""The one place that knows confluent_kafka: producing with delivery reports, consuming in batches and transactions."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from threading import Thread
from typing import Any, Generic, TypeVar

import confluent_kafka as kafka
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from opentelemetry.context import Context

from services.common.background import Background, until_stored
from services.common.chassis import Chassis
from services.common.errors import BrokerUnavailable, LabError
from services.common.retry import DELIVERY_LIMIT, pause_before_retry
from services.common.telemetry import DeadLetterReason, logger
from services.common.tracing import NOT_TRACED, Carried, Sends, carried, processing
from services.common.wire import decode, encode
from services.domain.events import Event, Malformed

ORDER_EVENTS = "order-events"
INVENTORY_EVENTS = "inventory-events"
DEAD_LETTER_EVENTS = "dead-letter-events"

INVENTORY_GROUP = "inventory-group"
ANALYTICS_GROUP = "analytics-group"
ORDER_STATUS_GROUP = "order-status-group"

RECONNECT_FIRST, RECONNECT_MAX = 0.2, 3.0
TRANSACTION_TIMEOUT = 10.0
"""Seconds after which the broker aborts a transaction whose producer is gone."""

_PROBE_SECONDS = 2.0
_IDLE = 0.2

_log = logger("campus.kafka")

T = TypeVar("T", bound=Event)

Offsets = dict[tuple[str, int], int]
"""The next offset to read, by topic and partition."""


@contextmanager
def _ours() -> Iterator[None]:
    """The one place where Kafka's errors become ours."""
    try:
        yield
    except KafkaException as error:
        raise BrokerUnavailable(f"Kafka: {error.args[0].str() if error.args else error}") from error
    except BufferError as error:
        raise BrokerUnavailable(f"Kafka: the producer's queue is full: {error}") from error


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A record to produce, and the context its trace goes on from."""

    topic: str
    key: str
    value: bytes
    headers: dict[str, str] = field(default_factory=dict)
    context: Context | None = None

    @classmethod
    def of(cls, topic: str, event: Event, context: Context | None = None) -> "Outgoing":
        """The record that carries `event`."""
        return cls(topic, event.order_id, encode(event), {}, context)


class _Reports:
    """Counts the delivery reports of some records and answers a future when all are there."""

    def __init__(self, expected: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._expected = expected
        self._error: KafkaError | None = None
        self.delivered = 0
        self.all: asyncio.Future[None] = self._loop.create_future()

    def on_delivery(self, error: KafkaError | None, _message: object) -> None:
        self._expected -= 1
        if error is None:
            self.delivered += 1
        else:
            self._error = error
        if not self._expected:
            self._loop.call_soon_threadsafe(self._answer)

    def _answer(self) -> None:
        if self.all.done():
            return
        if self._error is None:
            self.all.set_result(None)
        else:
            self.all.set_exception(BrokerUnavailable(f"Kafka did not take the record: {self._error.str()}"))


class Producer:
    """Produces records, idempotently, and returns when all replicas have acknowledged them.

    Args:
        chassis: The service that produces.
    """

    name = "producer"

    def __init__(self, chassis: Chassis) -> None:
        self._settings = chassis.settings
        self._client_id = chassis.service.name
        self._producer: kafka.Producer | None = None
        self._poller: Thread | None = None
        self._open = False
        self._error: str | None = "not connected yet"
        self._probe: asyncio.Task[None] | None = None
        chassis.runs(self)

    async def start(self) -> None:
        """Open the producer; it connects by itself, now or later."""
        self._producer = kafka.Producer(
            {
                "bootstrap.servers": self._settings.kafka_bootstrap,
                "client.id": self._client_id,
                "enable.idempotence": True,
                "acks": "all",
                "linger.ms": 1,
                "message.timeout.ms": int(self._settings.confirm_timeout * 1000),
                "queue.buffering.max.messages": 200_000,
                "reconnect.backoff.max.ms": 1000,
                "log_level": 2,
            }
        )
        self._open = True
        self._poller = Thread(target=self._poll, name="kafka-delivery-reports", daemon=True)
        self._poller.start()
        self._probe = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """Wait for the reports that are due and close."""
        if self._probe is not None:
            self._probe.cancel()
        if self._producer is not None:
            await asyncio.to_thread(self._producer.flush, self._settings.confirm_timeout)
        self._open = False
        if self._poller is not None:
            await asyncio.to_thread(self._poller.join, 2)

    def failing(self) -> str | None:
        """Why the brokers cannot be reached, as the last look found."""
        return self._error

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        """Produce all of `messages`.

        Raises:
            BrokerUnavailable: Not all were acknowledged in time; any of them may have been.
        """
        if not messages:
            return
        producer, reports = self._producer, _Reports(len(messages))
        if producer is None:
            raise BrokerUnavailable("the Kafka producer is not open")
        with _ours(), Sends("kafka") as sends:
            if len(messages) < 100:
                _produce(producer, messages, sends, reports.on_delivery)
            else:
                await asyncio.to_thread(_produce, producer, messages, sends, reports.on_delivery)
            await reports.all

    def _poll(self) -> None:
        while self._open and self._producer is not None:
            self._producer.poll(0.1)

    async def _watch(self) -> None:
        while self._producer is not None:
            try:
                with _ours():
                    await asyncio.to_thread(self._producer.list_topics, timeout=_PROBE_SECONDS)
                self._error = None
            except BrokerUnavailable as error:
                self._error = str(error)
            await asyncio.sleep(_PROBE_SECONDS)


def _produce(
    producer: kafka.Producer,
    messages: Sequence[Outgoing],
    sends: Sends,
    on_delivery: Callable[..., None] | None,
) -> None:
    for message in messages:
        about = {"messaging.kafka.message.key": message.key}
        carrying = sends.begin(message.topic, message.context, message.value, about)
        headers: list[tuple[str, str | bytes | None]] = [*message.headers.items(), *carrying.items()]
        while True:
            try:
                producer.produce(message.topic, message.value, message.key, on_delivery=on_delivery, headers=headers)
                break
            except BufferError:
                producer.poll(0.1)


Read = Callable[[object], T]
"""Turns a decoded JSON value into a message; raises `Malformed`."""

Handle = Callable[[list[T]], Awaitable[Sequence[Event] | None]]
"""Works on a batch, all or nothing, and returns the events to produce for it, one per message, or None."""


class Consumer(Background, Generic[T]):
    """Reads topics in batches: work, produce what follows from it, then commit the offsets.

    A batch is what is ready, at most `kafka_batch` records. A record that cannot be understood, or whose work
    failed at every try, is produced to `DEAD_LETTER_EVENTS` with its reason before its offset is committed.
    When Kafka fails, the consumer starts over from the committed offsets.

    Args:
        chassis: The service that consumes.
        group: The consumer group.
        reads: What makes a message of a record, by topic.
        handle: The work.
        producer: For dead letters.
    """

    def __init__(
        self,
        chassis: Chassis,
        group: str,
        reads: Mapping[str, Read[T]],
        handle: Handle[T],
        producer: Producer,
    ) -> None:
        super().__init__()
        self.name = f"consumer of {', '.join(reads)}"
        self._group = group
        self._reads = reads
        self._handle = handle
        self._producer = producer
        self._faults = chassis.faults
        self._metrics = chassis.metrics
        self._settings = chassis.settings
        # One member per port: a restart takes its own place at once, also after a kill.
        self._member = f"{chassis.service.name}-{chassis.port}"
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=group)
        self._ends: Offsets = {}
        self._stopping = False
        self._assigned = False
        self._revoked = False
        self._error: str | None = "not connected yet"
        chassis.runs(self)

    def failing(self) -> str | None:
        """Why no records are read."""
        return super().failing() or self._error or (None if self._assigned else "no partitions are assigned yet")

    async def stop(self) -> None:
        """Finish the batch in hand, leave, end."""
        self._stopping = True
        if self._task is not None:
            await asyncio.wait((self._task,), timeout=10)
        await super().stop()
        self._thread.shutdown(wait=False)

    async def run(self) -> None:
        """Read batch after batch; start over when Kafka fails."""
        pause = RECONNECT_FIRST
        while not self._stopping:
            consumer: kafka.Consumer | None = None
            try:
                consumer = await self._blocking(self._open)
                self._error = None
                while not self._stopping:
                    await self._turn(consumer)
                    pause = RECONNECT_FIRST
            except BrokerUnavailable as error:
                self._error = str(error)
                _log.warning("starting over", group=self._group, error=str(error))
                await asyncio.sleep(pause)
                pause = min(2 * pause, RECONNECT_MAX)
            finally:
                self._assigned = False
                if consumer is not None:
                    await self._blocking(self._close, consumer)

    async def _blocking(self, call: Callable[..., Any], *args: Any) -> Any:
        """Run a call that blocks on Kafka in this consumer's own thread."""

        def run() -> Any:
            with _ours():
                return call(*args)

        return await asyncio.get_running_loop().run_in_executor(self._thread, run)

    def _open(self) -> kafka.Consumer:
        consumer = kafka.Consumer(
            {
                "bootstrap.servers": self._settings.kafka_bootstrap,
                "client.id": self._member,
                "group.id": self._group,
                "group.instance.id": self._member,
                "session.timeout.ms": 10_000,
                "heartbeat.interval.ms": 2_000,
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "isolation.level": "read_committed",
                # A few batches ahead: what a client holds back is memory, and is no longer the log's.
                "queued.min.messages": 4 * self._settings.kafka_batch,
                "fetch.message.max.bytes": 131_072,
                "fetch.queue.backoff.ms": 5,
                "reconnect.backoff.max.ms": 1000,
                "log_level": 2,
            }
        )
        consumer.subscribe(list(self._reads), on_assign=self._on_assign, on_revoke=self._on_revoke)
        return consumer

    def _close(self, consumer: kafka.Consumer) -> None:
        consumer.close()

    def _on_assign(self, consumer: kafka.Consumer, partitions: list[TopicPartition]) -> None:
        consumer.assign(partitions)
        if self._faults.paused:
            # Else the poll that brought the partitions goes on to fetch from them.
            consumer.pause(partitions)
        self._assigned = True

    def _on_revoke(self, _consumer: kafka.Consumer, _partitions: list[TopicPartition]) -> None:
        self._assigned = False
        self._revoked = True
        # The partitions may be another member's from now on, and so is the place to go on from.
        self._ends = {}

    async def _turn(self, consumer: kafka.Consumer) -> None:
        """Take a batch, work on it, commit."""
        records = await self._blocking(self._take, consumer)
        if records:
            await self._work(consumer, records)
        elif self._ends:
            # The control records of transactions end a partition too: without them its lag never becomes 0.
            await self._commit(consumer, {}, [])

    def _take(self, consumer: kafka.Consumer) -> list[kafka.Message]:
        (consumer.pause if self._faults.paused else consumer.resume)(consumer.assignment())
        first = consumer.poll(_IDLE)
        if first is None:
            return []
        limit = self._faults.batch_limit(self._settings.kafka_batch)
        self._revoked = False
        more = consumer.consume(limit - 1, 0) if limit > 1 else []
        # Revoked meanwhile, the first one is another member's; librdkafka drops such records from `more` itself.
        taken = more if self._revoked else [first, *more]
        return [message for message in taken if self._is_record(message)]

    def _is_record(self, message: kafka.Message) -> bool:
        error = message.error()
        if error is None:
            return True
        if error.code() == KafkaError._PARTITION_EOF:
            self._ends.update(_after([message], 0))
            return False
        if error.retriable() or error.code() in (KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN):
            return False
        raise KafkaException(error)

    async def _work(self, consumer: kafka.Consumer, records: list[kafka.Message]) -> None:
        messages = []
        for record in records:
            try:
                messages.append((record, self._reads[record.topic() or ""](decode(record.value()))))
            except Malformed as error:
                await self._set_aside(record, DeadLetterReason.MALFORMED, str(error))
        outgoing = await self._attempt(messages) if messages else []
        await self._commit(consumer, _after(records), outgoing)  # the work is done

    async def _attempt(self, messages: list[tuple[kafka.Message, T]]) -> list[Outgoing]:
        for retries in range(DELIVERY_LIMIT + 1):
            try:
                return await until_stored(partial(self._process, messages))
            except BrokerUnavailable:
                raise
            except Exception as error:
                if len(messages) > 1 and not isinstance(error, LabError):
                    return [sent for message in messages for sent in await self._attempt([message])]
                _log.warning("work failed", group=self._group, messages=len(messages), error=repr(error))
                failure = error
            await asyncio.sleep(pause_before_retry(retries))
        for record, _message in messages:
            await self._set_aside(record, DeadLetterReason.EXHAUSTED, str(failure))
        return []

    async def _process(self, messages: list[tuple[kafka.Message, T]]) -> list[Outgoing]:
        came = [Carried(record.topic() or "", _context(record), message.order_id) for record, message in messages]
        about = {"messaging.consumer.group.name": self._group}
        with processing("kafka", came, about) as going_on:
            await self._faults.before_messages(len(messages))
            self._faults.raise_if_messages_fail()
            events = await self._do(messages)
            return [self._outgoing(event, context) for event, context in zip(events or (), going_on, strict=False)]

    async def _do(self, messages: list[tuple[kafka.Message, T]]) -> Sequence[Event] | None:
        return await self._handle([message for _record, message in messages])

    def _outgoing(self, event: Event, context: Context) -> Outgoing:
        raise NotImplementedError(f"{self._group} produces no events")

    async def _commit(self, consumer: kafka.Consumer, offsets: Offsets, _outgoing: Sequence[Outgoing]) -> None:
        """Commit `offsets`, and the ends of partitions that were met."""
        offsets = self._with_ends(offsets)
        await self._blocking(partial(consumer.commit, offsets=_partitions(offsets), asynchronous=False))

    def _with_ends(self, offsets: Offsets) -> Offsets:
        ends, self._ends = self._ends, {}
        return {at: max(offsets.get(at, 0), ends.get(at, 0)) for at in offsets | ends}

    async def _set_aside(self, record: kafka.Message, reason: str, error: str) -> None:
        await self._producer.publish([self._dead_letter(record, reason, error)])
        self._metrics.dead_lettered(reason)

    def _dead_letter(self, record: kafka.Message, reason: str, error: str) -> Outgoing:
        where = {
            "topic": record.topic() or "",
            "partition": str(record.partition()),
            "offset": str(record.offset()),
        }
        _log.warning("dead letter", group=self._group, reason=reason, error=error, **where)
        headers = {"reason": reason, "error": error, **where, "group": self._group}
        key = (record.key() or b"").decode(errors="replace")
        return Outgoing(DEAD_LETTER_EVENTS, key, record.value() or b"", headers, _context(record))


class TransactionalConsumer(Consumer[T]):
    """A consumer that produces its events and dead letters, and commits its offsets, in one transaction per batch.

    Args:
        chassis: The service that consumes.
        group: The consumer group.
        reads: What makes a message of a record, by topic.
        handle: The work.
        producer: Watches whether Kafka can be reached.
        into: The topic of the events that `handle` returns.
    """

    def __init__(
        self,
        chassis: Chassis,
        group: str,
        reads: Mapping[str, Read[T]],
        handle: Handle[T],
        producer: Producer,
        *,
        into: str,
    ) -> None:
        super().__init__(chassis, group, reads, handle, producer)
        self._into = into
        self._transactions: kafka.Producer | None = None
        self._letters: list[tuple[str, Outgoing]] = []

    def _open(self) -> kafka.Consumer:
        self._letters = []
        self._transactions = kafka.Producer(
            {
                "bootstrap.servers": self._settings.kafka_bootstrap,
                "client.id": f"{self._member}-transactions",
                "transactional.id": self._member,
                "transaction.timeout.ms": int(TRANSACTION_TIMEOUT * 1000),
                "linger.ms": 1,
                "reconnect.backoff.max.ms": 1000,
                "log_level": 2,
            }
        )
        self._transactions.init_transactions(TRANSACTION_TIMEOUT)
        return super()._open()

    def _outgoing(self, event: Event, context: Context) -> Outgoing:
        return Outgoing.of(self._into, event, context)

    async def _set_aside(self, record: kafka.Message, reason: str, error: str) -> None:
        self._letters.append((reason, self._dead_letter(record, reason, error)))

    async def _commit(self, consumer: kafka.Consumer, offsets: Offsets, outgoing: Sequence[Outgoing]) -> None:
        letters, self._letters = self._letters, []
        produced = [*outgoing, *(letter for _reason, letter in letters)]
        await self._blocking(self._transact, consumer, self._with_ends(offsets), produced)
        # Not before: what an aborted transaction produced nobody sees, and its records are read again.
        for reason, _letter in letters:
            self._metrics.dead_lettered(reason)

    def _transact(self, consumer: kafka.Consumer, offsets: Offsets, outgoing: Sequence[Outgoing]) -> None:
        producer = self._transactions
        if producer is None:
            raise BrokerUnavailable("the transactional producer is not open")
        producer.begin_transaction()
        try:
            with Sends("kafka") as sends:
                _produce(producer, outgoing, sends, None)
                member = consumer.consumer_group_metadata()
                producer.send_offsets_to_transaction(_partitions(offsets), member, TRANSACTION_TIMEOUT)
                producer.commit_transaction(TRANSACTION_TIMEOUT)
        except KafkaException as error:
            if error.args[0].txn_requires_abort():
                producer.abort_transaction(TRANSACTION_TIMEOUT)
            raise


Apply = Callable[[list[T], Offsets], Awaitable[None]]
"""Stores what a batch changes and the offsets after it in one step."""


class Projection(Consumer[T]):
    """A consumer whose offsets are stored with the view it keeps, so that neither is ever ahead of the other.

    The group's committed offsets follow for others to see; they are never read.

    Args:
        chassis: The service that consumes.
        group: The consumer group.
        reads: What makes a message of a record, by topic.
        apply: Stores a batch's changes and its offsets.
        producer: For dead letters.
        stored: Reads the offsets that were stored.
        clear: Empties the view and the offsets in one step.
    """

    def __init__(
        self,
        chassis: Chassis,
        group: str,
        reads: Mapping[str, Read[T]],
        apply: Apply[T],
        producer: Producer,
        *,
        stored: Callable[[], Awaitable[Offsets]],
        clear: Callable[[], Awaitable[None]],
    ) -> None:
        super().__init__(chassis, group, reads, self._unused, producer)
        self._apply = apply
        self._read_stored = stored
        self._clear = clear
        self._stored: Offsets = {}
        self._replays: list[asyncio.Future[None]] = []

    async def _unused(self, _messages: list[T]) -> None:
        raise NotImplementedError

    async def replay(self) -> None:
        """Empty the view and read everything again; return when the reading begins.

        Raises:
            BrokerUnavailable: Kafka cannot be reached, so there is nothing to read from.
        """
        begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._replays.append(begun)
        try:
            async with asyncio.timeout(self._settings.confirm_timeout):
                await begun
        except TimeoutError as error:
            raise BrokerUnavailable(f"the replay could not begin: {self.failing() or 'a batch takes long'}") from error
        finally:
            if begun in self._replays:
                self._replays.remove(begun)

    def _on_assign(self, consumer: kafka.Consumer, partitions: list[TopicPartition]) -> None:
        for partition in partitions:
            at = partition.topic, partition.partition
            partition.offset = self._stored.get(at, kafka.OFFSET_BEGINNING)
        super()._on_assign(consumer, partitions)

    async def run(self) -> None:
        """Read on from the stored offsets."""
        await until_stored(self._load)
        await super().run()

    async def _load(self) -> None:
        self._stored = await self._read_stored()

    async def _turn(self, consumer: kafka.Consumer) -> None:
        if self._replays and self._assigned:
            await until_stored(self._clear)
            self._stored, self._ends = {}, {}
            await self._blocking(self._rewind, consumer)
            while self._replays:
                self._replays.pop().set_result(None)
        await super()._turn(consumer)

    def _rewind(self, consumer: kafka.Consumer) -> None:
        beginning = [
            TopicPartition(at.topic, at.partition, consumer.get_watermark_offsets(at, timeout=5)[0])
            for at in consumer.assignment()
        ]
        for partition in beginning:
            consumer.seek(partition)
        consumer.commit(offsets=beginning, asynchronous=False)

    async def _do(self, messages: list[tuple[kafka.Message, T]]) -> None:
        offsets = _after([record for record, _message in messages])
        await self._apply([message for _record, message in messages], offsets)
        self._stored |= offsets

    async def _commit(self, consumer: kafka.Consumer, offsets: Offsets, outgoing: Sequence[Outgoing]) -> None:
        passed_over = {at: offset for at, offset in offsets.items() if self._stored.get(at, 0) < offset}
        if passed_over:
            await until_stored(partial(self._apply, [], passed_over))
            self._stored |= passed_over
        await super()._commit(consumer, offsets, outgoing)


def _context(record: kafka.Message) -> Context:
    headers = record.headers()
    if not headers:
        return NOT_TRACED
    pairs = headers.items() if isinstance(headers, dict) else headers
    return carried({name: value.decode() for name, value in pairs if isinstance(value, bytes) and value.isascii()})


def _after(records: Sequence[kafka.Message], step: int = 1) -> Offsets:
    """The offsets with which to go on after `records`; a partition's end is itself where to go on (`step` 0)."""
    return {(record.topic() or "", record.partition() or 0): (record.offset() or 0) + step for record in records}


def _partitions(offsets: Offsets) -> list[TopicPartition]:
    return [TopicPartition(topic, partition, offset) for (topic, partition), offset in offsets.items()]
