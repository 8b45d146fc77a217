"""Run the reactions as a process of their own, and read what they say."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from retail_platform import kafka
from retail_platform.contracts import TopicContract
from retail_platform.reactions.applications import REACTIONS, ReactionApplication, consumer_group
from retail_platform.settings import PROJECT_ROOT, Settings
from retail_platform_tests import waiting
from retail_platform_tests.environment import environment

_SECONDS = 90.0
#: A broker that has just started finds its coordinator first, and reads what that knows.
_NOT_YET = (KafkaError.NOT_COORDINATOR, KafkaError.COORDINATOR_LOAD_IN_PROGRESS)


def start(settings: Settings, application: ReactionApplication = REACTIONS) -> subprocess.Popen[bytes]:
    """An application, under these settings."""
    command = [sys.executable, "-m", "retail_platform.reactions.wiring.job", application.name]
    return subprocess.Popen(command, env=environment(settings), cwd=PROJECT_ROOT, stdin=subprocess.DEVNULL)


@contextlib.contextmanager
def running(settings: Settings, application: ReactionApplication = REACTIONS) -> Iterator[subprocess.Popen[bytes]]:
    """An application, until the end of the block; it ends well when it is asked to."""
    process = start(settings, application)
    try:
        yield process
        process.terminate()
        assert process.wait(_SECONDS) == 0
    finally:
        process.kill()
        process.wait()


def members(settings: Settings, application: ReactionApplication) -> int:
    """How many processes of an application have partitions to read."""
    group = consumer_group(settings, application)
    admin = AdminClient(kafka.librdkafka_options(settings))
    try:
        described = admin.describe_consumer_groups([group])[group].result()
    except KafkaException as error:
        if error.args[0].retriable() or error.args[0].code() in _NOT_YET:
            return 0
        raise
    return sum(bool(member.assignment.topic_partitions) for member in described.members)


def said(settings: Settings, contract: TopicContract) -> list[dict[str, Any]]:
    """Every committed record of a topic that the reactions write, partition by partition."""

    reach = {number: last for number, (first, last) in _reach(settings, contract).items() if last > first}

    async def read() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        options = {"isolation_level": "read_committed", "auto_offset_reset": "earliest"}
        async with AIOKafkaConsumer(**kafka.client_options(settings), **options) as consumer:
            places = [TopicPartition(contract.topic, number) for number in reach]
            consumer.assign(places)
            await consumer.seek_to_beginning(*places)
            while any([await consumer.position(place) < reach[place.partition] for place in places]):
                for records in (await consumer.getmany(*places, timeout_ms=200)).values():
                    found += [json.loads(record.value) for record in records]
        return found

    return asyncio.run(read()) if reach else []


def _reach(settings: Settings, contract: TopicContract) -> dict[int, tuple[int, int]]:
    return kafka.offsets(settings, [contract.topic])[contract.topic]


def until(process: subprocess.Popen[bytes], what: str, holds: Callable[[], bool]) -> None:
    """Wait until it holds, as long as an application may take."""
    waiting.until(process, what, holds, _SECONDS)
