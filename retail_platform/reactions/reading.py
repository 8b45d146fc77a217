"""What the reactions have said, for those who look: the committed records of a topic, as they come or up to its end."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncGenerator, Callable
from typing import TYPE_CHECKING, Literal

from retail_platform import kafka
from retail_platform.errors import RetailError
from retail_platform.settings import Settings

if TYPE_CHECKING:
    from aiokafka import ConsumerRecord

_POLL_MS = 200


async def records(
    settings: Settings,
    topic: str,
    since: dt.datetime | Literal["start", "now"],
    *,
    to_end: bool = False,
    at_end: Callable[[], None] = lambda: None,
) -> AsyncGenerator[ConsumerRecord, None]:
    """The committed records of a topic since its start, since now, or appended since a moment, as they come.

    The topic's end is where it was when the reading began: there ``at_end`` is called, and with ``to_end`` the records end.

    Raises:
        RetailError: Kafka has no such topic, or went away.
    """
    from aiokafka import AIOKafkaConsumer, TopicPartition  # noqa: PLC0415  it takes its time; who imports this may not read
    from aiokafka.errors import KafkaError  # noqa: PLC0415

    # A topic that is not there would be waited for in silence; this says so.
    reach = (await asyncio.to_thread(kafka.offsets, settings, [topic]))[topic]
    ends = {TopicPartition(topic, number): end for number, (_, end) in reach.items()}
    firsts = {TopicPartition(topic, number): first for number, (first, _) in reach.items()}
    try:
        async with AIOKafkaConsumer(**kafka.client_options(settings), isolation_level="read_committed") as consumer:
            consumer.assign(list(ends))
            begins = ends if since == "now" else firsts
            if isinstance(since, dt.datetime):
                asked = dict.fromkeys(ends, int(since.timestamp() * 1000))
                found = await consumer.offsets_for_times(asked)
                begins = {place: place_found.offset if (place_found := found[place]) else ends[place] for place in ends}
            for place, offset in begins.items():
                consumer.seek(place, offset)
            ended = False
            while not (ended and to_end):
                for batch in (await consumer.getmany(timeout_ms=_POLL_MS)).values():
                    for record in batch:
                        # With an end in view, what came after it belongs to the next reading.
                        if not to_end or record.offset < ends[TopicPartition(topic, record.partition)]:
                            yield record
                if not ended and all([await consumer.position(place) >= ends[place] for place in ends]):
                    ended = True
                    at_end()
    except KafkaError as error:
        raise RetailError(f"Kafka went away while {topic} was read ({error}); look at `retail kafka status`") from error
