"""The Spark session of the streaming job."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from py4j.protocol import Py4JNetworkError
from pyspark import SparkContext
from pyspark.sql import SparkSession

from retail_platform.embedded.java import java_home
from retail_platform.ingest.spark_config import scratch, spark_config
from retail_platform.lakehouse.location import jvm_environment
from retail_platform.settings import Settings

#: What a call into a JVM raises that is no longer there.
JVM_GONE = (Py4JNetworkError, ConnectionError)

_JVM_EXIT_SECONDS = 30
_LOGGING = Path(__file__).with_name("log4j2.properties")


def prepare_environment(settings: Settings) -> None:
    """What PySpark needs before it starts a JVM: which Python, which Java, and an empty scratch folder.

    Whoever calls this holds the lake's lease, so what is in the folder was left by a JVM that was killed.

    Raises:
        RetailError: there is no Java that Spark can use.
    """
    os.environ["PYSPARK_PYTHON"] = sys.executable
    os.environ |= jvm_environment(settings)
    os.environ["SPARK_SUBMIT_OPTS"] = f"-Dlog4j2.configurationFile=file:{_LOGGING}"
    if settings.spark_master.startswith("local"):
        os.environ["JAVA_HOME"] = str(java_home())
        os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
        if SparkContext._active_spark_context is None:  # noqa: SLF001
            shutil.rmtree(scratch(settings), ignore_errors=True)
            scratch(settings).mkdir(parents=True, exist_ok=True)


def spark_session(settings: Settings, app_name: str) -> SparkSession:
    """Start Spark, or return the session that this process already has.

    Raises:
        RetailError: no Java, or the connectors' jars are missing.
    """
    prepare_environment(settings)
    builder = SparkSession.builder.appName(app_name)
    for key, value in spark_config(settings).items():
        builder = builder.config(key, value)
    return builder.getOrCreate()


def jvm_pid(spark: SparkSession) -> int:
    """Process id of the driver's JVM."""
    return int(spark._jvm.java.lang.ProcessHandle.current().pid())  # type: ignore[union-attr]  # noqa: SLF001


def end_session(spark: SparkSession) -> None:
    """Stop Spark and wait until its JVM is gone: it would outlive this process by a moment, lease or no lease."""
    gateway: Any = spark.sparkContext._gateway  # noqa: SLF001
    with contextlib.suppress(*JVM_GONE):
        spark.stop()
    gateway.shutdown()
    with contextlib.suppress(BrokenPipeError):
        gateway.proc.stdin.close()
    gateway.proc.wait(_JVM_EXIT_SECONDS)
