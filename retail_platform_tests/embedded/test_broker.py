"""The embedded broker: a real one, started, attached to, killed, moved; and why it cannot start, in one line."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from retail_platform import kafka
from retail_platform.embedded import broker as broker_module
from retail_platform.embedded.broker import EmbeddedBroker
from retail_platform.embedded.ports import free_port_pair
from retail_platform.errors import RetailError, SettingsError
from retail_platform.settings import Settings, child_environment, load_settings


@pytest.fixture
def own(tmp_path: Path) -> Iterator[EmbeddedBroker]:
    """A broker that the test starts and may do anything to."""
    settings = load_settings(
        env_file=None,
        retail_home=tmp_path / "home",
        retail_outputs=tmp_path / "outputs",
        kafka_embedded_port=free_port_pair(),
    )
    server = EmbeddedBroker(settings)
    yield server
    server.stop()


def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    """Wait for the condition; fail when it does not come true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.05)


def alive(pid: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


def retail(settings: Settings, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own on these settings."""
    environment = child_environment(settings) | {"KAFKA_EMBEDDED_PORT": str(settings.kafka_embedded_port)}
    command = [sys.executable, "-c", "from retail_platform.cli import main; main()", *arguments]
    root = Path(broker_module.__file__).parents[2]
    return subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, timeout=120, check=False)


def test_a_second_start_attaches_to_the_broker_that_runs(broker: Settings) -> None:
    before = EmbeddedBroker(broker).status()
    EmbeddedBroker(broker).start()
    after = EmbeddedBroker(broker).status()
    assert before.running
    assert (after.pid, after.since, after.port) == (before.pid, before.since, broker.kafka_embedded_port)
    assert after.bytes > 0


def test_it_listens_on_the_loopback_address_only(broker: Settings) -> None:
    for port in (broker.kafka_embedded_port, broker.kafka_embedded_port + 1):
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            pass
        # The whole of 127/8 is this machine: a broker on every address would answer here.
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", port), timeout=5)


def test_it_outlives_the_command_that_starts_it_and_another_stops_it(own: EmbeddedBroker) -> None:
    settings = own.settings
    started = retail(settings, "kafka", "start")
    assert started.returncode == 0, started.stderr
    report = json.loads(retail(settings, "kafka", "status", "--json").stdout)
    assert report["reachable"]
    assert report["records"] == {contract.topic: 0 for contract in settings.topics}
    pid = report["broker"]["pid"]
    assert own.status().pid == pid
    assert os.getsid(pid) == pid
    assert retail(settings, "kafka", "stop").returncode == 0
    until(lambda: not alive(pid))
    stopped = retail(settings, "kafka", "status", "--json")
    assert stopped.returncode == 1
    assert not json.loads(stopped.stdout)["broker"]["running"]
    own.stop()


def test_it_starts_when_the_random_id_of_its_cluster_begins_with_a_dash(
    own: EmbeddedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker_module.uuid, "uuid4", lambda: uuid.UUID(bytes=b"\xf8" * 16))
    own.start()
    assert "cluster.id=-" in (own.settings.kafka_dir / "data" / "meta.properties").read_text(encoding="utf-8")


def test_two_that_start_at_once_get_one_broker(own: EmbeddedBroker) -> None:
    other = EmbeddedBroker(own.settings)
    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(own.start), pool.submit(other.start)]:
            done.result()
    assert own.status().pid == other.status().pid is not None
    assert kafka.is_reachable(own.settings, timeout_seconds=5)


def test_kill_9_loses_nothing_that_was_acknowledged_and_it_starts_again_elsewhere(own: EmbeddedBroker) -> None:
    own.start()
    pid = own.status().pid
    assert pid is not None
    acknowledged = asyncio.run(_produce_until_killed(own.settings, pid))
    until(lambda: not own.status().running)
    moved = EmbeddedBroker(own.settings.model_copy(update={"kafka_embedded_port": free_port_pair()}))
    try:
        moved.start()
        found = asyncio.run(_read_all(moved.settings))
    finally:
        moved.stop()
    assert len(acknowledged) >= 2000
    assert {place: found.get(place) for place in acknowledged} == acknowledged


async def _produce_until_killed(settings: Settings, pid: int) -> dict[tuple[int, int], bytes]:
    """Send in the thick of it, kill the broker after 2,000 acknowledgements; what had been acknowledged, by place."""
    acknowledged: dict[tuple[int, int], bytes] = {}

    async def send(number: int) -> None:
        value = b"%d" % number
        sent = await producer.send_and_wait(settings.kafka_topic, value, partition=number % 4)
        acknowledged[sent.partition, sent.offset] = value
        if len(acknowledged) == 2000:
            os.kill(pid, signal.SIGKILL)
            killed.set()

    killed = asyncio.Event()
    producer = AIOKafkaProducer(**kafka.client_options(settings), acks="all", request_timeout_ms=2000)
    await producer.start()
    tasks = [asyncio.create_task(send(number)) for number in range(20_000)]
    await asyncio.wait_for(killed.wait(), 60)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    with contextlib.suppress(TimeoutError, KafkaError):
        await asyncio.wait_for(producer.stop(), 2)
    return acknowledged


async def _read_all(settings: Settings) -> dict[tuple[int, int], bytes | None]:
    places = [TopicPartition(settings.kafka_topic, number) for number in range(4)]
    found: dict[tuple[int, int], bytes | None] = {}
    async with AIOKafkaConsumer(**kafka.client_options(settings)) as consumer:
        consumer.assign(places)
        await consumer.seek_to_beginning(*places)
        ends = await consumer.end_offsets(places)
        async with asyncio.timeout(30):
            while any([await consumer.position(place) < end for place, end in ends.items()]):
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    found.update({(record.partition, record.offset): record.value for record in records})
    return found


def test_a_second_broker_on_the_folder_is_refused_before_java_starts(own: EmbeddedBroker) -> None:
    own.start()
    log = own.settings.logs_dir / "kafka.log"
    before = log.read_bytes()
    other = EmbeddedBroker(own.settings.model_copy(update={"kafka_embedded_port": free_port_pair()}))
    with pytest.raises(SettingsError, match="KAFKA_EMBEDDED_PORT"):
        other.start()
    assert log.read_bytes() == before
    assert own.status().running


def test_a_stop_without_a_broker_does_nothing(own: EmbeddedBroker) -> None:
    own.stop()
    assert not own.status().running
    assert not own.settings.kafka_dir.exists()


@pytest.mark.parametrize("offset", [0, 1])
def test_a_port_that_is_taken_is_named_with_its_setting(own: EmbeddedBroker, offset: int) -> None:
    port = own.settings.kafka_embedded_port + offset
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        with pytest.raises(SettingsError, match=rf"port {port} of 127\.0\.0\.1 is taken .*KAFKA_EMBEDDED_PORT"):
            own.start()
    assert not own.status().running


def test_a_port_that_is_taken_at_the_last_moment_is_named_too(
    own: EmbeddedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(EmbeddedBroker, "_require_free_ports", lambda _: None)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", own.settings.kafka_embedded_port))
        taken.listen()
        with pytest.raises(SettingsError, match="KAFKA_EMBEDDED_PORT"):
            own.start()
    assert not own.status().running


def test_a_cluster_of_ones_own_is_never_replaced_by_an_embedded_broker(settings: Settings) -> None:
    elsewhere = settings.model_copy(update={"kafka_bootstrap_servers": "broker.example.com:9092"})
    with pytest.raises(RetailError, match=r"KAFKA_BOOTSTRAP_SERVERS=broker\.example\.com:9092 is set"):
        EmbeddedBroker(elsewhere).start()
    assert not settings.kafka_dir.exists()


def test_missing_jars_say_make_setup(own: EmbeddedBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(RetailError, match="make setup"):
        own.start()


def test_too_little_disk_is_told_before_anything_is_written(
    own: EmbeddedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker_module, "_LEAST_FREE_BYTES", 2**62)
    with pytest.raises(RetailError, match=r"the disk is full: .* RETAIL_HOME"):
        own.start()
    assert not (own.settings.kafka_dir / "data").exists()


def test_a_folder_that_cannot_be_made_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    settings = load_settings(env_file=None, retail_home=tmp_path / "file" / "home")
    with pytest.raises(RetailError, match="RETAIL_HOME"):
        EmbeddedBroker(settings).start()


def test_a_corrupted_folder_is_named_with_the_cause_and_the_way_out(own: EmbeddedBroker) -> None:
    data = own.settings.kafka_dir / "data"
    data.mkdir(parents=True)
    (data / "meta.properties").write_text("version=1\ncluster.id=other\nnode.id=77\n")
    with pytest.raises(RetailError, match=rf"cannot use {data} .*node.id.*retail reset") as told:
        own.start()
    assert "\n" not in str(told.value)
    assert not own.status().running
