from retail_platform.contracts import FRAUD_LABELS, INGEST_BATCHES, INVENTORY, WAREHOUSE_TABLES
from retail_platform.warehouse import sql
from retail_platform_tests.warehouse.silver import LINES


def test_each_engine_gets_its_own_types_and_its_own_case_of_names() -> None:
    duckdb, snowflake = (sql.create_table(INGEST_BATCHES, dialect) for dialect in ("duckdb", "snowflake"))
    assert duckdb.startswith('create table if not exists "raw"."ingest_batches" ("query_id" varchar not null, ')
    assert '"committed_at" timestamp)' in duckdb
    assert snowflake.startswith('create table if not exists "RAW"."INGEST_BATCHES" ("QUERY_ID" varchar not null, ')
    assert '"COMMITTED_AT" timestamp_ntz(6))' in snowflake


def test_a_merge_never_updates_the_key_and_leaves_equal_rows_alone() -> None:
    statement = sql.merge(INVENTORY.silver_table, "stage", "duckdb")
    matched = statement[statement.index("when matched") : statement.index("when not matched")]
    assert 't."event_id" = s."event_id"' in statement
    assert "event_id" not in matched
    assert 't."quantity" is distinct from s."quantity"' in matched


def test_amounts_and_counts_are_checked_but_neither_keys_nor_offsets() -> None:
    names = [column.name for column in sql.checked_columns(LINES)]
    assert names == ["quantity", "unit_price", "discount", "gross_amount", "net_amount"]


def test_every_table_of_the_warehouse_has_sums_to_reconcile_but_the_verdicts_which_are_checked_by_their_rows() -> None:
    assert [table for table in WAREHOUSE_TABLES if not sql.checked_columns(table)] == [FRAUD_LABELS.silver_table]
