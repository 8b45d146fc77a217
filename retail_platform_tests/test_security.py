"""No secret ends up anywhere, nothing but this machine is answered, and text from outside stays text."""

from __future__ import annotations

import contextlib
import csv
import datetime as dt
import logging
import os
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import get_args

import dagster as dg
import pyarrow.parquet as pq
import pytest
from pydantic import SecretStr

from benchmarks.processes import Tree
from retail_platform.cli.app import harmless
from retail_platform.defs import build_defs
from retail_platform.defs.automation import LAKE_CHECKS_JOB
from retail_platform.defs.execution import prepare_dagster_home, run_job
from retail_platform.embedded.broker import EmbeddedBroker
from retail_platform.settings import PROJECT_ROOT, Settings, child_environment, load_settings
from retail_platform_tests.alerts.receiver import ROUTING_KEY, Receiver, receiving
from retail_platform_tests.listening import listening, open_to_others
from retail_platform_tests.warehouse.silver import line, write_lake

pytestmark = pytest.mark.timeout(600)

DAY = dt.date(2010, 12, 1)
HOSTILE = (
    "Robert'); drop table raw.transaction_lines;--",
    'a "quoted" `name` \\ and \\\' more',
    "{{ 1/0 }}{% raw %}{# dbt #}",
    "${HOME} $(id) %(x)s %s {0}",
    "=HYPERLINK(\"http://x\") , ; \t | 'x'",
    "[bold red]not markup[/] \x1b[2J\x9b2J\u202e",
    "line\nbreak\r\n and \u2028 é 漢 🛒",
    "/*" + "*/ union all select 1 --",
)


@dataclass
class Run:
    """A run of commands with a secret in every setting that takes one: what they said, and what ran for them."""

    settings: Settings
    secrets: dict[str, str]
    receiver: Receiver
    said: list[bytes] = field(default_factory=list)
    codes: dict[str, int] = field(default_factory=dict)
    command_lines: set[bytes] = field(default_factory=set)

    def retail(self, name: str, *arguments: str, **changes: str) -> None:
        """Run ``retail``; what it and its children are started with is looked at all the while."""
        program = Path(sys.executable).with_name("retail")
        env = child_environment(self.settings) | {**self.environment(), **changes}
        process = subprocess.Popen(
            [program, *arguments], env=env, cwd=PROJECT_ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        with self._watched(process.pid):
            said, _ = process.communicate(timeout=300)
        self.said.append(said)
        self.codes[name] = process.returncode

    def environment(self) -> dict[str, str]:
        return {"KAFKA_EMBEDDED_PORT": str(self.settings.kafka_embedded_port), **self.secrets}

    @contextlib.contextmanager
    def _watched(self, pid: int) -> Iterator[None]:
        tree, done = Tree(pid), threading.Event()

        def look() -> None:
            while not done.wait(0.05):
                for member in tree.look():
                    with contextlib.suppress(OSError):
                        self.command_lines.add(Path(f"/proc/{member.pid}/cmdline").read_bytes())

        watcher = threading.Thread(target=look)
        watcher.start()
        try:
            yield
        finally:
            done.set()
            watcher.join()


def secret_settings() -> list[str]:
    """The names of all settings that are secret."""
    fields = Settings.model_fields.items()
    return [name for name, entry in fields if SecretStr in (entry.annotation, *get_args(entry.annotation))]


def planted(url: str) -> dict[str, str]:
    """A marker in the place of every secret; the alerts' are such that they reach the receiver."""
    marked = {name.upper(): f"m4rk3r-{name}-\"'$&é" for name in secret_settings()}
    return marked | {
        "ALERT_WEBHOOK_URL": f"{url}/hook?token=m4rk3r-hook",
        "ALERT_SLACK_WEBHOOK_URL": f"{url}/slack?token=m4rk3r-slack",
        "ALERT_PAGERDUTY_ROUTING_KEY": ROUTING_KEY,
    }


@pytest.fixture(scope="module")
def run(broker: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """A day of hostile texts, checks that fail for want of a whole lake, `retail doctor` with Kafka and without."""
    folder = tmp_path_factory.mktemp("security")
    with receiving() as receiver:
        secrets = planted(receiver.url)
        settings = load_settings(
            env_file=None,
            retail_home=folder / "home",
            retail_outputs=folder / "outputs",
            kafka_embedded_port=broker.kafka_embedded_port,
            alert_pagerduty_url=f"{receiver.url}/pagerduty",
            **{name.lower(): value for name, value in secrets.items()},
        )
        write_lake(settings, hostile_lines())
        done = Run(settings, secrets, receiver)
        done.retail("day", "run", "--from", f"{DAY}", "--to", f"{DAY}", "--no-drain")
        assert not run_job(settings, LAKE_CHECKS_JOB).success
        done.retail("doctor", "doctor")
        nowhere = {"KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{closed_port()}", "KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT"}
        done.retail("doctor without Kafka", "doctor", "--json", **nowhere, KAFKA_SASL_USERNAME="retail")
        yield done


def hostile_lines() -> list[dict]:
    """A sale for each hostile text, with the text in every field that takes any."""
    return [
        line(
            f"hostile-{number}",
            DAY,
            store_id=text,
            product_id=f"{text}{number}",
            description=text,
            category=text,
            region=text,
            customer_id=text,
            transaction_id=text,
            register_id=text,
        )
        for number, text in enumerate(HOSTILE)
    ]


def closed_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


# --- Secrets ----------------------------------------------------------------------------------------------------------


def test_the_day_ran_as_it_should_with_the_secrets_set(run: Run) -> None:
    assert run.codes["day"] == 0, run.said[0].decode()[-2000:]
    assert run.codes["doctor without Kafka"] == 1
    assert b"does not answer at 127.0.0.1" in run.said[2]
    assert any(b"doctor" in words for words in run.command_lines)


def test_no_secret_is_in_what_was_printed_or_in_the_arguments_of_a_process(run: Run) -> None:
    assert found_in(run, b"\n".join([*run.said, *run.command_lines])) == []


def test_no_secret_is_in_any_file_that_was_written(run: Run) -> None:
    files = [path for root in (run.settings.retail_home, run.settings.retail_outputs) for path in root.rglob("*")]
    written = [path for path in files if path.is_file()]
    assert any(path.suffix == ".db" for path in written), "Dagster's history is among them"
    assert [(path.name, name) for path in written for name in found_in(run, path.read_bytes())] == []


def test_an_alert_reaches_every_channel_and_leaves_no_secret_in_the_cursor_or_the_log(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    prepare_dagster_home(run.settings)
    repository = build_defs(run.settings).get_repository_def()
    with caplog.at_level(logging.DEBUG), dg.DagsterInstance.get() as instance:
        context = dg.build_sensor_context(instance=instance, repository_def=repository)
        tick = repository.get_sensor_def("alerts").evaluate_tick(context)
    assert run.receiver.refused == []
    assert [path for path, taken in run.receiver.taken.items() if not taken] == []
    assert tick.cursor
    assert found_in(run, f"{tick.cursor}{tick.skip_message}{caplog.text}".encode()) == []


def test_a_secret_that_is_written_is_found(run: Run, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "runs.db") as runs:
        runs.execute("create table runs (body text)")
        runs.execute("insert into runs values (?)", [run.secrets["KAFKA_SASL_PASSWORD"]])
    assert found_in(run, (tmp_path / "runs.db").read_bytes()) == ["KAFKA_SASL_PASSWORD"]
    assert {"KAFKA_SASL_PASSWORD", "ALERT_SLACK_WEBHOOK_URL", "SNOWFLAKE_PASSWORD"} <= set(run.secrets)


def found_in(run: Run, content: bytes) -> list[str]:
    """The settings whose secret stands in ``content``; of an address, what is secret in it."""
    telling = {name: value.rpartition("token=")[2] for name, value in run.secrets.items()}
    return [name for name, value in telling.items() if value.encode() in content or value[:18].encode() in content]


# --- Text from outside ------------------------------------------------------------------------------------------------


def test_hostile_text_goes_through_warehouse_and_dbt_as_text_and_the_figures_are_right(run: Run) -> None:
    marts = run.settings.marts_dir
    lines = pq.read_table(marts / "fct_order_lines.parquet").to_pylist()
    for name in ("store_id", "transaction_id"):
        assert sorted(row[name] for row in lines) == sorted(HOSTILE)
    products = pq.read_table(marts / "dim_products.parquet").to_pylist()
    wanted = sorted((f"{text}{number}", text) for number, text in enumerate(HOSTILE))
    assert sorted((row["product_id"], row["product_description"]) for row in products) == wanted
    with run.settings.kpi_csv.open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["date"], row["orders"]) == (f"{DAY}", f"{len(HOSTILE)}")
    assert Decimal(row["revenue_usd"]) > 0


def test_what_comes_from_outside_cannot_steer_the_operators_terminal() -> None:
    shown = harmless("a[red]b\x1b[2J\x9b\u202e\tc\nd\x7f")
    assert shown == "a\\[red]b\\x1b[2J\\x9b\\u202e\tc\nd\\x7f"


# --- Servers ----------------------------------------------------------------------------------------------------------


def test_the_embedded_broker_answers_this_machine_only(broker: Settings) -> None:
    pid = EmbeddedBroker(broker).status().pid
    assert pid is not None
    sockets = listening([pid])
    assert {broker.kafka_embedded_port, broker.kafka_embedded_port + 1} <= {port for _, port in sockets}
    assert open_to_others(sockets) == []


def test_a_server_that_is_open_to_others_is_found() -> None:
    with socket.create_server(("0.0.0.0", 0)) as everywhere, socket.create_server(("127.0.0.1", 0)) as here:  # noqa: S104
        found = listening([os.getpid()])
        assert ("127.0.0.1", here.getsockname()[1]) in found
        assert ("0.0.0.0", everywhere.getsockname()[1]) in open_to_others(found)  # noqa: S104
        assert ("127.0.0.1", here.getsockname()[1]) not in open_to_others(found)
