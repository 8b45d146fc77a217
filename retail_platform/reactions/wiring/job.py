"""The process of an application: ``python -m retail_platform.reactions.wiring.job NAME``, until SIGINT or SIGTERM.

When Dagster started it, it reports through Dagster Pipes. Killed at any moment it loses nothing: what it had not
committed, it does again when it is started. Exit codes: 0 stopped, 1 failed, 2 wrong settings.
"""

from __future__ import annotations

import datetime as dt
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from quixstreams import Application
from quixstreams.exceptions.assignment import PartitionAssignmentError
from quixstreams.models.topics.exceptions import TopicNotFoundError

from retail_platform import kafka
from retail_platform.errors import RetailError
from retail_platform.lakehouse.heartbeat import Heartbeat, QueryProgress, write_heartbeat
from retail_platform.reactions.applications import ReactionApplication, application_named
from retail_platform.reactions.metrics.rates import read_rates
from retail_platform.reactions.wiring.application import application, refused_transactions
from retail_platform.reactions.wiring.topology import wire
from retail_platform.reporting import Report, carrying_run, reporting
from retail_platform.settings import FX_RATES, Settings, get_settings

_HEARTBEAT_SECONDS = 1.0
_REPORT_EVERY_BEATS = 10
_LONGEST_ERROR = 500
_TOPIC_SECONDS = 30.0
_LOOK_SECONDS = 0.5


@dataclass
class Job:
    """One run of the application."""

    settings: Settings
    which: ReactionApplication
    report: Report
    parent: int = field(default_factory=os.getppid)
    started_at: dt.datetime = field(default_factory=lambda: dt.datetime.now(dt.UTC))
    _rows: int = 0
    _told: int = 0

    def run(self) -> None:
        """Run until it is told to stop.

        Raises:
            RetailError: no broker answers, or the application failed.
        """
        self._beat("starting")
        try:
            kafka.ensure_topics(self.settings)
            app = wired(self.settings, self.which, self._count)
            with self._heart(app):
                app.run()
        except Exception as error:
            line = self._cause(error)
            self._beat("failed", line)
            if isinstance(error, RetailError):
                raise
            raise RetailError(f"{self.which.name} ended: {line}") from error
        self._beat("stopped")

    def _cause(self, error: Exception) -> str:
        if isinstance(error, RetailError):
            return str(error)
        why = kafka.explained(self.settings, _whole(error))
        if why is None and isinstance(error, PartitionAssignmentError):
            why = refused_transactions(self.settings, self.which)
        return why or _first_line(error)

    def _count(self, _topic: str, _partition: int, _offset: int) -> None:
        self._rows += 1

    @contextmanager
    def _heart(self, app: Application) -> Iterator[None]:
        done = threading.Event()

        def beat() -> None:
            beats = 0
            while not done.wait(_HEARTBEAT_SECONDS):
                beats += 1
                self._beat("running")
                if beats % _REPORT_EVERY_BEATS == 0 and self._rows > self._told:
                    self.report(f"{self._rows:,} records, {(self._rows - self._told) / _REPORT_EVERY_BEATS:,.0f}/s")
                    self._told = self._rows
                if os.getppid() != self.parent:
                    self.report("stopping: the process that started it is gone")
                    app.stop()

        heart = threading.Thread(target=beat, name="heartbeat", daemon=True)
        heart.start()
        try:
            yield
        finally:
            done.set()
            heart.join()

    def _beat(self, state: str, error: str | None = None) -> None:
        progress = (QueryProgress(self.which.name, rows=self._rows),)
        now = dt.datetime.now(dt.UTC)
        beat = Heartbeat(state, "continuous", os.getpid(), self.started_at, now, progress, error, carrying_run())
        write_heartbeat(self.settings, beat, self.which.name)


def wired(
    settings: Settings, which: ReactionApplication, on_message_processed: Callable[[str, int, int], None] | None = None
) -> Application:
    """The application with its branches connected and all its topics made; ``app.run()`` then runs it.

    Raises:
        SettingsError: a file that a setting names cannot be read.
    """
    with FX_RATES.open(encoding="utf-8") as lines:
        rates = read_rates(lines)
    deadline = time.monotonic() + _TOPIC_SECONDS
    while True:
        app = application(settings, which, on_message_processed)
        try:
            wire(app, which, settings, rates)
        except TopicNotFoundError:
            # Made a moment ago, and the broker that was asked has not heard of it; the library asks only once.
            if time.monotonic() > deadline:
                raise
            time.sleep(_LOOK_SECONDS)
        else:
            return app


def _whole(error: BaseException | None) -> str:
    """What the error says, and what each of its causes does: the library wraps what Kafka said in words of its own."""
    return "" if error is None else f"{error}\n{_whole(error.__cause__ or error.__context__)}"


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).strip().splitlines()[0][:_LONGEST_ERROR]


def main() -> int:
    """Run the application; what went wrong is one line on standard error."""
    try:
        with reporting() as report:
            Job(get_settings(), application_named(" ".join(sys.argv[1:])), report).run()
    except RetailError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
