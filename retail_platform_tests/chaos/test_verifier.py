"""The verifier is green on a real lake and red on every lake that was spoilt on purpose."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from typing import TYPE_CHECKING

import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable, write_deltalake

from retail_platform.chaos.controls import CONTROLS, prove_with
from retail_platform.chaos.ledger import ledger_path
from retail_platform.chaos.verifier import PROMISES, verify
from retail_platform.contracts import BRONZE_EVENTS, QUARANTINE_EVENTS, TRANSACTIONS
from retail_platform.contracts.model import Table
from retail_platform.errors import RetailError
from retail_platform.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

#: Each takes a drain or two: the others of CONTROLS are done by `retail chaos controls`.
IN_THE_SUITE = ("nothing wrong", "a new checkpoint under the old identity")


@pytest.mark.soak
def test_controls_that_run_the_stream_wrongly_turn_the_verifier_red(
    spark: SparkSession, lake_settings: Settings
) -> None:
    outcomes = prove_with(spark, lake_settings, lambda _line: None, IN_THE_SUITE)
    assert [outcome.name for outcome in outcomes] == list(IN_THE_SUITE)
    assert [outcome for outcome in outcomes if not outcome.right] == []
    finished = lake_settings.model_copy(
        update={"retail_home": lake_settings.retail_home / "controls" / "lake-nothing-wrong"}
    )
    for spoil, promise in SPOILT:
        copy = _copy(finished, spoil.__name__)
        spoil(copy)
        assert promise in {finding.promise for finding in verify(copy).findings}, spoil.__name__


def test_every_control_names_a_promise_of_the_verifier() -> None:
    assert {promise for _, promise in CONTROLS.values() if promise} <= set(PROMISES)


def test_a_home_without_a_ledger_is_refused(settings: Settings) -> None:
    with pytest.raises(RetailError, match="ledger"):
        verify(settings)


# --- Spoiling a copy --------------------------------------------------------------------------------------------------


def an_event_dropped(settings: Settings) -> None:
    _delta(settings, TRANSACTIONS.silver_table).delete(f"event_id = '{_event(settings)}'")


def a_line_dropped(settings: Settings) -> None:
    _delta(settings, TRANSACTIONS.silver_table).delete(f"event_id = '{_event(settings)}' and line_number = 1")


def a_record_dropped(settings: Settings) -> None:
    _delta(settings, BRONZE_EVENTS).delete('"offset" % 7 = 3')


def an_event_twice(settings: Settings) -> None:
    table = _delta(settings, TRANSACTIONS.silver_table)
    again = table.to_pyarrow_table(filters=[("event_id", "=", _event(settings))])
    column = again.schema.get_field_index("offset")
    moved = again.set_column(column, again.schema.field(column), pc.add(again["offset"], 1_000_000))
    write_deltalake(table, moved, mode="append")


def a_cent_added(settings: Settings) -> None:
    table = _delta(settings, TRANSACTIONS.silver_table)
    where = f"event_id = '{_event(settings)}' and line_number = 1"
    table.update(updates={"net_amount": "net_amount + 0.01"}, predicate=where)


def a_refusal_lost(settings: Settings) -> None:
    _delta(settings, QUARANTINE_EVENTS).delete("topic = 'retail-transactions'")


def a_file_removed(settings: Settings) -> None:
    next(iter(sorted((settings.lake_dir / BRONZE_EVENTS.path).glob("**/*.parquet")))).unlink()


def a_version_removed(settings: Settings) -> None:
    (settings.lake_dir / QUARANTINE_EVENTS.path / "_delta_log" / f"{1:020d}.json").unlink()


def an_acknowledgement_forgotten(settings: Settings) -> None:
    path = ledger_path(settings)
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))


SPOILT: tuple[tuple[Callable[[Settings], None], str], ...] = (
    (an_event_dropped, "every acknowledged event is in silver"),
    (a_line_dropped, "every event in silver has all its lines, to the cent"),
    (a_record_dropped, "every acknowledged record is in bronze, byte for byte"),
    (an_event_twice, "silver has each event once"),
    (a_cent_added, "each day's sum is that of what was acknowledged"),
    (a_refusal_lost, "every broken record is in quarantine, whole, and nothing else"),
    (a_file_removed, "every file of the newest version is there"),
    (a_version_removed, "the log has every version"),
    (an_acknowledgement_forgotten, "bronze has no record that was not acknowledged"),
)


def _copy(settings: Settings, name: str) -> Settings:
    home = settings.retail_home.with_name(name)
    shutil.copytree(settings.retail_home, home)
    return settings.model_copy(update={"retail_home": home})


def _delta(settings: Settings, table: Table) -> DeltaTable:
    return DeltaTable(settings.lake_dir / table.path)


def _event(settings: Settings) -> str:
    """An event of at least two lines that the ledger holds."""
    entries = map(json.loads, ledger_path(settings).read_text().splitlines())
    found = (e["event_id"] for e in entries if e["topic"] == TRANSACTIONS.topic and len(e["amounts"] or ()) > 1)
    return str(next(found))
