"""The environment of a process that a test starts: with the test's settings, so that both agree."""

from __future__ import annotations

from typing import Any

from pydantic import SecretStr

from retail_platform.settings import Settings, child_environment
from retail_platform_tests.conftest import SHORT_LIVED


def environment(settings: Settings) -> dict[str, str]:
    """The environment in which a process has the settings that differ from their defaults."""
    chosen = {name: getattr(settings, name) for name in settings.model_fields_set}
    plain = {
        name.upper(): value.get_secret_value() if isinstance(value, SecretStr) else str(value)
        for name, value in chosen.items()
        if value is not None
    }
    return child_environment(settings) | plain


def driver_environment(settings: Settings, **changes: Any) -> dict[str, str]:
    """The same for a process that starts a Spark of its own, a small one that does not live long."""
    small = {"spark_driver_memory": "800m", "spark_driver_java_options": SHORT_LIVED, "ingest_nice": 0}
    return environment(settings.model_copy(update=small | changes))
