"""The reactions beside the demo: their applications as processes of their own, and the first that each topic says."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.markup import escape

from retail_platform.cli import watch
from retail_platform.contracts import CUSTOMER_SEGMENTS, FRAUD_ALERTS, PRICE_UPDATES, REORDER_REQUESTS, TopicContract
from retail_platform.errors import RetailError
from retail_platform.reactions.applications import MARKETING, REACTIONS, ReactionApplication
from retail_platform.settings import PROJECT_ROOT, Settings, child_environment

_APPLICATIONS = (REACTIONS, MARKETING)

_LONGEST_WAIT = 120.0
_LOOK_SECONDS = 0.5
_FAREWELL_SECONDS = 30.0

_FIRST: tuple[tuple[str, TopicContract, Callable[[watch.Record], str]], ...] = (
    ("alert", FRAUD_ALERTS, watch.alert_line),
    ("reorder request", REORDER_REQUESTS, watch.reorder_line),
    ("decision on a price", PRICE_UPDATES, watch.price_line),
    ("change of segment", CUSTOMER_SEGMENTS, watch.segment_line),
)


@dataclass(frozen=True, slots=True)
class Reacting:
    """The applications while they run."""

    settings: Settings
    processes: dict[str, subprocess.Popen[bytes]]

    def first_lines(self) -> tuple[str, ...]:
        """The first alert, reorder request, price and change of segment, a line for a terminal each; they are waited for.

        Raises:
            RetailError: an application ended, or a topic stayed empty too long.
        """
        return asyncio.run(self._first_lines())

    async def _first_lines(self) -> tuple[str, ...]:
        async def line(what: str, contract: TopicContract, told: Callable[[watch.Record], str]) -> str:
            return f"[bold]The first {what}[/]: {told(await watch.first(self.settings, contract.topic))}"

        found = asyncio.gather(*(line(*each) for each in _FIRST))
        try:
            async with asyncio.timeout(_LONGEST_WAIT):
                while not (await asyncio.wait([found], timeout=_LOOK_SECONDS))[0]:
                    self._must_be_alive()
                return tuple(found.result())
        except TimeoutError as error:
            raise RetailError(
                f"the reactions said nothing of some kind within {_LONGEST_WAIT:.0f} s; see {self.settings.logs_dir}"
            ) from error
        finally:
            found.cancel()
            with contextlib.suppress(asyncio.CancelledError, RetailError):
                await found

    def _must_be_alive(self) -> None:
        for name, process in self.processes.items():
            if process.poll() is not None:
                raise RetailError(f"the application {name} ended; see {escape(str(_log(self.settings, name)))}")


@contextlib.contextmanager
def reacting(settings: Settings) -> Iterator[Reacting]:
    """Run the applications that the demo shows until the end of the block; what they print goes to a log each."""
    with contextlib.ExitStack() as stack:
        yield Reacting(
            settings, {which.name: stack.enter_context(_process(settings, which)) for which in _APPLICATIONS}
        )


@contextlib.contextmanager
def _process(settings: Settings, which: ReactionApplication) -> Iterator[subprocess.Popen[bytes]]:
    settings.logs_dir.mkdir(parents=True, exist_ok=True)
    with _log(settings, which.name).open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "retail_platform.reactions.wiring.job", which.name],
            cwd=PROJECT_ROOT,
            env=child_environment(settings),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_FAREWELL_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _log(settings: Settings, name: str) -> Path:
    return settings.logs_dir / f"{name}.log"
