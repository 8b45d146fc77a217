"""What a pod does that Spark has started on Kubernetes: it becomes Spark's executor. Pure.

Spark starts the image with the one argument ``executor`` and says all else in the environment. Its own image has a script
for that, ``entrypoint.sh``, which PySpark does not bring; this is the same command, with the Java and the Spark of ours.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from retail_platform.errors import RetailError

#: The options of Spark's executor, and where it says their values.
_OPTIONS = {
    "--driver-url": "SPARK_DRIVER_URL",
    "--executor-id": "SPARK_EXECUTOR_ID",
    "--cores": "SPARK_EXECUTOR_CORES",
    "--app-id": "SPARK_APPLICATION_ID",
    "--hostname": "SPARK_EXECUTOR_POD_IP",
    "--resourceProfileId": "SPARK_RESOURCE_PROFILE_ID",
    "--podName": "SPARK_EXECUTOR_POD_NAME",
}
_MEMORY = "SPARK_EXECUTOR_MEMORY"
_FOLDERS = "SPARK_LOCAL_DIRS"
_MAIN = "org.apache.spark.scheduler.cluster.k8s.KubernetesExecutorBackend"
_JAVA_OPTION = re.compile(r"SPARK_JAVA_OPT_(\d+)")


def working_folder(environment: Mapping[str, str]) -> Path:
    """The first of the volumes that Spark has given the pod: all that an executor writes goes there.

    Raises:
        RetailError: this is no pod that Spark has started.
    """
    return Path(_said(environment, _FOLDERS).split(",")[0])


def executor_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """``environment``, and where S3A keeps what it has not sent yet: Hadoop would take a folder below ``/tmp``.

    Raises:
        RetailError: this is no pod that Spark has started.
    """
    return {**environment, "LOCAL_DIRS": str(working_folder(environment))}


def executor_command(environment: Mapping[str, str], java: Path, spark: Path, logging: Path) -> list[str]:
    """The command of the executor that ``environment`` describes, with the jars of the ``spark`` folder.

    Raises:
        RetailError: this is no pod that Spark has started.
    """
    numbered = {int(found[1]): environment[name] for name in environment if (found := _JAVA_OPTION.fullmatch(name))}
    memory = _said(environment, _MEMORY)
    class_path = [environment.get("SPARK_CLASSPATH"), str(spark / "jars" / "*")]
    return [
        str(java),
        # The rest of the image may be read-only: native libraries are unpacked where the executor works.
        f"-Djava.io.tmpdir={working_folder(environment)}",
        f"-Dlog4j2.configurationFile=file:{logging}",
        *(numbered[number] for number in sorted(numbered)),
        f"-Xms{memory}",
        f"-Xmx{memory}",
        "-cp",
        ":".join(entry for entry in class_path if entry),
        _MAIN,
        *(word for option, name in _OPTIONS.items() for word in (option, _said(environment, name))),
    ]


def _said(environment: Mapping[str, str], name: str) -> str:
    value = environment.get(name)
    if not value:
        raise RetailError(
            f"{name} is missing: `retail executor` is what Spark starts in a pod of its own (SPARK_MASTER=k8s://…), and "
            "nothing to start by hand"
        )
    return value
