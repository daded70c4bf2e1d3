"""The one place that knows pika: publishing with confirms, consuming in batches, over connections that come back."""

import asyncio
import itertools
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import pika
from opentelemetry.context import Context
from pika.adapters.asyncio_connection import AsyncioConnection
from pika.adapters.utils.connection_workflow import AMQPConnectorException
from pika.channel import Channel
from pika.exceptions import AMQPError

from services.common.background import Background, until_stored
from services.common.chassis import Chassis
from services.common.errors import BrokerUnavailable, LabError
from services.common.faults import Faults
from services.common.retry import DELIVERY_LIMIT, pause_before_retry
from services.common.telemetry import DeadLetterReason, Metrics, logger
from services.common.tracing import Carried, Sends, carried, processing
from services.common.wire import decode, encode
from services.domain.events import Event, EventType, Malformed

ORDERS_EXCHANGE = "orders_exchange"
DLX_EXCHANGE = "dlx_exchange"
INVENTORY_QUEUE = "inventory_queue"
NOTIFICATION_QUEUE = "notification_queue"
ORDER_STATUS_QUEUE = "order_status_queue"
DLQ_QUEUE = "dlq_queue"

RECONNECT_FIRST, RECONNECT_MAX = 0.1, 3.0

_DESTINATION: dict[str, str] = {
    EventType.ORDER_PLACED: INVENTORY_QUEUE,
    EventType.INVENTORY_RESERVED: NOTIFICATION_QUEUE,
    EventType.INVENTORY_FAILED: ORDER_STATUS_QUEUE,
}
_IDLE = 0.2
"""Seconds between looks at the faults while nothing arrives."""

_NO_RETRY_PARAMETERS = {"connection_attempts": 1, "socket_timeout": 5, "blocked_connection_timeout": 30}

_log = logger("campus.amqp")

T = TypeVar("T")
M = TypeVar("M", bound=Event)


class Connection(Background):
    """A connection with one channel, opened again whenever it is lost.

    Args:
        url: An AMQP URL.
        name: What health and the broker's management call it.
        on_open: Called with each new channel; what it raises closes the connection.
        on_lost: Called when a channel is gone.
    """

    def __init__(self, url: str, name: str, on_open: Callable[[Channel], None], on_lost: Callable[[], None]) -> None:
        super().__init__()
        self.name = name
        self._parameters = pika.URLParameters(url)
        for parameter, value in _NO_RETRY_PARAMETERS.items():
            setattr(self._parameters, parameter, value)
        self._parameters.client_properties = {"connection_name": name}
        self._on_open = on_open
        self._on_lost = on_lost
        self.channel: Channel | None = None
        self._error: str | None = "not connected yet"

    def failing(self) -> str | None:
        """Why there is no open channel."""
        return super().failing() or self._error

    async def run(self) -> None:
        """Connect, wait for the loss, connect again."""
        pause = RECONNECT_FIRST
        while True:
            lost = asyncio.get_running_loop().create_future()
            connection: AsyncioConnection | None = None
            try:
                connection = await self._connect(lost)
                self.channel = await self._open_channel(connection, lost)
                self._on_open(self.channel)
                self._error, pause = None, RECONNECT_FIRST
                _log.info("connected", connection=self.name)
                self._error = f"the connection to RabbitMQ is lost: {await lost}"
            except (AMQPError, AMQPConnectorException, OSError) as error:
                self._error = f"RabbitMQ cannot be reached: {str(error) or repr(error)}"
            finally:
                if self.channel is not None:
                    self.channel = None
                    self._on_lost()
                if connection is not None and connection.is_open:
                    connection.close()
            _log.warning("not connected", connection=self.name, error=self._error)
            await asyncio.sleep(pause)
            pause = min(2 * pause, RECONNECT_MAX)

    async def _connect(self, lost: asyncio.Future[object]) -> AsyncioConnection:
        opened: asyncio.Future[AsyncioConnection] = asyncio.get_running_loop().create_future()
        AsyncioConnection(
            self._parameters,
            on_open_callback=lambda connection: _resolve(opened, connection),
            on_open_error_callback=lambda _connection, error: _fail(opened, error),
            on_close_callback=lambda _connection, reason: _resolve(lost, reason),
        )
        return await opened

    async def _open_channel(self, connection: AsyncioConnection, lost: asyncio.Future[object]) -> Channel:
        opened: asyncio.Future[Channel] = asyncio.get_running_loop().create_future()
        channel = connection.channel(on_open_callback=lambda channel: _resolve(opened, channel))
        channel.add_on_close_callback(lambda _channel, reason: _resolve(lost, reason))
        await asyncio.wait((opened, lost), return_when=asyncio.FIRST_COMPLETED)
        if not opened.done():
            raise AMQPError(str(lost.result()))
        return opened.result()


def _resolve(future: asyncio.Future[T], value: T) -> None:
    if not future.done():
        future.set_result(value)


def _fail(future: asyncio.Future[Any], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to publish, and the context its trace goes on from."""

    exchange: str
    routing_key: str
    body: bytes
    message_id: str
    headers: dict[str, Any] = field(default_factory=dict)
    context: Context | None = None

    @classmethod
    def of(cls, event: Event, context: Context | None = None) -> "Outgoing":
        """The message that carries `event`."""
        return cls(ORDERS_EXCHANGE, event.event, encode(event), event.message_id, {}, context)


class Publisher:
    """Publishes persistent, mandatory messages and returns when the broker has confirmed them.

    Up to `amqp_window` messages are on their way at once. A message that was not confirmed when the connection
    was lost is published again, on the next one, until its time is up.

    Args:
        chassis: The service that publishes.
    """

    def __init__(self, chassis: Chassis) -> None:
        settings = chassis.settings
        self._connection = Connection(
            settings.rabbitmq_url, f"{chassis.service.name} publisher", self._opened, self._lost
        )
        chassis.runs(self._connection)
        self._timeout = settings.confirm_timeout
        self._window = asyncio.Semaphore(settings.amqp_window)
        self._ready = asyncio.Event()
        self._tags = itertools.count(1)
        self._unconfirmed: dict[int, asyncio.Future[None]] = {}
        self._oldest = 1
        self._returned: dict[str, str] = {}

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        """Publish all of `messages`.

        Raises:
            BrokerUnavailable: Not all were confirmed in time; any of them may have been.
        """
        try:
            async with asyncio.timeout(self._timeout):
                if len(messages) == 1:
                    await self._publish(messages[0])
                else:
                    await asyncio.gather(*[self._publish(message) for message in messages])
        except TimeoutError as error:
            state = self._connection.failing() or f"it has not confirmed within {self._timeout:g} s"
            raise BrokerUnavailable(f"RabbitMQ did not take the message: {state}") from error

    async def _publish(self, message: Outgoing) -> None:
        destination = DLQ_QUEUE if message.exchange == DLX_EXCHANGE else _DESTINATION[message.routing_key]
        with Sends("rabbitmq") as sends:
            about = {
                "messaging.message.id": message.message_id,
                "messaging.rabbitmq.destination.routing_key": message.routing_key,
            }
            carrying = sends.begin(destination, message.context, message.body, about)
            properties = pika.BasicProperties(
                content_type="application/json",
                delivery_mode=pika.DeliveryMode.Persistent,
                message_id=message.message_id,
                timestamp=int(time.time()),
                headers={**message.headers, **carrying},
            )
            async with self._window:
                while not await self._confirmed(message, properties):
                    pass

    async def _confirmed(self, message: Outgoing, properties: pika.BasicProperties) -> bool:
        """Publish once and wait for the confirm; False when the connection was lost before it came."""
        await self._ready.wait()
        channel = self._connection.channel
        if channel is None or not channel.is_open:
            self._ready.clear()
            return False
        confirm: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        tag = next(self._tags)
        self._unconfirmed[tag] = confirm
        channel.basic_publish(message.exchange, message.routing_key, message.body, properties, mandatory=True)
        try:
            await confirm
        except ConnectionResetError:
            return False
        finally:
            self._unconfirmed.pop(tag, None)
        if (reason := self._returned.pop(message.message_id, None)) is not None:
            raise BrokerUnavailable(f"no queue took the message {message.message_id}: {reason}")
        return True

    def _opened(self, channel: Channel) -> None:
        self._tags, self._oldest = itertools.count(1), 1
        channel.add_on_return_callback(self._on_return)
        channel.confirm_delivery(self._on_confirm)
        self._ready.set()

    def _lost(self) -> None:
        self._ready.clear()
        unconfirmed, self._unconfirmed = self._unconfirmed, {}
        for confirm in unconfirmed.values():
            _fail(confirm, ConnectionResetError())

    def _on_return(self, _channel: Channel, method: Any, properties: pika.BasicProperties, _body: bytes) -> None:
        if properties.message_id is not None:
            self._returned[properties.message_id] = method.reply_text

    def _on_confirm(self, frame: Any) -> None:
        confirm = frame.method
        tags = range(self._oldest, confirm.delivery_tag + 1) if confirm.multiple else (confirm.delivery_tag,)
        for tag in tags:
            waiting = self._unconfirmed.get(tag)
            if waiting is None:
                continue
            if isinstance(confirm, pika.spec.Basic.Ack):
                _resolve(waiting, None)
            else:
                _fail(waiting, BrokerUnavailable("RabbitMQ refused the message (basic.nack)"))
        if confirm.multiple:
            self._oldest = confirm.delivery_tag + 1


@dataclass(frozen=True, slots=True)
class _Delivery:
    """A message as it was delivered, on the channel that must acknowledge it."""

    channel: Channel
    tag: int
    routing_key: str
    properties: pika.BasicProperties
    body: bytes

    @property
    def returns(self) -> int:
        """How often the broker took it back before."""
        return int((self.properties.headers or {}).get("x-delivery-count", 0))

    @property
    def context(self) -> Context:
        """The trace it belongs to."""
        return carried({k: v for k, v in (self.properties.headers or {}).items() if isinstance(v, str)})


Read = Callable[[object, str], M]
"""Turns a decoded JSON value and its routing key into a message; raises `Malformed`."""

Handle = Callable[[list[M]], Awaitable[Sequence[Event] | None]]
"""Works on a batch, all or nothing, and returns the events to publish for it, one per message, or None."""


class Consumer(Background, Generic[M]):
    """Reads a queue in batches: work, publish what follows from it, then acknowledge.

    A batch is what is ready, at most `amqp_batch` messages. A message that cannot be understood, or whose work
    failed at every try, is published to the dead-letter exchange with its reason before it is acknowledged.

    Args:
        chassis: The service that consumes.
        queue: The queue's name.
        read: Makes a message of a delivery.
        handle: The work.
        publisher: For the events that follow and for dead letters.
    """

    def __init__(self, chassis: Chassis, queue: str, read: Read[M], handle: Handle[M], publisher: Publisher) -> None:
        super().__init__()
        self.name = f"consumer of {queue}"
        self._queue = queue
        self._read = read
        self._handle = handle
        self._publisher = publisher
        self._prefetch = chassis.settings.amqp_prefetch
        self._batch = chassis.settings.amqp_batch
        self._faults: Faults = chassis.faults
        self._metrics: Metrics = chassis.metrics
        self._inbox: deque[_Delivery] = deque()
        self._arrived = asyncio.Event()
        self._tag: str | None = None
        self._stopping = False
        self._connection = Connection(
            chassis.settings.rabbitmq_url, f"{chassis.service.name} {self.name}", self._opened, self._lost
        )
        chassis.runs(self._connection)
        chassis.runs(self)

    def _opened(self, channel: Channel) -> None:
        channel.basic_qos(prefetch_count=self._prefetch)
        channel.add_on_cancel_callback(lambda _frame: channel.close())
        self._arrived.set()

    def _lost(self) -> None:
        self._tag = None
        self._inbox.clear()

    def _subscribe(self) -> None:
        """Begin to take messages, or cease, as the faults say."""
        channel = self._connection.channel
        if channel is None or not channel.is_open or self._faults.paused == (self._tag is None):
            return
        if self._faults.paused and self._tag is not None:
            channel.basic_cancel(self._tag)
            self._tag = None
        else:
            self._tag = channel.basic_consume(self._queue, self._on_message)

    def _on_message(self, channel: Channel, method: Any, properties: pika.BasicProperties, body: bytes) -> None:
        self._inbox.append(_Delivery(channel, method.delivery_tag, method.routing_key, properties, body))
        self._arrived.set()

    async def stop(self) -> None:
        """Take no further messages, finish the batch in hand, end."""
        self._stopping = True
        self._arrived.set()
        if self._task is not None:
            await asyncio.wait((self._task,), timeout=10)
        await super().stop()

    async def run(self) -> None:
        """Work on batch after batch."""
        while not self._stopping:
            self._subscribe()
            if not self._inbox:
                self._arrived.clear()
                await _within(_IDLE, self._arrived)
                continue
            size = min(len(self._inbox), self._faults.batch_limit(self._batch))
            await self._work([self._inbox.popleft() for _ in range(size)])

    async def _work(self, batch: list[_Delivery]) -> None:
        try:
            messages = await self._understood(batch)
            returned = await self._attempt(messages) if messages else set()
            channel = batch[-1].channel
            if channel.is_open and not returned:
                channel.basic_ack(batch[-1].tag, multiple=True)  # the work is done
            elif channel.is_open:
                for tag in [delivery.tag for delivery in batch if delivery.tag not in returned]:
                    channel.basic_ack(tag)
        except BrokerUnavailable as error:
            # Nothing was acknowledged: closing the channel has the broker deliver all of it again.
            _log.warning("batch not finished", queue=self._queue, error=str(error))
            if batch[-1].channel.is_open:
                batch[-1].channel.close()

    async def _understood(self, batch: list[_Delivery]) -> list[tuple[_Delivery, M]]:
        messages = []
        for delivery in batch:
            try:
                messages.append((delivery, self._read(decode(delivery.body), delivery.routing_key)))
            except Malformed as error:
                await self._set_aside(delivery, DeadLetterReason.MALFORMED, str(error))
        return messages

    async def _attempt(self, messages: list[tuple[_Delivery, M]]) -> set[int]:
        """Do the work, or give the messages back to the broker; the tags of those given back."""
        try:
            await until_stored(lambda: self._process(messages))
            return set()
        except BrokerUnavailable:
            raise
        except Exception as error:
            if len(messages) > 1 and not isinstance(error, LabError):
                return {tag for message in messages for tag in await self._attempt([message])}
            _log.warning("work failed", queue=self._queue, messages=len(messages), error=repr(error))
            return await self._return([delivery for delivery, _message in messages], error)

    async def _process(self, messages: list[tuple[_Delivery, M]]) -> None:
        came = [Carried(self._queue, delivery.context, message.order_id) for delivery, message in messages]
        with processing("rabbitmq", came, {}) as going_on:
            await self._faults.before_messages(len(messages))
            self._faults.raise_if_messages_fail()
            events = await self._handle([message for _delivery, message in messages])
            await self._publisher.publish(
                [Outgoing.of(event, context) for event, context in zip(events or (), going_on, strict=False)]
            )

    async def _return(self, deliveries: list[_Delivery], error: Exception) -> set[int]:
        await asyncio.sleep(pause_before_retry(max(delivery.returns for delivery in deliveries)))
        returned = set()
        for delivery in deliveries:
            if delivery.returns >= DELIVERY_LIMIT:
                await self._set_aside(delivery, DeadLetterReason.EXHAUSTED, str(error))
            elif delivery.channel.is_open:
                # reject, for nack does not count towards the delivery limit from RabbitMQ 4.3
                delivery.channel.basic_reject(delivery.tag, requeue=True)
                returned.add(delivery.tag)
        return returned

    async def _set_aside(self, delivery: _Delivery, reason: str, error: str) -> None:
        headers = {
            **{k: v for k, v in (delivery.properties.headers or {}).items() if not k.startswith("x-")},
            "x-reason": reason,
            "x-error": error,
            "x-queue": self._queue,
            "x-routing-key": delivery.routing_key,
        }
        message_id = delivery.properties.message_id or ""
        letter = Outgoing(DLX_EXCHANGE, delivery.routing_key, delivery.body, message_id, headers, delivery.context)
        await self._publisher.publish([letter])
        self._metrics.dead_lettered(reason)
        _log.warning("dead letter", queue=self._queue, reason=reason, error=error, message_id=message_id)


async def _within(seconds: float, event: asyncio.Event) -> None:
    """Return when `event` is set or the time is up."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass
