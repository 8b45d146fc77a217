"""A backup that is whole comes back as it was; any other is refused, and nothing is touched."""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from retail_platform.backup.manifest import BackupManifest, Entry, from_json, is_safe, to_json
from retail_platform.backup.restoring import restore
from retail_platform.backup.taking import back_up
from retail_platform.cli import backup as command
from retail_platform.cli.app import app
from retail_platform.errors import RetailError, SettingsError
from retail_platform.lakehouse.lease import lake_lease
from retail_platform.lakehouse.manifest import manifest
from retail_platform.lakehouse.snapshot import snapshot_dir
from retail_platform.settings import Settings
from retail_platform.warehouse import open_warehouse
from retail_platform_tests.warehouse.silver import LINES, line, write, write_lake

DAY = dt.date(2010, 12, 1)


def quietly(_done: int, _total: int) -> None:
    """Progress that nobody looks at."""


@pytest.fixture
def home(settings: Settings) -> Settings:
    """A home with a lake, a warehouse that has loaded it, a SQLite history in use, and things of the moment."""
    write_lake(settings, [line("a", DAY), line("b", DAY)])
    open_warehouse(settings).load(manifest(settings, LINES), "run-1")
    settings.dagster_home.mkdir()
    with sqlite3.connect(settings.dagster_home / "runs.db") as runs:
        runs.execute("pragma journal_mode = wal")
        runs.execute("create table runs (id text)")
        runs.execute("insert into runs values ('one')")
    offsets = settings.checkpoints_dir / "bronze-events" / "offsets"
    offsets.mkdir(parents=True)
    (offsets / "0").write_text("v1")
    (offsets / ".0.crc").write_text("Hadoop's checksum")
    (offsets / ".1.4f.tmp").write_text("a draft")
    settings.fraud_models_dir.mkdir(parents=True)
    (settings.fraud_models_dir / "current.json").write_text("a model")
    (settings.fraud_models_dir / ".current.json.4f.tmp").write_text("a draft")
    settings.logs_dir.mkdir()
    (settings.logs_dir / "kafka.log").write_text("of the moment")
    return settings


@pytest.fixture
def backed_up(home: Settings, tmp_path: Path) -> Path:
    """A backup of it."""
    back_up(home, tmp_path / "backup", quietly)
    return tmp_path / "backup"


def elsewhere(settings: Settings, folder: Path) -> Settings:
    return settings.model_copy(update={"retail_home": folder})


def events(settings: Settings) -> list[str]:
    found = open_warehouse(settings).query("select event_id from raw.transaction_lines order by 1").to_pylist()
    return [row["event_id"] for row in found]


def test_what_is_restored_is_what_was_backed_up(home: Settings, backed_up: Path, tmp_path: Path) -> None:
    there = elsewhere(home, tmp_path / "restored" / "home")
    done = restore(there, backed_up, quietly)
    assert events(there) == ["a", "b"]
    assert manifest(there, LINES).rows == manifest(home, LINES).rows == 2
    with sqlite3.connect(there.dagster_home / "runs.db") as runs:
        assert runs.execute("select id from runs").fetchall() == [("one",)]
    assert [path.name for path in there.checkpoints_dir.rglob("*") if path.is_file()] == ["0"]
    assert sorted(path.name for path in there.retail_home.iterdir()) == [
        "checkpoints",
        "dagster",
        "lake",
        "models",
        "warehouse.duckdb",
    ]
    assert [path.read_text() for path in there.fraud_models_dir.iterdir()] == ["a model"]
    assert done.aside is None
    assert done.manifest.tables[LINES.path] == 0


def test_a_backup_leaves_nothing_in_the_home_and_no_later_write_reaches_it(
    home: Settings, backed_up: Path, tmp_path: Path
) -> None:
    assert not snapshot_dir(home).exists()
    write(home, LINES, [line("c", DAY)])
    open_warehouse(home).load(manifest(home, LINES), "run-2")
    there = elsewhere(home, tmp_path / "restored")
    restore(there, backed_up, quietly)
    assert (events(there), manifest(there, LINES).version) == (["a", "b"], 0)


def test_what_was_in_the_home_is_moved_aside_and_not_removed(home: Settings, backed_up: Path) -> None:
    write(home, LINES, [line("c", DAY)])
    done = restore(home, backed_up, quietly)
    assert manifest(home, LINES).version == 0
    assert done.aside is not None
    assert manifest(elsewhere(home, done.aside), LINES).version == 1


def _one_bit_changed(backup: Path) -> None:
    file = max((backup / "data").rglob("*.parquet"))
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def _cut_short(backup: Path) -> None:
    file = backup / "data" / "warehouse.duckdb"
    os.truncate(file, file.stat().st_size // 2)


def _a_file_gone(backup: Path) -> None:
    max((backup / "data").rglob("*.parquet")).unlink()


def _a_link_in_its_place(backup: Path) -> None:
    file = backup / "data" / "warehouse.duckdb"
    kept = backup.with_name("elsewhere.duckdb")
    file.rename(kept)
    file.symlink_to(kept)


def _a_folder_that_is_a_link(backup: Path) -> None:
    folder = backup / "data" / "lake"
    kept = backup.with_name("another-lake")
    folder.rename(kept)
    folder.symlink_to(kept)


def _no_manifest(backup: Path) -> None:
    (backup / "manifest.json").unlink()


def _half_a_manifest(backup: Path) -> None:
    file = backup / "manifest.json"
    os.truncate(file, file.stat().st_size // 2)


def _another_form(backup: Path) -> None:
    _edit(backup, lambda document: document.update(format=99))


def _a_path_outside(backup: Path) -> None:
    (backup / "evil").write_text("x")
    _edit(backup, lambda document: document["files"][0].update(path="lake/../../evil"))


def _edit(backup: Path, change: Callable[[dict], None]) -> None:
    document = json.loads((backup / "manifest.json").read_text())
    change(document)
    (backup / "manifest.json").write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_one_bit_changed, "checksum differs"),
        (_cut_short, "checksum differs"),
        (_a_file_gone, "lacks"),
        (_a_link_in_its_place, "a link in its place"),
        (_a_folder_that_is_a_link, "a link in its place"),
        (_no_manifest, "was not finished"),
        (_half_a_manifest, "manifest cannot be read"),
        (_another_form, "form 99"),
        (_a_path_outside, "not a file of a backup"),
    ],
    ids=lambda value: value.__name__.strip("_") if callable(value) else "",
)
def test_a_damaged_backup_is_refused_and_the_home_stays_as_it_is(
    home: Settings, backed_up: Path, damage: Callable[[Path], None], said: str
) -> None:
    damage(backed_up)
    write(home, LINES, [line("c", DAY)])
    with pytest.raises(RetailError, match=said):
        restore(home, backed_up, quietly)
    assert manifest(home, LINES).version == 1
    assert [path for path in home.retail_home.parent.iterdir() if "restor" in path.name] == []


@pytest.mark.parametrize(
    "path",
    [
        "",
        ".",
        "/lake/a",
        "../lake/a",
        "lake/../../a",
        "lake//a",
        "lake/./a",
        "control/lake.lease",
        "lake\\a",
        "lake/\0",
    ],
)
def test_a_path_that_may_lead_outside_is_not_safe(path: str) -> None:
    assert not is_safe(path)


def test_a_manifest_is_read_as_it_was_written() -> None:
    written = BackupManifest(
        dt.datetime(2026, 3, 2, 12, tzinfo=dt.UTC),
        {"duckdb": "2.0.0"},
        {"KAFKA_TOPIC": "t"},
        {"silver/transaction_lines": 3},
        (Entry("lake/silver/a.parquet", 3, "0" * 64), Entry("warehouse.duckdb", 5, "f" * 64)),
    )
    assert from_json(to_json(written)) == written
    assert written.parts() == {"lake": (1, 3), "warehouse.duckdb": (1, 5)}


def test_a_setting_that_the_data_depends_on_must_be_as_it_was(home: Settings, backed_up: Path) -> None:
    other = home.model_copy(update={"business_timezone": "Europe/London"})
    with pytest.raises(SettingsError, match="BUSINESS_TIMEZONE is Europe/London here and UTC in the backup"):
        restore(other, backed_up, quietly)


def test_nothing_is_restored_under_a_running_writer(home: Settings, backed_up: Path) -> None:
    with lake_lease(home, "a test"), pytest.raises(RetailError, match=r"a test .* writes the lake; stop it first"):
        restore(home, backed_up, quietly)


def test_a_backup_is_not_put_where_something_is_or_inside_the_home(home: Settings, backed_up: Path) -> None:
    with pytest.raises(RetailError, match="not an empty folder"):
        back_up(home, backed_up, quietly)
    with pytest.raises(RetailError, match="inside RETAIL_HOME"):
        back_up(home, home.retail_home / "backup", quietly)


def test_an_empty_home_has_nothing_to_back_up(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(RetailError, match="nothing to back up"):
        back_up(settings, tmp_path / "backup", quietly)


def test_the_commands_say_what_they_will_do_and_ask(
    home: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "get_settings", lambda: home)
    target = tmp_path / "new"
    assert CliRunner().invoke(app, ["backup", str(target)], input="n\n").exit_code == 1
    assert not target.exists()
    done = CliRunner().invoke(app, ["backup", str(target), "--yes"])
    assert done.exit_code == 0, done.output
    assert "the lake stood still for" in done.stdout
    asked = CliRunner().invoke(app, ["restore", str(target)], input="n\n")
    assert asked.exit_code == 1
    assert "is moved aside" in asked.stderr
    shutil.rmtree(home.retail_home)
    assert CliRunner().invoke(app, ["restore", str(target), "--yes"]).exit_code == 0
    assert events(home) == ["a", "b"]
