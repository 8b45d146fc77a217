"""The alert sensor on a real Dagster history: runs, checks and freshness as they were executed, told to local receivers."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pytest
from dagster._core.loader import LoadingContextForTest
from dagster._core.test_utils import freeze_time
from dagster._daemon.freshness import FreshnessDaemon
from dagster._time import get_current_datetime
from deltalake import write_deltalake

from retail_platform.alerts.incidents import Failing
from retail_platform.alerts.routing import Owner, Severity
from retail_platform.contracts import INGEST_BATCHES
from retail_platform.defs import alerts, build_defs
from retail_platform.defs.automation import RANGE_END, RANGE_START
from retail_platform.defs.common import QUIET_CONSOLE
from retail_platform.defs.execution import prepare_dagster_home
from retail_platform.defs.stream import JOB as STREAM_JOB
from retail_platform.lakehouse.heartbeat import STALE_AFTER_SECONDS
from retail_platform.settings import Settings, load_settings
from retail_platform.supervision import MOST_FAILURES, StreamRun
from retail_platform_tests.alerts.receiver import ROUTING_KEY, Receiver, receiving

FIRST, SECOND = "2026-03-01", "2026-03-02"
DAILY = dg.DailyPartitionsDefinition("2026-03-01")
TOKEN = "s3cr3t-token"
NOW = dt.datetime(2026, 3, 2, 12, tzinfo=dt.UTC)


@dataclass
class World:
    """A Dagster home with a tiny graph whose steps and checks fail on demand, and the sensor over it."""

    settings: Settings
    receiver: Receiver
    instance: dg.DagsterInstance
    broken: set[str] = field(default_factory=set)
    cursor: str | None = None
    meanwhile: Callable[[], None] = lambda: None

    def definitions(self) -> dg.Definitions:
        """One daily asset with three checks, a job of one step, which also goes by the stream's name."""

        @dg.asset(partitions_def=DAILY, owners=["team:analytics"], backfill_policy=dg.BackfillPolicy.single_run())
        def figures() -> None:
            self.work()

        def check(name: str, severity: dg.AssetCheckSeverity, blocking: bool) -> dg.AssetChecksDefinition:
            @dg.asset_check(asset=figures, name=name, blocking=blocking)
            def evaluate() -> dg.AssetCheckResult:
                return dg.AssetCheckResult(
                    passed=name not in self.broken, severity=severity, description=f"{name} says so, {TOKEN}"
                )

            return evaluate

        checks = [
            check("loose", dg.AssetCheckSeverity.WARN, blocking=False),
            check("strict", dg.AssetCheckSeverity.ERROR, blocking=False),
            check("firm", dg.AssetCheckSeverity.ERROR, blocking=True),
        ]

        @dg.asset(owners=["team:retail-sales"], freshness_policy=dg.FreshnessPolicy.time_window(dt.timedelta(hours=1)))
        def report() -> None:
            self.work()

        @dg.op
        def step() -> None:
            self.work()

        def errand() -> None:
            step()

        op_jobs = [dg.job(name=name)(errand) for name in ("errand", STREAM_JOB)]

        @dg.asset(deps=[figures], partitions_def=DAILY)
        def summary() -> None:
            self.meanwhile()

        jobs = [
            dg.define_asset_job("daily_and_more", selection=dg.AssetSelection.assets(figures, summary)),
            dg.define_asset_job("daily", selection=dg.AssetSelection.assets(figures)),
            dg.define_asset_job("reporting", selection=dg.AssetSelection.assets(report)),
            *op_jobs,
        ]
        own = dg.Definitions(
            assets=[figures, summary, report], asset_checks=checks, jobs=jobs, executor=dg.in_process_executor
        )
        return dg.Definitions.merge(own, alerts.build(self.settings))

    def work(self) -> None:
        """What a step does."""
        if "work" in self.broken:
            raise ValueError(f"the disk is full, {TOKEN}")

    def run(self, job: str, *broken: str, **tags: str) -> dg.ExecuteInProcessResult:
        """Execute a job while ``broken`` is broken."""
        self.broken = set(broken)
        names = {"day": "dagster/partition", "first": RANGE_START, "last": RANGE_END}
        return (
            self.definitions()
            .resolve_job_def(job)
            .execute_in_process(
                instance=self.instance,
                run_config=QUIET_CONSOLE,
                tags={names[name]: value for name, value in tags.items()},
                raise_on_error=False,
            )
        )

    def tick(self, repository: dg.RepositoryDefinition | None = None) -> str:
        """One tick of the sensor; its cursor is kept, as the daemon keeps it. What it says on the tick."""
        repository = repository or self.definitions().get_repository_def()
        context = dg.build_sensor_context(self.instance, cursor=self.cursor, repository_def=repository)
        data = repository.get_sensor_def("alerts").evaluate_tick(context)
        self.cursor = data.cursor
        return data.skip_message or ""

    def told(self, path: str = "/hook") -> list[str]:
        """What the receiver was told since the last asking, as severity, event and subject."""
        taken = self.receiver.taken[path]
        found = [f"{body['event']} {body['severity']} {body['subject']} {body['days']}".strip() for body in taken]
        taken.clear()
        return found


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """The tiny world with every channel set to one local receiver."""
    with receiving() as receiver:
        settings = load_settings(
            env_file=None,
            retail_home=tmp_path / "home",
            retail_outputs=tmp_path / "outputs",
            alert_webhook_url=f"{receiver.url}/hook?token={TOKEN}",
            alert_slack_webhook_url=f"{receiver.url}/slack?token={TOKEN}",
            alert_pagerduty_routing_key=ROUTING_KEY,
            alert_pagerduty_url=f"{receiver.url}/pagerduty",
            alert_most_per_minute=100,
            kafka_sasl_password=TOKEN,
        )
        prepare_dagster_home(settings)
        with dg.DagsterInstance.get() as instance:
            yield World(settings, receiver, instance)


def test_a_check_that_fails_in_a_green_run_is_told_once_and_its_recovery_once(world: World) -> None:
    assert world.run("daily", "strict", "loose", day=FIRST).success
    world.tick()
    world.tick()
    assert sorted(world.told()) == [
        f"opened error strict on figures {FIRST}",
        f"opened warning loose on figures {FIRST}",
    ]
    world.run("daily", "loose", first=FIRST, last=SECOND)
    world.tick()
    assert world.told() == [f"recovered error strict on figures {FIRST}"]
    world.run("daily", first=FIRST, last=SECOND)
    assert world.tick() == "0 open incidents, 0 messages wait"
    assert world.told() == [f"recovered warning loose on figures {FIRST} to {SECOND}"]


def test_a_run_that_a_blocking_check_failed_is_told_as_that_check_alone(world: World) -> None:
    assert not world.run("daily", "firm", day=FIRST).success
    world.tick()
    assert world.told() == [f"opened critical firm on figures {FIRST}"]
    (paged,) = world.receiver.taken["/pagerduty"]
    world.run("daily", day=FIRST)
    world.tick()
    assert world.told() == [f"recovered critical firm on figures {FIRST}"]
    resolve = world.receiver.taken["/pagerduty"][-1]
    assert (resolve["event_action"], resolve["dedup_key"]) == ("resolve", paged["dedup_key"])


def test_the_first_failure_of_a_run_is_told_and_no_retry_and_no_other_days_success(world: World) -> None:
    failed = world.run("errand", "work", first=FIRST, last=FIRST)
    world.tick()
    world.run("errand", "work", first=FIRST, last=FIRST)
    world.run("errand", first=SECOND, last=SECOND)
    world.tick()
    (body,) = world.receiver.taken["/hook"]
    assert (body["event"], body["subject"], body["days"]) == ("opened", "errand", FIRST)
    assert body["facts"]["what"] == "step: ValueError: the disk is full, **********"
    assert body["facts"]["page"] == f"http://127.0.0.1:3000/runs/{failed.run_id}"
    world.told()
    world.run("errand", first=FIRST, last=SECOND)
    world.tick()
    assert world.told() == [f"recovered error errand {FIRST}"]


def test_a_channel_that_is_down_hears_all_of_it_later_and_the_others_nothing_twice(
    world: World, capfd: pytest.CaptureFixture[str]
) -> None:
    world.receiver.answers["/slack"] = 503
    world.run("errand", "work")
    capfd.readouterr()
    said = world.tick()
    assert said == "1 open incidents, 1 messages wait: slack answered 503"
    output = "".join(capfd.readouterr())
    assert "not delivered, will be sent again: slack answered 503" in output
    for text in (world.cursor or "", output, json.dumps(world.receiver.taken["/hook"])):
        assert TOKEN not in text
        assert ROUTING_KEY not in text
    world.run("errand")
    assert world.tick() == "0 open incidents, 2 messages wait: slack answered 503"
    assert world.told() == ["opened error errand", "recovered error errand"]
    world.receiver.answers.clear()
    assert world.tick() == "0 open incidents, 0 messages wait"
    titles = [body["text"].split(":")[0] for body in world.receiver.taken["/slack"]]
    assert titles == ["Failing [error]", "Recovered"]
    assert world.told() == []


def test_an_overdue_asset_is_told_when_dagsters_daemon_says_so_and_until_it_is_made(world: World) -> None:
    world.run("reporting")
    _let_the_freshness_daemon_look(world)
    world.tick()
    assert world.told() == []
    with freeze_time(get_current_datetime() + dt.timedelta(hours=2)):
        _let_the_freshness_daemon_look(world)
    world.tick()
    world.tick()
    assert world.told() == ["opened critical report"]
    with freeze_time(get_current_datetime() + dt.timedelta(hours=3)):
        world.run("reporting")
        _let_the_freshness_daemon_look(world)
    world.tick()
    assert world.told() == ["recovered critical report"]


def test_a_stream_that_falls_warns_once_and_pages_when_the_supervisor_gives_up(world: World) -> None:
    for _ in range(MOST_FAILURES - 1):
        world.run(STREAM_JOB, "work")
        world.tick()
    assert world.told() == ["opened warning ingest"]
    assert world.receiver.taken["/pagerduty"] == []
    world.run(STREAM_JOB, "work")
    world.tick()
    world.tick()
    assert world.told() == ["escalated critical ingest"]
    assert len(world.receiver.taken["/pagerduty"]) == 1


def test_a_stream_is_said_to_be_up_when_it_has_stayed_up_or_ended_well() -> None:
    fallen = StreamRun("a", "failed", NOW - dt.timedelta(hours=1), NOW - dt.timedelta(minutes=9))

    def seen(minutes: float, state: str = "alive", beat_seconds: float = 1, ended: float = 0) -> list[str]:
        again = StreamRun(
            "b",
            state,
            NOW - dt.timedelta(minutes=minutes),
            None if state == "alive" else NOW - dt.timedelta(minutes=ended),
        )  # type: ignore[arg-type]
        beat = dt.timedelta(seconds=beat_seconds)
        return [
            type(entry).__name__
            for entry in alerts.stream_observations("ingest", [again, fallen], beat, NOW, supervised=True)
        ]

    assert seen(4.9) == []
    assert seen(5) == ["Healthy"]
    assert seen(5, beat_seconds=STALE_AFTER_SECONDS + 1) == ["Failing"]
    assert seen(1, "succeeded") == ["Healthy"]
    assert seen(1, "cancelled") == []
    assert seen(1, "failed") == ["Failing"]


@pytest.mark.parametrize(
    ("minutes", "supervised", "failing"), [(14, True, False), (15, True, True), (15, False, False)]
)
def test_a_stream_that_its_supervisor_does_not_start_again_is_told(
    minutes: int, supervised: bool, failing: bool
) -> None:
    stopped = StreamRun("a", "cancelled", NOW - dt.timedelta(hours=1), NOW - dt.timedelta(minutes=minutes))
    seen = list(alerts.stream_observations("ingest", [stopped], None, NOW, supervised=supervised))
    assert [entry.severity for entry in seen if isinstance(entry, Failing)] == [Severity.error] * failing


def test_an_incident_of_a_check_that_was_taken_out_of_the_code_ends(world: World) -> None:
    world.run("daily", "strict", day=FIRST)
    world.tick()
    world.told()
    without = dg.Definitions.merge(dg.Definitions(), alerts.build(world.settings)).get_repository_def()
    assert world.tick(without) == "0 open incidents, 0 messages wait"
    assert world.told() == [f"recovered error strict on figures {FIRST}"]


def test_checks_of_a_run_that_goes_on_are_told_before_it_ends_and_not_again_after(world: World) -> None:
    told_meanwhile: list[str] = []

    def meanwhile() -> None:
        world.tick()
        told_meanwhile.extend(world.told())

    world.meanwhile = meanwhile
    world.run("daily_and_more", "strict", day=FIRST)
    world.tick()
    assert told_meanwhile == [f"opened error strict on figures {FIRST}"]
    assert world.told() == []


def test_the_project_tells_of_its_own_checks_and_knows_every_owner(world: World) -> None:
    write_deltalake(world.settings.lake_dir / INGEST_BATCHES.path, pa.table({"batch_id": [1], "surprise": [2]}))
    key = dg.AssetCheckKey(dg.AssetKey(list(INGEST_BATCHES.asset_key)), "contract")
    job = dg.define_asset_job("one_check", selection=dg.AssetSelection.checks(key))
    definitions = dg.Definitions.merge(build_defs(world.settings), dg.Definitions(jobs=[job]))
    repository = definitions.get_repository_def()
    named = {owner for node in repository.asset_graph.asset_nodes for owner in node.owners}
    assert named == {f"team:{owner}" for owner in Owner}
    assert definitions.resolve_job_def("one_check").execute_in_process(instance=world.instance).success
    world.tick(repository)
    (body,) = world.receiver.taken["/hook"]
    assert (body["title"], body["owner"]) == ("Failing [error]: check contract on ops/ingest_batches", "data-platform")
    assert "surprise is not in the contract" in body["facts"]["what"]


def test_without_a_channel_the_log_is_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    settings = load_settings(env_file=None, retail_home=tmp_path / "home", retail_outputs=tmp_path / "outputs")
    prepare_dagster_home(settings)
    with receiving() as receiver, dg.DagsterInstance.get() as instance:
        world = World(settings, receiver, instance)
        world.run("errand", "work")
        capfd.readouterr()
        assert world.tick() == "1 open incidents, 0 messages wait"
    assert "Failing [error]: run errand" in capfd.readouterr().err


def test_a_cursor_that_cannot_be_read_is_said_with_its_mend(world: World) -> None:
    world.cursor = "not ours"
    with pytest.raises(Exception, match="reset it on the sensor's page"):
        world.tick()


def _let_the_freshness_daemon_look(world: World) -> None:
    """One iteration of Dagster's daemon, on this code location."""

    async def look() -> None:
        context = LoadingContextForTest(world.instance)
        for node in world.definitions().resolve_asset_graph().asset_nodes:
            await FreshnessDaemon()._evaluate_asset(context, node)

    asyncio.run(look())
