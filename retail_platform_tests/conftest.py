"""The parts that tests share: settings in a temporary home, one real Kafka broker, one Spark session for the suite."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from retail_platform.embedded.ports import free_port_pair
from retail_platform.settings import Settings, load_settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


#: These wait more than they work: begun first, they run beside all the others.
_LONGEST = ("test_dev.py", "test_daily.py", "test_kill.py", "test_s3.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest modules first, each whole; the others stay in order."""
    items.sort(key=lambda item: _LONGEST.index(item.path.name) if item.path.name in _LONGEST else len(_LONGEST))


# A suite's JVMs die young: the second compiler would cost more than it ever gives back.
SHORT_LIVED = "-XX:TieredStopAtLevel=1"


@pytest.fixture(scope="session")
def broker_settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings of the suite's broker: a home of its own, a free port."""
    home = tmp_path_factory.mktemp("broker")
    return load_settings(
        env_file=None, retail_home=home, retail_outputs=home / "outputs", kafka_embedded_port=free_port_pair()
    )


@pytest.fixture(scope="session")
def broker(broker_settings: Settings) -> Iterator[Settings]:
    """A running embedded broker with the contracts' topics; yields the settings that reach it."""
    from retail_platform.embedded.broker import EmbeddedBroker

    server = EmbeddedBroker(broker_settings)
    server.start()
    try:
        yield broker_settings
    finally:
        server.stop()


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """A server that speaks S3, empty and without a check of credentials; yields its address."""
    port = free_port_pair()
    # A process of its own: delta-rs holds Python's lock while it waits for an answer.
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert time.monotonic() < deadline, "the S3 server did not start"
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings with a fresh home and no broker."""
    return load_settings(env_file=None, retail_home=tmp_path / "home", retail_outputs=tmp_path / "outputs")


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    """The suite's Spark session, configured as the job's."""
    from retail_platform.ingest.session import spark_session

    home = tmp_path_factory.mktemp("spark with a space")
    settings = load_settings(
        env_file=None, retail_home=home, spark_driver_memory="1g", spark_driver_java_options=SHORT_LIVED
    )
    session = spark_session(settings, "retail-tests")
    yield session
    session.stop()


@pytest.fixture
def lake_settings(broker: Settings, tmp_path: Path) -> Settings:
    """Settings that reach the suite's broker, whose topics are empty, and a lake that does not exist yet."""
    return _own_lake(broker, tmp_path)


@pytest.fixture(scope="session")
def sample_lake(broker: Settings, spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A lake that holds the real December 2010, and as many duplicates of it, as the stream wrote it. Do not write to it."""
    from retail_platform.producer import online_retail
    from retail_platform_tests.ingest.running import deliver, drain

    settings = _own_lake(broker, tmp_path_factory.mktemp("sample"))
    sample = online_retail.messages(online_retail.read(online_retail.sample_file()))
    deliver(settings, [*sample, *sample])
    drain(spark, settings, minutes=True)
    return settings


def _own_lake(broker: Settings, folder: Path) -> Settings:
    from retail_platform_tests.ingest.running import empty_topics

    empty_topics(broker)
    return broker.model_copy(
        update={
            "retail_home": folder / "home",
            "retail_outputs": folder / "outputs",
            "ingest_trigger_seconds": 0.2,
            # Six queries and tables more, in each stream of the suite: test_reactions.py has them.
            "ingest_reactions": False,
        }
    )
