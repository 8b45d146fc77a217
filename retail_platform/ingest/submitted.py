"""The streaming job as spark-submit starts it on a machine that has none of our settings: they come as arguments.

``--set NAME=VALUE`` is one setting by the name of docs/settings.md. Kafka's password is not among them, for who may look at
a job run sees its arguments: where EMR_SERVERLESS_KAFKA_LOGIN names a secret, the job's own role reads it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from typing import Any

from retail_platform.errors import RetailError
from retail_platform.ingest import job

_FORM = '{"username": "…", "password": "…"}'


def main(arguments: list[str] | None = None) -> int:
    """Run the job; exit codes as ``retail_platform.ingest.job``."""
    parser = argparse.ArgumentParser(prog="retail_platform.ingest.submitted", description=__doc__)
    parser.add_argument("--mode", choices=("available_now", "continuous"), default="available_now")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    chosen = parser.parse_args(arguments)
    given = dict(entry.split("=", 1) for entry in chosen.set)
    try:
        os.environ |= given | _login(given)
    except RetailError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    os.environ |= {"SPARK_MASTER": "submitted", "RETAIL_HOME": tempfile.mkdtemp(prefix="retail-home-")}
    return job.main(["--mode", chosen.mode])


def _login(given: dict[str, str]) -> dict[str, str]:
    """The settings with which the job logs in to Kafka, from Secrets Manager."""
    secret = given.get("EMR_SERVERLESS_KAFKA_LOGIN")
    if secret is None:
        return {}
    import boto3  # noqa: PLC0415  only this needs it so early
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    try:
        client = boto3.client("secretsmanager", region_name=given.get("AWS_REGION"))
        found: Any = json.loads(client.get_secret_value(SecretId=secret)["SecretString"])
        return {"KAFKA_SASL_USERNAME": found["username"], "KAFKA_SASL_PASSWORD": found["password"]}
    except (BotoCoreError, ClientError) as error:
        raise RetailError(f"EMR_SERVERLESS_KAFKA_LOGIN cannot be read by the job's role: {error}") from error
    except (ValueError, KeyError, TypeError):
        raise RetailError(f"EMR_SERVERLESS_KAFKA_LOGIN must hold JSON like {_FORM}; it does not") from None
