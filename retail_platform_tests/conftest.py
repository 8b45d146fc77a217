"""The parts that tests share: settings in a temporary home, one real Kafka broker, one Spark session for the suite."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from retail_platform.settings import Settings, load_settings


def free_port_pair() -> int:
    """A port that is free together with the next one (broker and controller)."""
    for _ in range(50):
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            try:
                second.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port
    raise RuntimeError("no two free ports in a row")


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


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings with a fresh home and no broker."""
    return load_settings(env_file=None, retail_home=tmp_path / "home", retail_outputs=tmp_path / "outputs")
