"""The Spark session of the streaming job."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import sys
import zipfile
from pathlib import Path
from typing import Any

import pyspark
from py4j.protocol import Py4JJavaError, Py4JNetworkError
from pyspark import SparkContext
from pyspark.sql import SparkSession

from retail_platform.embedded.jars import spark_version
from retail_platform.embedded.java import java_home
from retail_platform.errors import RetailError
from retail_platform.ingest.spark_config import LOGGING, scratch, spark_config
from retail_platform.lakehouse.location import jvm_environment
from retail_platform.settings import Settings, started_by_spark_submit

#: What a call into a JVM raises that is no longer there.
JVM_GONE = (Py4JNetworkError, ConnectionError)

_JVM_EXIT_SECONDS = 30
_MASTER_SECONDS = 3.0
_REFUSED = {401: "401 Unauthorized", 403: "403 Forbidden"}
_PACKAGE = Path(__file__).resolve().parents[1]


def prepare_environment(settings: Settings) -> None:
    """What PySpark needs before it starts a JVM: which Python, which Java, and an empty scratch folder.

    Whoever calls this holds the lake's lease, so what is in the folder was left by a JVM that was killed.

    Raises:
        RetailError: there is no Java that Spark can use.
    """
    if not settings.spark_is_submitted:
        # A pod is of the platform's image, where the first Python on the path is the platform's.
        own = "python3" if settings.spark_is_kubernetes else sys.executable
        os.environ["PYSPARK_PYTHON"] = settings.spark_executor_python or own
        os.environ |= jvm_environment(settings)
        os.environ["SPARK_SUBMIT_OPTS"] = f"-Dlog4j2.configurationFile=file:{LOGGING}"
        os.environ["JAVA_HOME"] = str(java_home())
    if settings.spark_is_local:
        os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    if SparkContext._active_spark_context is None:  # noqa: SLF001
        shutil.rmtree(scratch(settings), ignore_errors=True)
        scratch(settings).mkdir(parents=True, exist_ok=True)


def spark_session(settings: Settings, app_name: str) -> SparkSession:
    """Start Spark, or return the session that this process already has.

    Raises:
        RetailError: no Java, the connectors' jars are missing, nobody answers where SPARK_MASTER says, Kubernetes refuses
            this driver, or spark-submit is said to have started this process, and has not, or is of another Spark.
    """
    config = spark_config(settings)
    if settings.spark_is_submitted:
        _require_submission()
    elif not settings.spark_is_local:
        own_address = _require_master(settings.spark_master)
        if settings.spark_is_kubernetes:
            # Spark would say the name of its pod, which no other pod can resolve.
            config.setdefault("spark.driver.host", own_address)
    prepare_environment(settings)
    builder = SparkSession.builder.appName(app_name)
    for key, value in config.items():
        builder = builder.config(key, value)
    try:
        spark = builder.getOrCreate()
    except Py4JJavaError as error:
        if not settings.spark_is_kubernetes:
            raise
        raise RetailError(f"SPARK_MASTER: {_said_by_kubernetes(error, settings)}") from error
    if not settings.spark_is_local:
        spark.sparkContext.addPyFile(str(_packed(scratch(settings))))
    return spark


def _require_submission() -> None:
    """The JVM is there already, and so is its Spark, to which the connectors and the state in the checkpoints must fit."""
    if not started_by_spark_submit():
        raise RetailError("SPARK_MASTER=submitted, but spark-submit has not started this process; unset it")
    needed = spark_version()
    if pyspark.__version__.split(".")[:2] != needed.split(".")[:2]:
        raise RetailError(
            f"spark-submit is of Spark {pyspark.__version__}, and the platform needs {needed}; choose a release that has it"
        )


def _require_master(master: str) -> str:
    """The address of this machine by which it reaches the master.

    Spark itself would ask for a minute, and then say it in a page of Java frames.
    """
    refused = ""
    for address in master.rpartition("//")[2].split(","):
        host, _, port = address.rpartition(":")
        try:
            with socket.create_connection((host.strip("[]"), int(port)), _MASTER_SECONDS) as connection:
                own = str(connection.getsockname()[0])
                return f"[{own}]" if ":" in own else own
        except OSError as error:
            refused = refused or f"{address} ({error.strerror or error})"
    raise RetailError(f"SPARK_MASTER: no master answers at {refused}; start it, or name the one that runs")


def _said_by_kubernetes(error: Py4JJavaError, settings: Settings) -> str:
    """Why Spark did not start there, in a line, and the mend."""
    cause = error.java_exception
    if cause.getClass().getSimpleName() == "KubernetesClientException" and cause.getCode() in _REFUSED:
        return (
            f"the Kubernetes API server refuses this driver ({_REFUSED[cause.getCode()]}); give it the token of a service "
            "account with the rights of deploy/kubernetes/driver.yaml in the namespace "
            f"{settings.spark_kubernetes_namespace}"
        )
    while cause.getCause() is not None:
        cause = cause.getCause()
    return (
        f"Spark found no way to its executors on Kubernetes ({str(cause.getMessage()).splitlines()[0]}); what it says above, "
        f"and the events of the namespace {settings.spark_kubernetes_namespace}, say why"
    )


def _packed(folder: Path) -> Path:
    """The package as a zip: what executors need of it is the contracts, which import nothing but Python's own."""
    path = folder / "retail_platform.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for source in sorted(_PACKAGE.rglob("*.py")):
            archive.write(source, source.relative_to(_PACKAGE.parent))
    return path


def jvm_pid(spark: SparkSession) -> int:
    """Process id of the driver's JVM."""
    return int(spark._jvm.java.lang.ProcessHandle.current().pid())  # type: ignore[union-attr]  # noqa: SLF001


def end_session(spark: SparkSession) -> None:
    """Stop Spark and wait until its JVM is gone: it would outlive this process by a moment, lease or no lease."""
    gateway: Any = spark.sparkContext._gateway  # noqa: SLF001
    with contextlib.suppress(*JVM_GONE):
        spark.stop()
    gateway.shutdown()
    if getattr(gateway, "proc", None) is None:
        return  # spark-submit's, which ends when this process has
    with contextlib.suppress(BrokenPipeError):
        gateway.proc.stdin.close()
    gateway.proc.wait(_JVM_EXIT_SECONDS)
