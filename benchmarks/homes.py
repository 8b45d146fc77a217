"""Where a benchmark works: a temporary home that is gone afterwards, a broker of its own, settings that reach both."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from retail_platform.embedded.broker import EmbeddedBroker
from retail_platform.embedded.ports import free_port_pair
from retail_platform.settings import Settings, child_environment, load_settings


@contextlib.contextmanager
def temporary_home() -> Iterator[Settings]:
    """Settings of an empty home, and of an embedded broker that is not started; the rest as the environment has it."""
    with tempfile.TemporaryDirectory(prefix="retail-bench-", ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        yield load_settings(
            retail_home=home / "home",
            retail_outputs=home / "outputs",
            kafka_bootstrap_servers=None,
            kafka_security_protocol="PLAINTEXT",
            kafka_embedded_port=free_port_pair(),
            business_timezone="UTC",
        )


@contextlib.contextmanager
def broker() -> Iterator[Settings]:
    """:func:`temporary_home` with the broker running."""
    with temporary_home() as settings:
        server = EmbeddedBroker(settings)
        try:
            server.start()
            yield settings
        finally:
            server.stop()


def lake_beside(settings: Settings, name: str, topic: str) -> Settings:
    """Settings of another, empty lake on the same broker, whose transactions come from ``topic``."""
    return settings.model_copy(update={"retail_home": settings.retail_home / name, "kafka_topic": topic})


def environment(settings: Settings) -> dict[str, str]:
    """The environment of a process that is to work in this home, with this broker, whatever ``.env`` says."""
    return child_environment(settings) | {
        "KAFKA_BOOTSTRAP_SERVERS": settings.bootstrap_servers,
        "KAFKA_SECURITY_PROTOCOL": "PLAINTEXT",
        "KAFKA_TOPIC": settings.kafka_topic,
        "BUSINESS_TIMEZONE": settings.business_timezone,
    }
