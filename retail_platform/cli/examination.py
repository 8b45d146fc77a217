"""What ``retail doctor`` looks at: one function a subject, each with what it found and how to mend it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Generator, Iterator
from typing import NamedTuple

from retail_platform.errors import RetailError
from retail_platform.settings import Settings

_LEAST_FREE_BYTES = 2 * 1024**3


class Finding(NamedTuple):
    """One thing that was looked at; ``mend`` is empty when it is good."""

    good: bool
    what: str
    found: str
    mend: str = ""


def examine(settings: Settings) -> list[Finding]:
    """Everything, in the order in which the data flows."""
    subjects: tuple[tuple[str, Callable[[Settings], Iterator[Finding]]], ...] = (
        ("Python", _python),
        ("Java", _java),
        ("jars", _jars),
        ("disk", _disk),
        ("Kafka", _kafka),
        ("EMR Serverless", _package),
        ("stream", _stream),
        ("lake", _lake),
        ("warehouse", _warehouse),
        ("KPI file", _kpi_file),
    )
    findings: list[Finding] = []
    for name, look in subjects:
        try:
            findings += look(settings)
        except RetailError as error:
            findings.append(Finding(False, name, "not well", str(error)))
    return findings


def _python(_: Settings) -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    good = (3, 11) <= sys.version_info[:2] <= (3, 13)
    yield Finding(good, "Python", version, "" if good else "use Python 3.11, 3.12 or 3.13, then `make setup`")


def _java(_: Settings) -> Iterator[Finding]:
    from retail_platform.embedded.java import find_java

    yield Finding(True, "Java", str(find_java()))


def _jars(settings: Settings) -> Iterator[Finding]:
    from retail_platform.embedded.jars import class_path, spark_jars

    class_path("kafka")
    yield Finding(True, "jars", f"{len(spark_jars(settings))} for Spark, and Kafka's")


def _disk(settings: Settings) -> Iterator[Finding]:
    place = next(path for path in (settings.retail_home, *settings.retail_home.parents) if path.exists())
    free = shutil.disk_usage(place).free
    good = free >= _LEAST_FREE_BYTES
    yield Finding(
        good,
        "disk",
        f"{free / 1024**3:.1f} GiB free at {place}",
        "" if good else "make room, or set RETAIL_HOME elsewhere",
    )


def _kafka(settings: Settings) -> Iterator[Finding]:
    from retail_platform import kafka

    trouble = kafka.trouble(settings, timeout_seconds=5)
    if trouble is not None:
        mend = "`retail kafka start`" if settings.embedded_kafka else trouble
        yield Finding(False, "Kafka", f"does not answer at {settings.bootstrap_servers}", mend)
        return
    offsets = kafka.offsets(settings, [contract.topic for contract in settings.topics])
    held = {topic: sum(last - first for first, last in partitions.values()) for topic, partitions in offsets.items()}
    yield Finding(True, "Kafka", ", ".join(f"{topic} {count:,}" for topic, count in held.items()))


def _package(settings: Settings) -> Iterator[Finding]:
    if settings.emr_serverless_application is None:
        return
    from retail_platform.cluster.package import release, release_id

    release(settings)
    yield Finding(True, "EMR Serverless", f"application {settings.emr_serverless_application}, package {release_id()}")


def _stream(settings: Settings) -> Iterator[Finding]:
    from retail_platform.lakehouse.heartbeat import read_heartbeat
    from retail_platform.lakehouse.lease import holder
    from retail_platform.lakehouse.losses import repairs

    beat, owner = read_heartbeat(settings), holder(settings)
    if beat is None:
        yield Finding(True, "stream", "has never run")
    elif beat.state == "failed":
        yield Finding(False, "stream", f"failed: {beat.error}", "mend the cause, then `retail stream drain`")
    elif beat.stale:
        yield Finding(
            False, "stream", f"silent for {beat.age_seconds:.0f} s", "`retail stream stop`, then start it again"
        )
    elif owner is None and beat.state in ("starting", "running"):
        yield Finding(False, "stream", "was killed", "`retail stream drain`: it goes on where it was, nothing is lost")
    else:
        yield Finding(True, "stream", f"{beat.state}, {beat.lag:,} records behind")
    if beat is not None and owner is None:
        for entry in repairs(settings):
            yield Finding(False, "checkpoint", entry.what, f"`{entry.command}`")


def _lake(settings: Settings) -> Iterator[Finding]:
    from retail_platform.contracts import INGEST_BATCHES
    from retail_platform.lakehouse.location import has_delta
    from retail_platform.lakehouse.quality import balance

    if not has_delta(settings, INGEST_BATCHES):
        yield Finding(True, "lake", "empty")
        return
    for entry in balance(settings):
        mend = (
            ""
            if entry.difference == 0
            else "materialize the silver days again in Dagster: they are derived from bronze"
        )
        read = entry.bronze + entry.silver_alone
        text = f"bronze {read:,} = silver {entry.silver:,} + quarantine {entry.quarantine:,} + duplicates"
        yield Finding(entry.difference == 0, entry.topic, f"{text} {entry.duplicates:,} {entry.difference:+,}", mend)


def _warehouse(settings: Settings) -> Iterator[Finding]:
    from retail_platform.warehouse.factory import open_warehouse

    if settings.warehouse == "snowflake":
        loaded = yield from _snowflake(settings)
    else:
        loaded = settings.warehouse_path.exists()
    if not loaded:
        yield Finding(True, "warehouse", "empty")
        return
    loads = (
        open_warehouse(settings).query("select count(*) as n, max(business_date) as last from raw.loads").to_pylist()
    )
    yield Finding(True, "warehouse", f"{loads[0]['n']:,} loads, the last day {loads[0]['last']}")


def _snowflake(settings: Settings) -> Generator[Finding, None, bool]:
    """What the login has; returns whether anything was ever loaded, as far as it can see."""
    from retail_platform.warehouse.snowflake_access import access, try_to_create

    found = access(settings)
    role = found.role or settings.snowflake_role
    yield Finding(True, "Snowflake", f"{settings.snowflake_user} is in {settings.snowflake_account} as role {role}")
    for name, given, wanted in (
        ("warehouse", found.warehouse, settings.snowflake_warehouse),
        ("database", found.database, settings.snowflake_database),
    ):
        mend = "" if given else f"create it, or `grant usage on {name} {wanted} to role {role}`"
        yield Finding(bool(given), f"Snowflake {name}", given or f"no {wanted} for this role", mend)
    if settings.s3_bucket is not None:
        yield _stage(settings, found.stage_url)
    if found.database:
        try_to_create(settings)
        yield Finding(True, "Snowflake rights", f"may create in {settings.snowflake_schema}")
    return found.loaded


def _stage(settings: Settings, url: str | None) -> Finding:
    from retail_platform.warehouse.snowflake_files import lake_url

    wanted, see = lake_url(settings), "(docs/operate/snowflake.md)"
    what = "Snowflake stage"
    if url is None:
        mend = f"create SNOWFLAKE_STAGE {settings.snowflake_stage} on {wanted}, or grant its usage {see}"
        return Finding(False, what, f"no {settings.snowflake_stage} for this role", mend)
    # s3gov://, s3compat:// and the like are other ways to a bucket of the same name.
    good = url.partition("://")[2].rstrip("/") == wanted.partition("://")[2].rstrip("/")
    return Finding(
        good, what, url, "" if good else f"the lake is at {wanted}: name a stage on it in SNOWFLAKE_STAGE {see}"
    )


def _kpi_file(settings: Settings) -> Iterator[Finding]:
    from retail_platform.warehouse.kpi_file import read_daily

    yield Finding(True, "KPI file", f"{len(read_daily(settings.kpi_csv))} days")
