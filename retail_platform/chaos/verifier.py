"""Is what Kafka acknowledged in the lake, all of it, once, to the cent? Answered with arithmetic of its own.

Nothing of the pipeline's own code has a say: the acknowledged records come from the producer's ledger, the tables from
their Parquet files and their Delta logs, and DuckDB counts. Only the contracts' names of topics and tables are shared.
Where reactions ran, what they said is looked at too (:mod:`retail_platform.chaos.reactions`), and the lake must have it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from retail_platform.chaos.days import acknowledged_days, kpi_findings, warehouse_findings
from retail_platform.chaos.finding import Finding, Verdict
from retail_platform.chaos.ledger import ledger_path
from retail_platform.chaos.reactions import COUNTS as REACTION_COUNTS
from retail_platform.chaos.reactions import load_said, reaction_findings
from retail_platform.chaos.reader import insert_only
from retail_platform.contracts import BRONZE_EVENTS, INGEST_BATCHES, INVENTORY, QUARANTINE_EVENTS
from retail_platform.contracts.model import TopicContract
from retail_platform.errors import RetailError
from retail_platform.settings import Settings

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

#: The producer's ledger, the path of the file a parameter.
LEDGER = """
    create table ledger as from read_json(?, format = 'newline_delimited', columns = {topic: 'varchar',
    'partition': 'integer', 'offset': 'bigint', label: 'varchar', sha256: 'varchar', event_id: 'varchar',
    business_date: 'date', amounts: 'decimal(18,4)[]'})"""

#: Each promise with the query of what breaks it; the first column of a row is the example.
PROMISES = {
    "every acknowledged record is in bronze, byte for byte": """
        select l.topic || '/' || l.partition || '/' || l.sha256 from
        (select topic, "partition", sha256, count(*) as n from ledger group by all) l left join
        (select topic, "partition", sha256, count(*) as n from bronze group by all) b using (topic, "partition", sha256)
        where l.n > coalesce(b.n, 0)""",
    "bronze has no record that was not acknowledged": """
        select b.topic || '/' || b.partition || '/' || b.sha256 from
        (select topic, "partition", sha256, count(*) as n from bronze group by all) b left join
        (select topic, "partition", sha256, count(*) as n from ledger group by all) l using (topic, "partition", sha256)
        where b.n > coalesce(l.n, 0)""",
    "every acknowledged offset holds the acknowledged bytes": """
        select l.topic || '/' || l.partition || '/' || l.offset from ledger l left join bronze b
        on b.topic = l.topic and b.partition = l.partition and b.offset = l.offset
        where l.offset >= 0 and b.sha256 is distinct from l.sha256""",
    "bronze has each record once": """
        select topic || '/' || "partition" || '/' || "offset" from bronze
        group by topic, "partition", "offset" having count(*) > 1""",
    "every acknowledged event is in silver": """
        select topic || '/' || event_id from (select distinct topic, event_id from events) anti join silver
        using (topic, event_id)""",
    "silver has no event that was not acknowledged": """
        select topic || '/' || event_id from (select distinct topic, event_id from silver) anti join events
        using (topic, event_id)""",
    "silver has each event once": """
        select topic || '/' || event_id from silver group by topic, event_id
        having count(distinct ("partition", "offset")) > 1 or count(distinct line_number) < count(*)""",
    "every event in silver has all its lines, to the cent": """
        select e.topic || '/' || e.event_id from
        (select topic, event_id, any_value(amounts) as amounts from events group by all) e join
        (select topic, event_id, list(amount order by line_number) as amounts
         from (select distinct topic, event_id, line_number, amount from silver) group by all) s using (topic, event_id)
        where e.amounts is distinct from s.amounts""",
    "every event in silver comes from a record that held it": """
        select s.topic || '/' || s.event_id from silver s left join bronze b using (topic, "partition", "offset")
        where not exists (from ledger l where l.topic = s.topic and l.event_id = s.event_id and l.sha256 = b.sha256)""",
    "every broken record is in quarantine, whole, and nothing else": """
        select coalesce(l.topic, q.topic) || '/' || coalesce(l.partition, q.partition) from
        (select topic, "partition", sha256, count(*) as n from ledger where event_id is null group by all) l full join
        (select topic, "partition", sha256, count(*) as n from quarantine group by all) q using (topic, "partition", sha256)
        where l.n is distinct from q.n""",
    "quarantine has each record once": """
        select topic || '/' || "partition" || '/' || "offset" from quarantine
        group by topic, "partition", "offset" having count(*) > 1""",
    "bronze = silver + quarantine + duplicates": """
        select topic || ': ' || bronze || ' <> ' || silver || ' + ' || quarantine || ' + ' || duplicates from balance
        where bronze <> silver + quarantine + duplicates""",
    "the ingest's own ledger counted the same": """
        select topic || ': ' || counted_in || '/' || counted_events || '/' || counted_refused || '/' || counted_duplicates
        from balance where (counted_in, counted_events, counted_refused, counted_duplicates)
        is distinct from (bronze, silver, quarantine, duplicates)""",
    "each day's sum is that of what was acknowledged": """
        select coalesce(e.topic, s.topic) || '/' || coalesce(e.business_date, s.business_date) from
        (select topic, business_date, count(*) as events, sum(list_sum(amounts)) as total from
         (select distinct topic, event_id, business_date, amounts from events) group by all) e full join
        (select topic, business_date, count(distinct event_id) as events, sum(amount) as total from silver group by all) s
        using (topic, business_date) where (e.events, e.total) is distinct from (s.events, s.total)""",
    "no version of silver ever held half a transaction": """
        select c.topic || '/' || c.event_id || ' at version ' || c.version from
        (select topic, event_id, version, count(*) as lines from commits group by all) c join
        (select topic, event_id, any_value(len(amounts)) as lines from events group by all) e using (topic, event_id)
        where c.lines <> e.lines""",
}

_COUNTS = {
    "acknowledged": "select count(*) from ledger where label <> 'reaction'",
    "acknowledged, offset known": "select count(*) from ledger where label <> 'reaction' and \"offset\" >= 0",
    "events": "select count(distinct (topic, event_id)) from events",
    "bronze": "select count(*) from bronze",
    "silver events": "select count(distinct (topic, event_id)) from silver",
    "silver lines": "select count(*) from silver",
    "quarantine": "select count(*) from quarantine",
    "duplicates": "select coalesce(sum(duplicates), 0)::bigint from balance",
    "days": "select count(distinct business_date) from silver",
}


@dataclass(frozen=True, slots=True)
class Commit:
    """One commit of a Delta log: the files it added and removed, each with whether that changed data."""

    version: int
    added: dict[str, bool]
    removed: dict[str, bool]


def verify(settings: Settings, ledger: Path | None = None) -> Verdict:
    """Compare a chaos home, when nothing writes it any more, with the producer's ledger: lake, warehouse, KPI file.

    The warehouse and the KPI file are looked at where they were made, and the reactions where they ran.

    Raises:
        RetailError: there is no ledger, or no lake.
    """
    import duckdb

    path = ledger or ledger_path(settings)
    if not path.exists():
        raise RetailError(f"{path} is not there; a lake can be verified only against the ledger of `retail chaos run`")
    findings = list(_log_findings(settings))
    with duckdb.connect(":memory:") as connection:
        connection.execute("set threads = 2")
        connection.execute("set TimeZone = 'UTC'")
        days = acknowledged_days(path)
        _load(connection, settings, path)
        reacted = load_said(connection, settings)
        findings += _broken_promises(connection)
        if reacted:
            findings += reaction_findings(connection, settings, days)
        wanted = _COUNTS | (REACTION_COUNTS if reacted else {})
        counts = {name: int(_all(connection, sql)[0][0]) for name, sql in wanted.items()}
    findings += [*warehouse_findings(settings, days), *kpi_findings(settings, days)]
    counts["versions"] = sum(len(list(commits(settings.lake_dir / table.path))) for table in insert_only(settings))
    return Verdict(counts, tuple(findings))


def commits(table: Path) -> Iterator[Commit]:
    """The commits of a Delta table that are in its log, by version."""
    for file in sorted((table / "_delta_log").glob("*.json")):
        actions = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        yield Commit(int(file.stem), _changes(actions, "add"), _changes(actions, "remove"))


def _changes(actions: list[dict[str, Any]], kind: str) -> dict[str, bool]:
    found = (action[kind] for action in actions if kind in action)
    return {unquote(change["path"]): bool(change["dataChange"]) for change in found}


def _broken_promises(connection: DuckDBPyConnection) -> Iterator[Finding]:
    for promise, sql in PROMISES.items():
        broken = _all(connection, sql)
        if broken:
            yield Finding(promise, len(broken), str(broken[0][0]))


def _log_findings(settings: Settings) -> Iterator[Finding]:
    """What the Delta logs themselves say: no version is missing, no file is missing, nothing was taken away."""
    for table in insert_only(settings):
        root = settings.lake_dir / table.path
        found = list(commits(root))
        if not found:
            raise RetailError(f"{root} is not a Delta table; the stream never ran on this home")
        holes = set(range(found[-1].version + 1)) - {commit.version for commit in found}
        if holes:
            yield Finding("the log has every version", len(holes), f"{table.path}: version {min(holes)}")
        taken = {path: commit.version for commit in found for path, data in commit.removed.items() if data}
        if taken:
            path, version = next(iter(taken.items()))
            yield Finding("nothing is ever taken away", len(taken), f"{table.path}: {path} at version {version}")
        missing = [path for path in _newest(found) if not (root / path).exists()]
        if missing:
            yield Finding("every file of the newest version is there", len(missing), f"{table.path}: {missing[0]}")


def _newest(found: list[Commit]) -> list[str]:
    """The files of the newest version."""
    files: dict[str, None] = {}
    for commit in found:
        files |= dict.fromkeys(commit.added)
        for path in commit.removed:
            files.pop(path, None)
    return list(files)


# --- Loading ----------------------------------------------------------------------------------------------------------


def _load(connection: DuckDBPyConnection, settings: Settings, ledger: Path) -> None:
    connection.execute(LEDGER, [str(ledger)])
    connection.execute("create view events as from ledger where event_id is not null")
    for name, table in (("bronze", BRONZE_EVENTS), ("quarantine", QUARANTINE_EVENTS)):
        _create(
            connection,
            f'create table {name} as select topic, "partition", "offset", coalesce(sha256(value), \'\') as sha256',
            settings.lake_dir / table.path,
            'topic varchar, "partition" integer, "offset" bigint, value blob',
        )
    _load_silver(connection, settings)
    _load_balance(connection, settings)


def _load_silver(connection: DuckDBPyConnection, settings: Settings) -> None:
    columns = "topic varchar, event_id varchar, line_number integer, amount decimal(18,4), business_date date, "
    connection.execute(f'create table silver ({columns} "partition" integer, "offset" bigint)')
    connection.execute("create table commits (topic varchar, event_id varchar, version bigint)")
    for contract in settings.topics:
        root = settings.lake_dir / contract.silver_table.path
        files = _files(root)
        line, amount = _line_and_amount(contract)
        if files:
            connection.execute(
                f"insert into silver select ?, lower(event_id), {line}, {amount}, business_date, "
                '"partition", "offset" from read_parquet(?, hive_partitioning = true)',
                [contract.topic, files],
            )
        by_file = {
            str(root / path): commit.version for commit in commits(root) for path, data in commit.added.items() if data
        }
        present = [path for path in by_file if Path(path).exists()]
        if present:
            connection.execute("create or replace table added (filename varchar, version bigint)")
            connection.executemany("insert into added values (?, ?)", list(by_file.items()))
            connection.execute(
                "insert into commits select ?, lower(event_id), version from "
                "read_parquet(?, hive_partitioning = true, filename = true) join added using (filename)",
                [contract.topic, present],
            )


def _load_balance(connection: DuckDBPyConnection, settings: Settings) -> None:
    """One row a topic: what is in the tables, and what the ingest's own ledger says is."""
    _create(
        connection,
        "create table batches as select topic, rows_in, events, refused, duplicates",
        settings.lake_dir / INGEST_BATCHES.path,
        "topic varchar, rows_in bigint, events bigint, refused bigint, duplicates bigint",
    )
    connection.execute("""
        create view balance as select t.topic,
        (select count(*) from bronze b where b.topic = t.topic) as bronze,
        (select count(distinct event_id) from silver s where s.topic = t.topic) as silver,
        (select count(*) from quarantine q where q.topic = t.topic) as quarantine,
        (select count(*) - count(distinct event_id) from events e where e.topic = t.topic) as duplicates,
        (select sum(rows_in)::bigint from batches b where b.topic = t.topic) as counted_in,
        (select sum(events)::bigint from batches b where b.topic = t.topic) as counted_events,
        (select sum(refused)::bigint from batches b where b.topic = t.topic) as counted_refused,
        (select sum(duplicates)::bigint from batches b where b.topic = t.topic) as counted_duplicates
        from (select distinct topic from ledger) t""")


def _create(connection: DuckDBPyConnection, create: str, table: Path, columns: str) -> None:
    """Run ``create`` over the table's newest version, or over no rows where it has none."""
    files = _files(table)
    if files:
        connection.execute(f"{create} from read_parquet($1, hive_partitioning = true)", [files])
    else:
        connection.execute(f"create or replace temp table nothing ({columns})")
        connection.execute(f"{create} from nothing")


def _files(table: Path) -> list[str]:
    """The files of the newest version that are there; those that are not, are a finding of the log."""
    return [str(table / path) for path in _newest(list(commits(table))) if (table / path).exists()]


def _line_and_amount(contract: TopicContract) -> tuple[str, str]:
    if contract.lines is not None:
        return "line_number", "net_amount"
    return "1", "quantity" if contract is INVENTORY else "0"


def _all(connection: DuckDBPyConnection, sql: str) -> list[tuple[Any, ...]]:
    return connection.execute(sql).fetchall()
