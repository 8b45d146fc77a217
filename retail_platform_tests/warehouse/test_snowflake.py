"""The Snowflake adapter through Dagster's resource and Snowflake's own connector, against an emulator over HTTP."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from pydantic import SecretStr

from retail_platform.cli import examination
from retail_platform.contracts import INGEST_BATCHES, STOCK_LEVELS
from retail_platform.defs import warehouse
from retail_platform.embedded.ports import free_port_pair
from retail_platform.errors import RetailError, SettingsError
from retail_platform.lakehouse.manifest import manifest
from retail_platform.reactions.stock import levels
from retail_platform.settings import Settings, load_settings
from retail_platform.warehouse import LoadResult, open_warehouse, snowflake_session, sql
from retail_platform.warehouse.dbt import fx_rates_loaded
from retail_platform.warehouse.dbt_run import DbtProject
from retail_platform_tests.ingest.running import in_a_bucket
from retail_platform_tests.warehouse.silver import (
    LINES,
    Row,
    batch,
    line,
    replace_day,
    row_of,
    write,
    write_lake,
)
from retail_platform_tests.warehouse.snowflake_server import PASSWORD, USER, Fault, SnowflakeServer, snowflake_server

MORNING = dt.datetime(2010, 12, 1, 8, tzinfo=dt.UTC)
FIRST, SECOND = (dt.date(2010, 12, day) for day in (1, 2))


@pytest.fixture(scope="module")
def server() -> Iterator[SnowflakeServer]:
    with snowflake_server() as running:
        yield running


@pytest.fixture
def settings(server: SnowflakeServer, tmp_path: Path) -> Settings:
    return server.settings(tmp_path)


@pytest.fixture
def in_bucket(settings: Settings, s3_endpoint: str) -> Settings:
    """Settings of a lake in a bucket, which is empty, as the stage is."""
    return in_a_bucket(
        settings, s3_endpoint, aws_access_key_id="key", aws_secret_access_key="secret", snowflake_stage="STREAMING.LAKE"
    )


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No wait before another time, and a connector that does not ask for minutes itself."""
    monkeypatch.setattr(snowflake_session, "_WAIT_SECONDS", (0.0, 0.0, 0.0))
    monkeypatch.setattr(snowflake_session, "_NETWORK_SECONDS", 1)


def load(settings: Settings, dates: Sequence[dt.date] | None = None) -> LoadResult:
    return open_warehouse(settings).load(manifest(settings, LINES, dates), "run-1")


def changes(result: LoadResult) -> tuple[int, int, int]:
    return result.inserted, result.updated, result.deleted


def raw(settings: Settings, columns: str = "event_id", table: str = "transaction_lines") -> list[Row]:
    return open_warehouse(settings).query(f"select {columns} from raw.{table} order by 1, 2").to_pylist()


def test_a_load_brings_every_row_exactly_and_a_second_changes_nothing(settings: Settings) -> None:
    price = Decimal("12345678901234.5678")
    write_lake(settings, [line("a", FIRST, unit_price=price), line("a", FIRST, 2, quantity=3), line("b", SECOND)])
    result = load(settings)
    assert (result.rows, *changes(result)) == (3, 3, 0, 0)
    assert [(date.business_date, date.rows) for date in result.dates] == [(FIRST, 2), (SECOND, 1)]
    rows = raw(settings, "event_id, line_number, business_date, unit_price, region")
    assert (rows[0]["business_date"], rows[0]["unit_price"], rows[0]["region"]) == (FIRST, price, None)
    assert changes(load(settings)) == (0, 0, 0)
    assert raw(settings, "event_id, line_number, business_date, unit_price, region") == rows
    assert open_warehouse(settings).reconcile(LINES, [FIRST, SECOND]) == []
    assert result.query_ids


def test_numbers_come_exact_however_wide_the_parts_of_a_result_are(settings: Settings) -> None:
    prices = [Decimal("0.01"), Decimal("327.68"), Decimal("-21474836.49"), Decimal("92233720368547758.07"), None]
    values = ", ".join(f"({n}, {'null' if p is None else p}::number(38, 2))" for n, p in enumerate(prices, 126))
    query = f"select * from (values {values}) as v(n, price) order by n"
    found = open_warehouse(settings).query(query)
    assert found.to_pylist() == [{"n": n, "price": price} for n, price in enumerate(prices, 126)]
    assert open_warehouse(settings).query(f"select * from ({query}) where n < 0").schema.names == ["n", "price"]


def test_a_day_derived_again_loses_updates_and_gains_rows(settings: Settings) -> None:
    write_lake(settings, [line("gone", FIRST), line("changed", FIRST), line("other", SECOND)])
    load(settings)
    replace_day(settings, LINES, FIRST, [line("changed", FIRST, quantity=2), line("new", FIRST)])
    assert changes(load(settings, [FIRST])) == (1, 1, 1)
    assert [row["event_id"] for row in raw(settings, "event_id, quantity")] == ["changed", "new", "other"]
    assert open_warehouse(settings).loaded_versions(LINES, [FIRST, SECOND]) == {FIRST: 1, SECOND: 0}


def test_a_column_that_the_contract_has_gained_is_added_and_null_in_what_was_there(settings: Settings) -> None:
    write_lake(settings, [line("a", FIRST)])
    load(settings)

    def forget(session: snowflake_session.Session) -> None:
        session.run(f'alter table {sql.address(LINES, "snowflake")} drop column "REGION"')

    snowflake_session.in_session(settings, forget, "back to what was there before")
    write(settings, LINES, [line("b", SECOND, region="North", latitude=51.5)])
    load(settings, [SECOND])
    assert [tuple(row.values()) for row in raw(settings, "event_id, region, latitude")] == [
        ("a", None, None),
        ("b", "North", 51.5),
    ]
    assert open_warehouse(settings).reconcile(LINES, [FIRST, SECOND]) == []


def test_batches_are_loaded_by_the_dates_they_touched(settings: Settings) -> None:
    write_lake(settings, [line("a", FIRST)], batches=[batch(0, [FIRST]), batch(1, [FIRST, SECOND])])
    opened = open_warehouse(settings)
    assert changes(opened.load(manifest(settings, INGEST_BATCHES, [SECOND]), "run-1")) == (1, 0, 0)
    assert changes(opened.load(manifest(settings, INGEST_BATCHES, [FIRST]), "run-1")) == (1, 0, 0)
    assert opened.reconcile(INGEST_BATCHES, [FIRST, SECOND]) == []


@pytest.mark.parametrize(
    "listed", ['["2010-12-01","2010-12-02"]', '[{"list":[{"element":"2010-12-01"},{"element":"2010-12-02"}]}]']
)
def test_a_list_is_read_flat_or_in_parquets_own_form(settings: Settings, listed: str) -> None:
    relation = f"(select 7 as batch_id, parse_json('{listed}')::array as business_dates)"
    dated = sql.dated(INGEST_BATCHES, relation, "snowflake")
    found = open_warehouse(settings).query(f"select batch_id, business_date from {dated} as dated order by 2")
    assert found.to_pylist() == [{"batch_id": 7, "business_date": date} for date in (FIRST, SECOND)]


def test_a_day_on_which_a_number_is_never_known_is_loaded_and_reconciled(settings: Settings) -> None:
    _, (level,) = levels.step(levels.State(), levels.StockEvent("e", MORNING, "S1", "P1", "receipt", 7))
    assert level.counted_quantity is None
    write_lake(settings, [line("a", FIRST)])
    write(settings, STOCK_LEVELS.silver_table, [row_of(STOCK_LEVELS, level.message(), 0)])
    opened = open_warehouse(settings)
    result = opened.load(manifest(settings, STOCK_LEVELS.silver_table, [FIRST]), "run-1")
    assert (changes(result), result.dates[0].sums["counted_quantity"]) == ((1, 0, 0), 0)
    assert opened.reconcile(STOCK_LEVELS.silver_table, [FIRST]) == []


def test_a_lake_in_a_bucket_is_loaded_by_the_stage_and_nothing_is_sent(
    in_bucket: Settings, server: SnowflakeServer
) -> None:
    settings = in_bucket
    write_lake(
        settings, [line("gone", FIRST), line("changed", FIRST), line("other", SECOND)], batches=[batch(0, [FIRST])]
    )
    server.put_stage_on(settings, "LAKE")
    server.bodies.clear()
    result = load(settings)
    assert (result.rows, *changes(result)) == (3, 3, 0, 0)
    assert result.bytes == manifest(settings, LINES).bytes > 0
    replace_day(settings, LINES, FIRST, [line("changed", FIRST, quantity=2), line("new", FIRST)])
    assert changes(load(settings, [FIRST])) == (1, 1, 1)  # the files of the version before are still in the bucket
    assert [row["event_id"] for row in raw(settings, "event_id, quantity")] == ["changed", "new", "other"]
    opened = open_warehouse(settings)
    assert changes(opened.load(manifest(settings, INGEST_BATCHES, [FIRST]), "run-1")) == (1, 0, 0)
    assert [opened.reconcile(table, [FIRST]) for table in (LINES, INGEST_BATCHES)] == [[], []]
    assert [body for body in server.bodies if '"put ' in body] == []


def test_a_load_says_its_bytes_seconds_and_queries_in_dagster(settings: Settings) -> None:
    write_lake(settings, [line("a", FIRST), line("b", SECOND)])
    definitions = warehouse.build(settings)
    key = warehouse.raw_key(LINES)
    done = dg.materialize([definitions.get_assets_def(key)], partition_key=str(FIRST))
    (said,) = (entry.metadata for entry in done.asset_materializations_for_node("raw_transaction_lines"))
    assert said["bytes"].value == manifest(settings, LINES, [FIRST]).bytes
    assert said["seconds"].value > 0
    assert len(said["query ids"].value) == len(set(said["query ids"].value)) > 5


def test_a_stage_that_is_not_there_or_not_on_the_lake_is_named(in_bucket: Settings, server: SnowflakeServer) -> None:
    write_lake(in_bucket, [line("a", FIRST)])
    with pytest.raises(RetailError, match=r"does not exist.*SNOWFLAKE_STAGE STREAMING\.LAKE .*docs/operate/snowflake"):
        load(in_bucket)
    server.put_stage_on(in_bucket.model_copy(update={"s3_prefix": "another"}), "LAKE")
    with pytest.raises(RetailError, match=r"SNOWFLAKE_STAGE STREAMING\.LAKE"):
        load(in_bucket)


def test_a_key_that_silver_holds_twice_stops_the_load(settings: Settings) -> None:
    write_lake(settings, [line("a", FIRST), line("a", FIRST, quantity=2)])
    with pytest.raises(RetailError, match="holds 1 keys"):
        load(settings)
    assert raw(settings, "event_id, quantity") == []


def test_a_load_that_fails_after_its_merge_leaves_nothing(settings: Settings, server: SnowflakeServer) -> None:
    write_lake(settings, [line("a", FIRST)])
    open_warehouse(settings).create_tables()
    with (
        server.failing(Fault("delete from")),
        pytest.raises(RetailError, match=r"Snowflake refused a statement: .*told to fail here"),
    ):
        load(settings)
    assert raw(settings, "event_id, quantity") == []
    assert changes(load(settings)) == (1, 0, 0)


@pytest.mark.parametrize("code", ["000625", "390114", "503"])
@pytest.mark.usefixtures("impatient")
def test_what_can_pass_is_tried_again_whole_and_loads_once(
    settings: Settings, server: SnowflakeServer, code: str
) -> None:
    write_lake(settings, [line("a", FIRST), line("b", FIRST)])
    with server.failing(Fault("merge into", code, times=2)) as fault:
        assert changes(load(settings, [FIRST])) == (2, 0, 0)
    assert fault.met == 3
    assert raw(settings, "count(*) as loads, max(row_count) as row_count", "loads") == [{"loads": 1, "row_count": 2}]


@pytest.mark.usefixtures("impatient")
def test_a_commit_whose_answer_is_lost_is_found_done(settings: Settings, server: SnowflakeServer) -> None:
    write_lake(settings, [line("a", FIRST), line("b", FIRST)])
    with server.failing(Fault('"commit"', "390114", after=True)):
        result = load(settings, [FIRST])
    assert (result.rows, *changes(result)) == (2, 0, 0, 0)
    assert len(raw(settings, "event_id, quantity")) == 2
    assert open_warehouse(settings).reconcile(LINES, [FIRST]) == []


@pytest.mark.usefixtures("impatient")
def test_what_does_not_pass_in_four_times_is_one_line(settings: Settings, server: SnowflakeServer) -> None:
    write_lake(settings, [line("a", FIRST)])
    with (
        server.failing(Fault("merge into", "000625", times=9)) as fault,
        pytest.raises(RetailError, match=r"^Snowflake refused a statement: 000625 .*look at its query history$"),
    ):
        load(settings)
    assert fault.met == 4


@pytest.mark.parametrize("code", ["001003", "003001", "000604"])
@pytest.mark.usefixtures("impatient")
def test_a_syntax_error_a_missing_right_and_a_stopped_statement_are_not_tried_again(
    settings: Settings, server: SnowflakeServer, code: str
) -> None:
    write_lake(settings, [line("a", FIRST)])
    with server.failing(Fault("merge into", code)) as fault, pytest.raises(RetailError, match=f"statement: {code} "):
        load(settings)
    assert fault.met == 1


@pytest.mark.parametrize("passphrase", [None, "correct horse"])
@pytest.mark.parametrize("by_text", [False, True], ids=["file", "text"])
def test_a_key_opens_the_warehouse_and_another_does_not(
    settings: Settings, server: SnowflakeServer, tmp_path: Path, passphrase: str | None, by_text: bool
) -> None:
    def given(name: str, key: rsa.RSAPrivateKey) -> Settings:
        found = with_key(settings, tmp_path / name, key, passphrase)
        return as_text(found) if by_text else found

    ours = given("ours.p8", rsa_key())
    server.public_key = rsa_key().public_key()
    assert open_warehouse(ours).query("select 1 as one").to_pylist() == [{"one": 1}]
    another = given("another.p8", rsa.generate_private_key(65537, 2048))
    with pytest.raises(RetailError, match=r"refuses the login: .*JWT token is invalid.*SNOWFLAKE_PRIVATE_KEY_PATH"):
        open_warehouse(another).query("select 1")


def test_dbt_logs_in_with_a_key_from_the_environment(
    settings: Settings, server: SnowflakeServer, tmp_path: Path
) -> None:
    ours = as_text(with_key(settings, tmp_path / "key.p8", rsa_key(), "correct horse"))
    server.public_key = rsa_key().public_key()
    assert DbtProject(tmp_path).run(ours, "seed", (), "--select", "fx_rates") == (True, {})
    assert fx_rates_loaded(open_warehouse(ours))
    secret = ours.snowflake_private_key.get_secret_value().splitlines()[3]
    written = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file() and file.suffix != ".p8")
    assert b"fx_rates" in written
    assert [text for text in (secret, "correct horse") if text.encode() in written or text in repr(ours)] == []


def test_a_key_that_cannot_be_used_is_one_line_with_the_mend(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "key.p8"
    away = {"snowflake_password": None, "snowflake_private_key_path": file}
    locked = with_key(settings, file, rsa_key(), "right").model_copy
    refused: list[tuple[Settings, str]] = [
        (
            locked(update={"snowflake_private_key_passphrase": None}),
            "is encrypted; set SNOWFLAKE_PRIVATE_KEY_PASSPHRASE",
        ),
        (
            locked(update={"snowflake_private_key_passphrase": SecretStr("wr0ng")}),
            "cannot be decrypted; check SNOWFLAKE_PRIVATE_KEY_PASSPHRASE",
        ),
    ]
    for given, said in refused:
        assert said_of(given).endswith(said)
    open_key = with_key(settings, file, rsa_key(), None)
    needless = open_key.model_copy(update={"snowflake_private_key_passphrase": SecretStr("needless")})
    assert said_of(needless).endswith("is not encrypted; unset SNOWFLAKE_PRIVATE_KEY_PASSPHRASE")
    public = rsa_key().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    for text in (public, b"", b"\x00\xff", b"-----BEGIN PRIVATE KEY-----\nnot base64\n-----END PRIVATE KEY-----\n"):
        file.write_bytes(text)
        assert "is not a private key in PEM form" in said_of(settings.model_copy(update=away))
    file.unlink()
    assert "cannot be read: No such file or directory" in said_of(settings.model_copy(update=away))
    with pytest.raises(
        RetailError, match=r"^SNOWFLAKE_PRIVATE_KEY is encrypted; set SNOWFLAKE_PRIVATE_KEY_PASSPHRASE$"
    ):
        open_warehouse(
            as_text(with_key(settings, file, rsa_key(), "right"), snowflake_private_key_passphrase=None)
        ).query("select 1")


def said_of(settings: Settings) -> str:
    with pytest.raises(RetailError) as caught:
        open_warehouse(settings).query("select 1")
    said = str(caught.value)
    assert said.startswith(f"SNOWFLAKE_PRIVATE_KEY_PATH {settings.snowflake_private_key_path} ")
    assert "wr0ng" not in said
    return said


@lru_cache
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def with_key(settings: Settings, file: Path, key: rsa.RSAPrivateKey, passphrase: str | None) -> Settings:
    """``settings`` that log in with ``key``, kept in ``file`` as Snowflake's manual has it made."""
    locked = NoEncryption() if passphrase is None else BestAvailableEncryption(passphrase.encode())
    file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, locked))
    given = {"snowflake_password": None, "snowflake_private_key_path": file}
    return Settings(
        _env_file=None, **(settings.model_dump() | given | {"snowflake_private_key_passphrase": passphrase})
    )


def as_text(settings: Settings, **changes: Any) -> Settings:
    """``settings`` with the key itself in place of its file."""
    pem = settings.snowflake_private_key_path.read_text()
    given = {"snowflake_private_key_path": None, "snowflake_private_key": f"\n{pem}\n"}
    return load_settings(env_file=None, **(settings.model_dump() | given | changes))


def test_a_wrong_password_is_one_line_without_the_password(settings: Settings) -> None:
    wrong = settings.model_copy(update={"snowflake_password": type(settings.snowflake_password)("not-it-at-all")})
    with pytest.raises(RetailError, match=r"refuses the login: .*Incorrect username or password") as caught:
        open_warehouse(wrong).query("select 1")
    assert "not-it-at-all" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_account_that_does_not_answer_is_one_line(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snowflake_session, "_LOGIN_SECONDS", 2)
    away = settings.model_copy(update={"snowflake_port": free_port_pair()})
    with pytest.raises(RetailError, match=r"Snowflake cannot be reached"):
        open_warehouse(away).query("select 1")


def looked(settings: Settings) -> dict[str, tuple[bool, str, str]]:
    """What ``retail doctor`` finds of the warehouse."""
    return {entry.what: (entry.good, entry.found, entry.mend) for entry in examination._warehouse(settings)}


def test_the_doctor_says_what_the_login_has(in_bucket: Settings, server: SnowflakeServer) -> None:
    database = in_bucket.snowflake_database
    server.put_stage_on(in_bucket, "LAKE")
    write_lake(in_bucket, [line("a", FIRST)])
    expected = {
        "Snowflake": (True, f"{USER} is in test as role LOADER", ""),
        "Snowflake warehouse": (True, "LOADING", ""),
        "Snowflake database": (True, database, ""),
        "Snowflake stage": (True, f"s3://{in_bucket.s3_bucket}/retail/lake/", ""),
        "Snowflake rights": (True, "may create in STREAMING", ""),
        "warehouse": (True, "empty", ""),
    }
    assert looked(in_bucket) == expected
    load(in_bucket, [FIRST])
    assert looked(in_bucket) == expected | {"warehouse": (True, f"1 loads, the last day {FIRST}", "")}


def test_the_doctor_names_what_is_missing_with_its_mend(
    in_bucket: Settings, server: SnowflakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "not_granted", ("warehouse",))
    found = looked(in_bucket)
    assert found["Snowflake warehouse"] == (
        False,
        "no LOADING for this role",
        "create it, or `grant usage on warehouse LOADING to role LOADER`",
    )
    good, said, mend = found["Snowflake stage"]
    assert (good, said) == (False, "no STREAMING.LAKE for this role")
    assert f"create SNOWFLAKE_STAGE STREAMING.LAKE on s3://{in_bucket.s3_bucket}/retail/lake/" in mend
    server.put_stage_on(in_bucket.model_copy(update={"s3_prefix": "another"}), "LAKE")
    assert looked(in_bucket)["Snowflake stage"][:2] == (False, f"s3://{in_bucket.s3_bucket}/another/lake/")
    with (
        server.failing(Fault("create schema if not exists", "003001")),
        pytest.raises(RetailError, match=r"`grant usage, create schema on database \w+ to role LOADER`"),
    ):
        looked(in_bucket)


def test_a_mart_that_was_never_built_is_named(settings: Settings) -> None:
    open_warehouse(settings).create_tables()
    with pytest.raises(RetailError, match=r"(?i)not everything yet.*agg_daily_kpis"):
        open_warehouse(settings).query("select * from raw.agg_daily_kpis")


def test_the_password_is_in_no_statement(settings: Settings, server: SnowflakeServer) -> None:
    server.bodies.clear()
    write_lake(settings, [line("a", FIRST)])
    load(settings)
    assert server.bodies
    assert [body for body in server.bodies if PASSWORD in body] == []


def test_each_missing_setting_is_named_at_once(in_bucket: Settings) -> None:
    with pytest.raises(SettingsError, match="SNOWFLAKE_STAGE is missing"):
        load_settings(env_file=None, **(in_bucket.model_dump() | {"snowflake_stage": None}))
    with pytest.raises(SettingsError, match=r"SNOWFLAKE_ACCOUNT, SNOWFLAKE_USER.*SNOWFLAKE_PRIVATE_KEY_PATH"):
        load_settings(env_file=None, warehouse="snowflake")


def test_one_way_to_log_in_is_kept(settings: Settings) -> None:
    with pytest.raises(SettingsError, match="SNOWFLAKE_PRIVATE_KEY and SNOWFLAKE_PASSWORD are set; keep one"):
        load_settings(env_file=None, **(settings.model_dump() | {"snowflake_private_key": "pem"}))
    with pytest.raises(SettingsError, match="SNOWFLAKE_PRIVATE_KEY_PASSPHRASE belongs to"):
        load_settings(env_file=None, **(settings.model_dump() | {"snowflake_private_key_passphrase": "needless"}))
