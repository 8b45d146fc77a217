import datetime as dt
from decimal import Decimal
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from retail_platform.contracts import INGEST_BATCHES
from retail_platform.errors import RetailError
from retail_platform.lakehouse.manifest import manifest
from retail_platform.settings import Settings
from retail_platform_tests.warehouse.silver import LINES, batch, line, replace_day, write, write_lake

FIRST, SECOND = dt.date(2010, 12, 1), dt.date(2010, 12, 2)


def rows_in(files: tuple[str, ...]) -> int:
    return sum(pq.ParquetFile(file).metadata.num_rows for file in files)


def test_it_lists_the_files_of_the_dates_asked_and_no_other(settings: Settings) -> None:
    write_lake(settings, [line("a", FIRST), line("b", FIRST), line("c", SECOND)])
    found = manifest(settings, LINES, [FIRST])
    assert found.rows == rows_in(found.files) == 2
    assert found.bytes == sum(Path(file).stat().st_size for file in found.files)
    assert found.dates == (FIRST,)
    assert all(f"business_date={FIRST}" in file for file in found.files)


def test_it_lists_every_file_when_no_dates_are_asked(settings: Settings) -> None:
    write_lake(settings, [line("a", FIRST), line("c", SECOND)])
    write(settings, LINES, [line("d", SECOND)])
    found = manifest(settings, LINES)
    assert (found.version, found.rows, rows_in(found.files)) == (1, 3, 3)


def test_a_version_stays_what_it_was_after_the_day_was_derived_again(settings: Settings) -> None:
    write_lake(settings, [line("a", FIRST), line("b", FIRST)])
    replace_day(settings, LINES, FIRST, [line("a", FIRST, unit_price=Decimal("2.0000"))])
    assert manifest(settings, LINES, [FIRST]).rows == 1
    before = manifest(settings, LINES, [FIRST], version=0)
    assert (before.version, before.rows, rows_in(before.files)) == (0, 2, 2)


def test_a_date_without_rows_has_no_files(settings: Settings) -> None:
    write_lake(settings, [line("a", FIRST)])
    found = manifest(settings, LINES, [dt.date(2011, 1, 1)])
    assert (found.files, found.rows) == ((), 0)


def test_a_table_without_business_dates_lists_all_its_files(settings: Settings) -> None:
    write_lake(settings, [line("a", FIRST)], batches=[batch(0, [FIRST])])
    write(settings, INGEST_BATCHES, [batch(1, [SECOND])])
    assert len(manifest(settings, INGEST_BATCHES, [FIRST]).files) == 2


def test_a_home_with_spaces_and_equal_signs_is_no_obstacle(settings: Settings) -> None:
    odd = settings.model_copy(update={"retail_home": settings.retail_home / "my home" / "day=one"})
    write_lake(odd, [line("a", FIRST)])
    assert rows_in(manifest(odd, LINES, [FIRST]).files) == 1


def test_a_lake_that_was_never_written_says_what_to_do(settings: Settings) -> None:
    with pytest.raises(RetailError, match="no silver/transaction_lines yet; run the stream first"):
        manifest(settings, LINES)


def test_a_version_that_is_not_there_is_named(settings: Settings) -> None:
    write_lake(settings, [line("a", FIRST)])
    with pytest.raises(RetailError, match="version 7"):
        manifest(settings, LINES, version=7)


def test_a_table_whose_rows_hide_behind_deletion_vectors_is_refused(settings: Settings) -> None:
    write_lake(settings, [line("a", FIRST)])
    from deltalake.table import TableFeatures

    DeltaTable(settings.lake_dir / LINES.path).alter.add_feature(
        TableFeatures.DeletionVectors, allow_protocol_versions_increase=True
    )
    with pytest.raises(RetailError, match="deletionVectors"):
        manifest(settings, LINES)
