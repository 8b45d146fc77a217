"""Send messages to Kafka: idempotent, acknowledged by all replicas, batched, bounded in memory.

Batches are filled here and handed over whole, one open, one queued and one in flight a partition: handing aiokafka one
record at a time costs most of the time there is. An idempotent aiokafka producer retries a batch for ever, in order and
without duplicates, so a broker may restart; how long it may stay away is decided here.
"""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.codec import has_lz4
from aiokafka.errors import KafkaError
from aiokafka.partitioner import DefaultPartitioner

from retail_platform.contracts import TRANSACTIONS
from retail_platform.errors import RetailError
from retail_platform.kafka import MAX_MESSAGE_BYTES, client_options, explained
from retail_platform.producer.message import Message
from retail_platform.refusals import refusal
from retail_platform.settings import Settings

#: Seconds without any acknowledgement after which the broker is given up.
DELIVERY_TIMEOUT = 120.0

_BATCH_BYTES = 256 * 1024
_OVERHEAD_BYTES = 4096
_CONNECT_TIMEOUT = 15.0
_TOPIC_TIMEOUT = 5.0
_LOOK_EVERY = 1.0
_FAREWELL_TIMEOUT = 5.0
_TICK = 0.005
_PROGRESS_EVERY = 0.1

Acknowledged = Callable[[Message, int, int], None]
"""Called with the message, its partition and its offset (-1 when the broker acknowledged a retry it had already)."""

Progress = Callable[[int], None]
"""Called with the number of messages acknowledged so far, about ten times a second."""


@dataclass(frozen=True, slots=True)
class SendReport:
    """What became of the messages.

    ``seconds`` runs from the first message to the last acknowledgement, ``rate`` is acknowledged messages a second,
    ``labels`` counts acknowledged messages by label, ``refused`` is what the broker said about ``failed`` ones.
    """

    sent: int
    acknowledged: int
    failed: int
    seconds: float
    rate: float
    labels: dict[str, int]
    refused: tuple[str, ...] = ()
    interrupted: bool = False


def send(
    settings: Settings,
    messages: Iterable[Message],
    rate: float | None = None,
    on_progress: Progress | None = None,
    *,
    speed: float | None = None,
    on_acknowledged: Acknowledged | None = None,
    delivery_timeout: float = DELIVERY_TIMEOUT,
) -> SendReport:
    """Send every message and wait until each is acknowledged; Ctrl-C sends what is under way, then reports.

    ``rate`` paces by messages a second, ``speed`` by the messages' own ``due`` times (2 is twice as fast); without
    either they go as fast as they can. Topics must exist.

    Raises:
        RetailError: no broker answers, it lacks a topic, or acknowledged nothing for ``delivery_timeout`` seconds.
    """
    sending = _Sending(settings, on_progress, on_acknowledged, delivery_timeout)
    return asyncio.run(sending.run(messages, _pace(rate, speed)))


def _pace(rate: float | None, speed: float | None) -> Callable[[int, Message], float]:
    """What tells when a message is due, in seconds from the start, by its number and itself."""
    if rate is not None:
        return lambda number, _: number / rate
    if speed is not None:
        return lambda _, message: message.due / speed
    return lambda _number, _message: 0.0


@dataclass(slots=True)
class _Open:
    """The batch that is being filled for one partition."""

    builder: Any
    messages: list[Message] = field(default_factory=list)


class _Sending:
    """One call of :func:`send`: its producer, its open batches, its counts."""

    def __init__(
        self,
        settings: Settings,
        on_progress: Progress | None,
        on_acknowledged: Acknowledged | None,
        delivery_timeout: float,
    ) -> None:
        self._settings = settings
        self._on_progress = on_progress
        self._on_acknowledged = on_acknowledged
        self._delivery_timeout = delivery_timeout
        self._topics = {TRANSACTIONS.topic: settings.kafka_topic}
        self._partitioner = DefaultPartitioner()
        self._partitions: dict[str, list[int]] = {}
        self._open: dict[tuple[str, int], _Open] = {}
        self._in_flight: set[asyncio.Future[Any]] = set()
        self._sent = 0
        self._failed = 0
        self._labels: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()
        self._acknowledged = 0
        self._last_answer = 0.0
        self._last_progress = 0.0
        self._hook_error: BaseException | None = None

    async def run(self, messages: Iterable[Message], due: Callable[[int, Message], float]) -> SendReport:
        self._stop = asyncio.Event()
        self._producer = AIOKafkaProducer(
            **client_options(self._settings),
            enable_idempotence=True,
            acks="all",
            compression_type="lz4" if has_lz4() else None,
            max_batch_size=_BATCH_BYTES,
            # aiokafka drops a queued batch whose partition has no leader for that long, and with it the sequence of an
            # idempotent producer: never before this class gives up.
            request_timeout_ms=int(self._delivery_timeout * 2000),
        )
        await self._connect()
        try:
            with _interrupting(self._stop):
                started = self._last_answer = time.monotonic()
                await self._pump(messages, due, started)
                await self._flush()
                await self._drain()
                seconds = time.monotonic() - started
        finally:
            await self._close()
        return SendReport(
            sent=self._sent,
            acknowledged=self._acknowledged,
            failed=self._failed,
            seconds=seconds,
            rate=self._acknowledged / seconds if seconds else 0.0,
            labels=dict(sorted(self._labels.items())),
            refused=tuple(sorted(self._refused)),
            interrupted=self._stop.is_set(),
        )

    async def _connect(self) -> None:
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT):
                await self._producer.start()
        except (KafkaError, TimeoutError, OSError) as error:
            await self._close()
            why = await asyncio.to_thread(explained, self._settings, f"{type(error).__name__}: {error}")
            raise RetailError(
                why or f"no Kafka answers at {self._settings.bootstrap_servers}; {self._mend()}"
            ) from error

    async def _pump(self, messages: Iterable[Message], due: Callable[[int, Message], float], started: float) -> None:
        for message in messages:
            wait = started + due(self._sent, message) - time.monotonic()
            if wait > 0:
                await self._flush()
                await self._pause(wait)
            if self._stop.is_set():
                return
            self._sent += 1
            if _fits(message):
                await self._add(message)
            else:
                self._failed += 1
                self._refused[f"MessageSizeTooLarge: over {MAX_MESSAGE_BYTES} bytes"] += 1

    async def _pause(self, seconds: float) -> None:
        """Wait until due, at least a tick so that a fast pace goes in small batches; Ctrl-C ends the wait."""
        try:
            await asyncio.wait_for(self._stop.wait(), max(seconds, _TICK))
        except TimeoutError:
            self._check()

    async def _add(self, message: Message) -> None:
        topic = self._topics.get(message.topic, message.topic)
        partitions = self._partitions.get(topic) or await self._find_partitions(topic)
        place = (topic, self._partitioner(message.key, partitions, partitions))
        batch = self._open.get(place)
        if batch is None or not _append(batch, message):
            if batch is not None:
                await self._submit(place, self._open.pop(place))
            self._open[place] = batch = _Open(self._producer.create_batch())
            _append(batch, message)

    async def _find_partitions(self, topic: str) -> list[int]:
        try:
            async with asyncio.timeout(_TOPIC_TIMEOUT):
                found = await self._producer.partitions_for(topic)
        except (KafkaError, TimeoutError) as error:
            raise RetailError(
                f"Kafka has no topic {topic} ({_said(error)}); create it, or set KAFKA_TOPIC to one; if it is there, this "
                "user may not see it (grant Describe)"
            ) from error
        self._partitions[topic] = sorted(found)
        return self._partitions[topic]

    async def _flush(self) -> None:
        """Hand over every open batch, full or not."""
        while self._open:
            place, batch = self._open.popitem()
            await self._submit(place, batch)

    async def _submit(self, place: tuple[str, int], batch: _Open) -> None:
        topic, partition = place
        while True:
            self._check()
            try:
                async with asyncio.timeout(_LOOK_EVERY):
                    future = await self._producer.send_batch(batch.builder, topic, partition=partition)
            except TimeoutError:
                continue  # the queue did not move; _check decides how long that may go on
            except KafkaError as error:
                why = refusal(self._settings, _said(error))
                raise RetailError(why or f"Kafka refused to go on ({_said(error)}); {self._mend()}") from error
            break
        self._in_flight.add(future)
        future.add_done_callback(lambda done: self._answered(done, partition, batch.messages))
        await asyncio.sleep(0)  # let the sender and the answers run between batches

    def _answered(self, future: asyncio.Future[Any], partition: int, messages: list[Message]) -> None:
        self._in_flight.discard(future)
        if future.cancelled():
            return
        self._last_answer = time.monotonic()
        error = future.exception()
        if error is not None:
            self._failed += len(messages)
            self._refused[refusal(self._settings, _said(error)) or _said(error)] += 1
            return
        self._acknowledged += len(messages)
        self._labels.update(message.label for message in messages)
        try:
            self._tell(partition, future.result().offset, messages)
        except Exception as broken:  # noqa: BLE001  the event loop would swallow it; _check raises it
            self._hook_error = broken

    def _tell(self, partition: int, base: int, messages: list[Message]) -> None:
        """Call the callbacks about an acknowledged batch whose first offset is ``base``, -1 when unknown."""
        if self._on_acknowledged is not None:
            for number, message in enumerate(messages):
                self._on_acknowledged(message, partition, base + number if base >= 0 else -1)
        if self._on_progress is not None and self._last_answer - self._last_progress > _PROGRESS_EVERY:
            self._last_progress = self._last_answer
            self._on_progress(self._acknowledged)

    async def _drain(self) -> None:
        while self._in_flight:
            await asyncio.wait(self._in_flight, timeout=_LOOK_EVERY, return_when=asyncio.FIRST_COMPLETED)
            self._check()
        if self._on_progress is not None:
            self._on_progress(self._acknowledged)

    def _check(self) -> None:
        if self._hook_error is not None:
            raise self._hook_error
        if not self._in_flight:
            self._last_answer = time.monotonic()
        elif time.monotonic() - self._last_answer > self._delivery_timeout:
            raise RetailError(
                f"Kafka acknowledged nothing for {self._delivery_timeout:.0f} s; {self._acknowledged} of {self._sent} "
                f"messages are surely there; {self._mend()}"
            )

    async def _close(self) -> None:
        """Stop the producer; one whose broker is gone would wait for ever to deliver what it holds."""
        try:
            async with asyncio.timeout(_FAREWELL_TIMEOUT):
                await self._producer.stop()
        except TimeoutError:
            await self._producer.client.close()

    def _mend(self) -> str:
        if self._settings.embedded_kafka:
            return "start the embedded broker with `retail kafka start`, or set KAFKA_BOOTSTRAP_SERVERS"
        return "check KAFKA_BOOTSTRAP_SERVERS, and the other KAFKA_* settings for its protocol and user"


def _fits(message: Message) -> bool:
    """Whether the topics take a message of that size: a batch that the broker refuses breaks the ones behind it."""
    size = len(message.key or b"") + len(message.value or b"") + len(message.schema)
    size += sum(len(name) + len(value or b"") for name, value in message.headers)
    return size + _OVERHEAD_BYTES <= MAX_MESSAGE_BYTES


def _append(batch: _Open, message: Message) -> bool:
    """Add the message to the batch; false when the batch is full."""
    headers = list(message.headers) or [("schema", message.schema.encode())]
    added = batch.builder.append(timestamp=None, key=message.key, value=message.value, headers=headers)
    if added is None:
        return False
    batch.messages.append(message)
    return True


def _said(error: BaseException) -> str:
    return str(error) or type(error).__name__


@contextmanager
def _interrupting(stop: asyncio.Event) -> Iterator[None]:
    """Turn the first Ctrl-C into ``stop``; a second one interrupts as usual."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()

    def first() -> None:
        stop.set()
        loop.remove_signal_handler(signal.SIGINT)

    loop.add_signal_handler(signal.SIGINT, first)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)
