import threading

import duckdb
import pyarrow.parquet as pq
import pytest

from retail_platform.errors import RetailError
from retail_platform.settings import Settings
from retail_platform.warehouse import open_warehouse


def make_mart(settings: Settings, rows: int) -> None:
    with duckdb.connect(settings.warehouse_path) as connection:
        connection.execute("create schema if not exists marts")
        connection.execute(f"create or replace table marts.numbers as select range as n from range({rows})")


def test_a_mart_is_published_as_parquet_and_nothing_else_is_left(settings: Settings) -> None:
    warehouse = open_warehouse(settings)
    warehouse.create_tables()
    make_mart(settings, 3)
    folder = settings.marts_dir
    assert warehouse.publish(["numbers"], folder) == [folder / "numbers.parquet"]
    assert pq.read_table(folder / "numbers.parquet")["n"].to_pylist() == [0, 1, 2]
    assert [path.name for path in folder.iterdir()] == ["numbers.parquet"]


def test_a_reader_never_sees_half_a_mart(settings: Settings) -> None:
    warehouse = open_warehouse(settings)
    warehouse.create_tables()
    make_mart(settings, 50_000)
    (path,) = warehouse.publish(["numbers"], settings.marts_dir)
    stop, seen = threading.Event(), []

    def read() -> None:
        while not stop.is_set():
            seen.append(pq.read_table(path).num_rows)

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(20):
        warehouse.publish(["numbers"], settings.marts_dir)
    stop.set()
    reader.join()
    assert set(seen) == {50_000}


def test_a_mart_that_was_never_built_is_named(settings: Settings) -> None:
    open_warehouse(settings).create_tables()
    make_mart(settings, 1)
    with pytest.raises(RetailError, match=r"a mart is missing .*nothing_here.*build the marts first"):
        open_warehouse(settings).publish(["nothing_here"], settings.marts_dir)
