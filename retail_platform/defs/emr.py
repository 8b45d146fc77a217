"""The ingest stream on EMR Serverless, for a step of Dagster that starts it, hears it and ends with it.

Dagster's own client would write a link into the log that lets whoever reads it look into the job, would read no messages
from S3, and would kill a stream that is cancelled: what is different here is for that.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import time
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import dagster as dg
from botocore.exceptions import BotoCoreError, ClientError
from dagster._core.errors import DagsterPipesExecutionError
from dagster_aws.pipes import PipesEMRServerlessClient, PipesS3MessageReader

from retail_platform.cluster.job import start_job_run
from retail_platform.cluster.package import release
from retail_platform.errors import RetailError
from retail_platform.lakehouse.heartbeat import INGEST, Heartbeat, read_heartbeat, write_heartbeat
from retail_platform.lakehouse.lease import holder
from retail_platform.lakehouse.location import aws_client, bucket_key
from retail_platform.lakehouse.requests import ask_to_stop
from retail_platform.settings import Settings

if TYPE_CHECKING:
    from dagster_pipes import PipesParams

_POLL_SECONDS = 5.0
_WAITING = ("SUBMITTED", "PENDING", "SCHEDULED", "QUEUED")
_ENDED = ("SUCCESS", "FAILED", "CANCELLED")
# From when it runs until its driver has fetched the archives and is heard of.
_STARTING_SECONDS = 300.0
# Longer than the job itself takes before it ends itself.
_STOP_SECONDS = 100.0
_GRACE_SECONDS = 60


def carry_on_emr(context: dg.AssetExecutionContext, settings: Settings, mode: str) -> None:
    """Run the stream on EMR Serverless to its end; a failure is the one line of its heartbeat."""
    began = dt.datetime.now(dt.UTC)
    try:
        client = _Client(settings, mode)
        client.run(context=context, start_job_run_params=start_job_run(settings, release(settings), mode))
    except (BotoCoreError, ClientError) as error:
        raise dg.Failure(
            description=f"the {INGEST} stream failed: {error}; check EMR_SERVERLESS_APPLICATION, EMR_SERVERLESS_ROLE, "
            "AWS_REGION and the credentials' rights"
        ) from None
    except (RetailError, DagsterPipesExecutionError) as error:
        beat = read_heartbeat(settings)
        cause = beat.error if beat and beat.error and beat.at >= began else error
        raise dg.Failure(description=f"the {INGEST} stream failed: {cause}") from None


class _Client(PipesEMRServerlessClient):
    """One job run of the stream."""

    def __init__(self, settings: Settings, mode: str) -> None:
        self._settings, self._mode = settings, mode
        super().__init__(
            client=aws_client(settings, "emr-serverless"),
            message_reader=_Reader(settings),
            poll_interval=_POLL_SECONDS,
        )

    def _wait_for_completion(self, context: Any, start_response: Any) -> Any:  # noqa: ARG002  the client's own signature
        began = dt.datetime.now(dt.UTC)
        run = {name: start_response[name] for name in ("applicationId", "jobRunId")}
        last_waiting = time.monotonic()
        while True:
            answer = self.client.get_job_run(**run)
            state = answer["jobRun"]["state"]
            if state in _ENDED:
                break
            if state in _WAITING:
                last_waiting = time.monotonic()
            if time.monotonic() - last_waiting < _STARTING_SECONDS:
                self._beat_for_the_driver(began)
            time.sleep(self.poll_interval)
        if state != "SUCCESS":
            raise RetailError(
                f"job run {run['jobRunId']} of EMR Serverless ended {state}: "
                f"{answer['jobRun'].get('stateDetails') or 'no details'}; see the driver's log there"
            )
        beat = read_heartbeat(self._settings)
        if beat is None or beat.at < began or beat.state != "stopped":
            raise RetailError(
                f"EMR Serverless says that job run {run['jobRunId']} succeeded, but the stream was not heard to end; see the "
                "driver's log there"
            )
        return answer

    def _beat_for_the_driver(self, began: dt.datetime) -> None:
        """Say that the stream is about to start, until there is a driver to say so, or another that has the lake."""
        beat = read_heartbeat(self._settings)
        heard = beat is not None and beat.started_at != began and beat.at >= began
        if not heard and holder(self._settings) is None:
            now = dt.datetime.now(dt.UTC)
            write_heartbeat(self._settings, Heartbeat("starting", self._mode, os.getpid(), began, now))

    def _read_messages(self, context: Any, session: Any, response: Any) -> None:
        """Nothing is left to do: the reader has read them all along."""

    def _terminate(self, context: Any, start_response: Any) -> None:
        run = {name: start_response[name] for name in ("applicationId", "jobRunId")}
        deadline = time.monotonic() + _STOP_SECONDS
        asked = None
        while time.monotonic() < deadline:
            state = self.client.get_job_run(**run)["jobRun"]["state"]
            if state in _ENDED:
                return
            if state in _WAITING:
                break
            owner = holder(self._settings)
            if owner is not None and owner != asked:  # the first may be one that died, whose lease has yet to run out
                context.log.info("asking %s to stop between batches", owner)
                ask_to_stop(self._settings, owner)
                asked = owner
            time.sleep(1)
        context.log.info("cancelling job run %s", run["jobRunId"])
        self.client.cancel_job_run(**run, shutdownGracePeriodInSeconds=_GRACE_SECONDS)


class _Reader(PipesS3MessageReader):
    """Messages under the lake's own prefix, which is all that the job's role may write, and not longer than they are read."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        super().__init__(interval=_POLL_SECONDS, bucket=str(settings.s3_bucket), client=aws_client(settings, "s3"))

    @contextlib.contextmanager
    def get_params(self) -> Iterator[PipesParams]:
        prefix = bucket_key(self._settings, f"control/messages/{uuid.uuid4().hex}")
        try:
            yield {"bucket": self.bucket, "key_prefix": prefix}
        finally:
            with contextlib.suppress(BotoCoreError, ClientError):  # litter, at worst: it must not hide what went wrong
                self._remove(prefix)

    def _remove(self, prefix: str) -> None:
        for index in range(1, self.counter):
            self.client.delete_object(Bucket=self.bucket, Key=f"{prefix}/{index}.json")
