"""One Spark session for the suite, and a lake of its own for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from retail_platform.settings import Settings
from retail_platform_tests.ingest.running import empty_topics

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    """The suite's Spark session, configured as the job's."""
    from retail_platform.ingest.session import spark_session
    from retail_platform.settings import load_settings

    home = tmp_path_factory.mktemp("spark")
    session = spark_session(load_settings(env_file=None, retail_home=home, spark_driver_memory="1g"), "retail-tests")
    yield session
    session.stop()


@pytest.fixture
def lake_settings(broker: Settings, tmp_path: Path) -> Settings:
    """Settings that reach the suite's broker, whose topics are empty, and a lake that does not exist yet."""
    empty_topics(broker)
    return broker.model_copy(
        update={"retail_home": tmp_path / "home", "retail_outputs": tmp_path / "outputs", "ingest_trigger_seconds": 0.2}
    )
