"""The streaming job: take the lake's lease, start Spark, run the stream until it has drained, is stopped, or is old.

``python -m retail_platform.ingest.job --mode available_now|continuous``, the same here and under ``spark-submit``. When
Dagster started it, it reports through Dagster Pipes. Exit codes: 0 drained or stopped, 1 failed, 2 wrong settings.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import os
import signal
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from types import FrameType

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException

from retail_platform.errors import RetailError
from retail_platform.ingest.lake import Lake, open_lake
from retail_platform.ingest.maintenance import compact_today
from retail_platform.ingest.niceness import give_way
from retail_platform.ingest.session import JVM_GONE, end_session, jvm_pid, spark_session
from retail_platform.ingest.stream import FULL_DISK, MAKE_ROOM, Stream, running_stream
from retail_platform.ingest.work import one_line, serve
from retail_platform.lakehouse import requests
from retail_platform.lakehouse.control import control
from retail_platform.lakehouse.heartbeat import Heartbeat, write_heartbeat
from retail_platform.lakehouse.lease import Holder, LakeInUse, lake_lease
from retail_platform.reporting import Report, carrying_run, reporting
from retail_platform.settings import Settings, get_settings

_TICK_SECONDS = 0.2
_REPORT_SECONDS = 10.0
_LEASE_WAIT_SECONDS = 30.0
# A driver that has no disk to find its predecessor's lease on waits until that one's lease in the bucket has run out.
_LEASE_WAIT_ELSEWHERE_SECONDS = 75.0
_STOP_SECONDS = 90.0
_REPORT_LENGTH = 300


@dataclass
class Job:
    """One run of the streaming job."""

    settings: Settings
    mode: str
    report: Report
    parent: int = field(default_factory=os.getppid)
    started_at: dt.datetime = field(default_factory=lambda: dt.datetime.now(dt.UTC))
    stop_reason: str | None = None
    _worker: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "work"))
    _in_hand: Future[None] | None = None
    _holder: Holder | None = None
    _last_beat: float = 0.0
    _last_look: float = 0.0
    _last_report: float = 0.0
    _last_compaction: float = field(default_factory=time.monotonic)

    @property
    def available_now(self) -> bool:
        """Whether the job ends when it has drained what there is."""
        return self.mode == "available_now"

    def run(self) -> None:
        """Run until done.

        Raises:
            RetailError: the lake is in use, Spark cannot start, or a query failed.
        """
        try:
            self._run()
        except LakeInUse:
            raise  # the heartbeat is the holder's
        except RetailError as error:
            if self._holder is not None or not self.settings.stream_is_elsewhere:  # as above, of a holder elsewhere
                self._failed(str(error))
            raise
        except JVM_GONE as error:
            reason = (
                "Spark's JVM has ended under the job: it was killed, or SPARK_DRIVER_MEMORY is too little; start again"
            )
            self._failed(reason)
            raise RetailError(reason) from error
        except (OSError, Py4JJavaError, PySparkException) as error:
            if FULL_DISK not in str(error):
                raise
            reason = f"{FULL_DISK}{MAKE_ROOM}"
            self._failed(reason)
            raise RetailError(reason) from error

    def _failed(self, reason: str) -> None:
        # A disk without room even for this, or a bucket out of reach, must not hide the reason.
        with contextlib.suppress(OSError, RetailError):
            self._beat("failed", None, reason)

    def _run(self) -> None:
        wait = _LEASE_WAIT_ELSEWHERE_SECONDS if self.settings.stream_is_elsewhere else _LEASE_WAIT_SECONDS
        with lake_lease(self.settings, f"ingest ({self.mode})", wait_seconds=wait) as lease:
            self._holder = lease.holder
            self._beat("starting", None)
            spark = spark_session(self.settings, "retail-ingest")
            self.listen()  # again: PySpark has put its own handler of SIGINT in the place of ours
            lease.name_jvm(jvm_pid(spark))
            try:
                lake = open_lake(spark, self.settings)
                with running_stream(spark, self.settings, lake, available_now=self.available_now) as stream:
                    self._watch(stream, lake)
                    self._beat("stopping", stream)
                self._after(stream)
            finally:
                end_session(spark)

    def listen(self) -> None:
        """Have SIGINT and SIGTERM ask the job to stop."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self.ask_to_stop)

    def ask_to_stop(self, signum: int, _frame: FrameType | None) -> None:
        """Signal handler: stop between two batches; a job that has not managed to in time ends itself, losing nothing."""
        self.stop_reason = signal.Signals(signum).name
        last_resort = threading.Timer(_STOP_SECONDS, os._exit, (1,))
        last_resort.daemon = True
        last_resort.start()

    def _watch(self, stream: Stream, lake: Lake) -> None:
        draining_minutes = False
        while self.stop_reason is None:
            failure = stream.failure()
            if failure:
                raise RetailError(f"the stream ended: {failure}")
            if stream.finished:
                if draining_minutes:
                    return
                # Only now: it reads what the silver query has written.
                stream.start_minute_sales()
                draining_minutes = True
            self._serve(lake)
            self._tick(stream)
            self._stop_when_due()
            time.sleep(_TICK_SECONDS)
        self.report(f"stopping between batches: {self.stop_reason}")

    def _stop_when_due(self) -> None:
        age = dt.datetime.now(dt.UTC) - self.started_at
        if not self.available_now and age > dt.timedelta(hours=self.settings.ingest_lifetime_hours):
            self.stop_reason = f"{self.settings.ingest_lifetime_hours:g} hours old (INGEST_LIFETIME_HOURS)"
        if os.getppid() != self.parent:
            self.stop_reason = "the process that started it is gone"

    def _serve(self, lake: Lake) -> None:
        """Take up the oldest request, or else what is due, when nothing is in hand; the heart beats on meanwhile."""
        idle = self._in_hand is None or self._in_hand.done()
        request = self._oldest_request(idle=idle)
        if not idle or self.stop_reason is not None:
            return
        if request is not None:
            self.report(f"{request.work} {dict(request.arguments)}"[:_REPORT_LENGTH])
            self._in_hand = self._worker.submit(serve, lake, self.settings, request)
        elif any(table.log_is_long for table in lake.tables):
            self._in_hand = self._worker.submit(self._checkpoint_logs, lake)
        elif not self.available_now and time.monotonic() - self._last_compaction > self._compaction_seconds:
            self._last_compaction = time.monotonic()
            self._in_hand = self._worker.submit(self._compact, lake)

    def _oldest_request(self, *, idle: bool) -> requests.Request | None:
        """What to take up next; a request to stop is heeded on the way, which on one machine is a signal."""
        now = time.monotonic()
        elsewhere = self.settings.stream_is_elsewhere
        if (not idle and not elsewhere) or now - self._last_look < control(self.settings).look_seconds:
            return None
        self._last_look = now
        try:
            waiting = list(requests.pending(self.settings)) if elsewhere else requests.pending(self.settings)
            for request in waiting:
                if request.work != requests.STOP:
                    return request
                requests.strike_off(self.settings, request)
                if self._holder is not None and requests.is_for(request, self._holder):
                    self.stop_reason = "asked to"
        except RetailError as error:
            # The lease, which is in the same bucket, decides how long one that cannot be reached is borne.
            self.report(f"requests were not looked at: {error}"[:_REPORT_LENGTH])
        return None

    @property
    def _compaction_seconds(self) -> float:
        return self.settings.ingest_compact_minutes * 60

    def _checkpoint_logs(self, lake: Lake) -> None:
        """Shorten what readers go through of the tables' logs. That it failed is told; it is tried again when due again."""
        for table in lake.tables:
            if table.log_is_long:
                try:
                    table.checkpoint_log()
                except Exception as error:  # noqa: BLE001  (as below)
                    self.report(f"{table.table.path}: no checkpoint of its log: {one_line(error)}"[:_REPORT_LENGTH])

    def _compact(self, lake: Lake) -> None:
        """Compact today's small files. That it failed is told; the stream goes on, and it is tried again."""
        began = time.monotonic()
        try:
            done = compact_today(lake, self.settings)
        except Exception as error:  # noqa: BLE001  (whatever it is, the stream must not end by it)
            self.report(f"today's small files were not compacted: {one_line(error)}"[:_REPORT_LENGTH])
            return
        before, after = (sum(entry[when]["files"] for entry in done["tables"]) for when in ("before", "after"))
        self.report(f"compacted today's files: {before:,} to {after:,} in {time.monotonic() - began:.1f} s")

    def _tick(self, stream: Stream) -> None:
        now = time.monotonic()
        if now - self._last_beat >= control(self.settings).write_seconds:
            self._last_beat = now
            try:
                self._beat("running", stream)
            except RetailError as error:  # as above
                self.report(f"a heartbeat is missing: {error}"[:_REPORT_LENGTH])
        if now - self._last_report >= _REPORT_SECONDS:
            self._last_report = now
            self.report(_progress_line(stream))

    def _after(self, stream: Stream) -> None:
        self._worker.shutdown(wait=True)
        self.report(_progress_line(stream))
        self._beat("stopped", stream)

    def _beat(self, state: str, stream: Stream | None, error: str | None = None) -> None:
        queries = stream.progress() if stream else ()
        now = dt.datetime.now(dt.UTC)
        beat = Heartbeat(state, self.mode, os.getpid(), self.started_at, now, queries, error, carrying_run())
        write_heartbeat(self.settings, beat)


def _progress_line(stream: Stream) -> str:
    parts = []
    for query in stream.progress():
        lag = "" if query.lag is None else f", {query.lag:,} behind"
        parts.append(f"{query.name}: {query.rows:,} rows, {query.rows_per_second:,.0f}/s{lag}")
    return " · ".join(parts)


def main(arguments: list[str] | None = None) -> int:
    """Run the job; what went wrong is one line on standard error."""
    parser = argparse.ArgumentParser(prog="retail_platform.ingest.job", description=__doc__)
    parser.add_argument("--mode", choices=("available_now", "continuous"), default="available_now")
    mode = parser.parse_args(arguments).mode
    try:
        with reporting() as report:
            settings = get_settings()
            if settings.spark_is_local:
                give_way(settings.ingest_nice)
            job = Job(settings, mode, report)
            job.listen()
            job.run()
    except RetailError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
