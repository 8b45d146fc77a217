"""What EMR Serverless is told about a job run of the ingest stream. Pure; no secret is in it, for everybody may read it.

``sparkSubmitParameters`` is one text that EMR takes apart: only what has no blank or quote goes there. Settings go as
arguments of the entry script, each one a text of its own.
"""

from __future__ import annotations

from typing import Any

from retail_platform.cluster.package import Release
from retail_platform.settings import Settings

#: Where the archives are unpacked, below the working folder of driver and executors.
_ENVIRONMENT, _PLATFORM = "environment", "platform"
_PYTHON = f"./{_ENVIRONMENT}/bin/python3"
# A job that is as old as INGEST_LIFETIME_HOURS ends itself; this is for one that does not.
_SPARE_MINUTES = 30
_DRAIN_MINUTES = 720

#: The settings by which the job differs from one that has only defaults; none is a secret or a path of this machine.
SETTINGS = (
    "kafka_bootstrap_servers",
    "kafka_topic",
    "kafka_security_protocol",
    "kafka_sasl_mechanism",
    "business_timezone",
    "partitions_start_date",
    "ingest_max_offsets_per_batch",
    "ingest_trigger_seconds",
    "ingest_dedupe_horizon_minutes",
    "ingest_state_partitions",
    "ingest_compact_minutes",
    "ingest_reactions",
    "ingest_lifetime_hours",
    "lake_history_days",
    "aws_region",
    "s3_bucket",
    "s3_prefix",
    "s3_endpoint_url",
    "emr_serverless_application",
    "emr_serverless_role",
    "emr_serverless_kafka_login",
)


def start_job_run(settings: Settings, release: Release, mode: str) -> dict[str, Any]:
    """The parameters of ``StartJobRun`` for a run of the stream in ``mode``."""
    minutes = int(settings.ingest_lifetime_hours * 60) + _SPARE_MINUTES if mode == "continuous" else _DRAIN_MINUTES
    return {
        "applicationId": settings.emr_serverless_application,
        "executionRoleArn": settings.emr_serverless_role,
        "name": f"retail-ingest-{mode}",
        "executionTimeoutMinutes": minutes,
        "jobDriver": {
            "sparkSubmit": {
                "entryPoint": release.entry,
                "entryPointArguments": _arguments(settings, mode),
                "sparkSubmitParameters": " ".join(
                    f"--conf {name}={value}" for name, value in _configuration(settings, release).items()
                ),
            }
        },
    }


def _arguments(settings: Settings, mode: str) -> list[str]:
    arguments = ["--mode", mode]
    for name in SETTINGS:
        value = getattr(settings, name)
        if value != type(settings).model_fields[name].default:
            arguments += ["--set", f"{name.upper()}={value}"]
    return arguments


def _configuration(settings: Settings, release: Release) -> dict[str, str]:
    cores, memory = str(settings.emr_serverless_cores), settings.emr_serverless_memory
    return {
        "spark.jars": ",".join(release.jars),
        "spark.archives": f"{release.environment}#{_ENVIRONMENT},{release.platform}#{_PLATFORM}",
        "spark.emr-serverless.driverEnv.PYSPARK_DRIVER_PYTHON": _PYTHON,
        "spark.emr-serverless.driverEnv.PYSPARK_PYTHON": _PYTHON,
        "spark.executorEnv.PYSPARK_PYTHON": _PYTHON,
        "spark.driver.cores": cores,
        "spark.driver.memory": memory,
        "spark.executor.cores": cores,
        "spark.executor.memory": memory,
        "spark.dynamicAllocation.initialExecutors": "1",
        "spark.dynamicAllocation.maxExecutors": str(settings.emr_serverless_executors),
    }
