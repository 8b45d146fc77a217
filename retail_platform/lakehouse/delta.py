"""A Delta table as its only Spark writer sees it: created from its contract, appended to exactly once, replaced by day.

Every commit carries, in ``userMetadata``, the last micro-batch of every streaming query that writes the table. So the
newest commit alone tells whether a batch that is run again after a crash is already in. (Delta's own ``txnVersion``
does the same for four times the cost of a commit; docs/architecture.md.)
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import deltalake
import pyarrow as pa
from delta.tables import DeltaTable
from pyspark.sql import DataFrame, SparkSession

from retail_platform.contracts.model import Column, Table
from retail_platform.errors import RetailError
from retail_platform.lakehouse.location import has_delta, open_delta, table_uri
from retail_platform.lakehouse.manifest import GAINED_COLUMNS
from retail_platform.settings import Settings

_LISTING_TASKS = 8
# Delta's own way to a checkpoint of the log is a job of Spark within the commit: a batch that takes seconds instead of one.
# So it is asked for one only now and then, when it clears away what is old of the log as well.
_LOG_COMMITS = 100
_PROPERTIES = {"delta.checkpointInterval": "1000"}
_USER_METADATA = "spark.databricks.delta.commitInfo.userMetadata"
_WRITER = "retail.writer"
#: Columns worth file statistics: what reads are pruned by. Statistics on every column would cost each small commit.
_STATISTICS = ("event_id", "event_time", "append_time", "partition", "offset", "minute", "batch_id")


@dataclass(frozen=True, slots=True)
class Batch:
    """One micro-batch: the query's identity (its checkpoint's), and the batch's number."""

    query_id: str
    batch_id: int


@dataclass
class LakeTable:
    """One table of the lake, open for writing. All writers in this process share one instance; see :func:`open_table`.

    ``between_batches`` is held by a micro-batch for its whole length, and by work that must not fall within one.
    """

    spark: SparkSession
    table: Table
    path: str
    writers: dict[str, int]
    open_without_spark: Callable[[], deltalake.DeltaTable]
    commits_since_checkpoint: int = 0
    between_batches: threading.Lock = field(default_factory=threading.Lock)
    _commit: threading.Lock = field(default_factory=threading.Lock)

    @property
    def log_is_long(self) -> bool:
        """Whether its log has had about a hundred commits since a checkpoint, all of which readers have to go through."""
        return self.commits_since_checkpoint >= _LOG_COMMITS

    def checkpoint_log(self) -> None:
        """Write a checkpoint of the log's newest version, without Spark, while batches go on."""
        self.commits_since_checkpoint = 0
        self.open_without_spark().create_checkpoint()

    def has(self, batch: Batch) -> bool:
        """Whether the table already holds what ``batch`` writes to it."""
        return self.writers.get(batch.query_id, -1) >= batch.batch_id

    def append(self, rows: DataFrame | Mapping[str, Any], batch: Batch) -> None:
        """Append ``rows`` as the work of ``batch``, in one commit; nothing happens when they are already in.

        One row that this process has made itself, {column: value}, goes without Spark: a job and Delta's commit take
        Spark some hundred milliseconds, and delta-rs ten.
        """
        with self._commit:
            if self.has(batch):
                return
            after = {**self.writers, batch.query_id: batch.batch_id}
            if isinstance(rows, DataFrame):
                rows.write.format("delta").mode("append").option("userMetadata", _metadata(after)).save(self.path)
            else:
                self._append_one(rows, _metadata(after))
            self.writers = after
            self.commits_since_checkpoint += 1

    def _append_one(self, row: Mapping[str, Any], metadata: str) -> None:
        log = self._log
        log.update_incremental()
        deltalake.write_deltalake(
            log,
            pa.Table.from_pylist([dict(row)], pa.schema(log.schema().to_arrow())),
            mode="append",
            commit_properties=deltalake.CommitProperties(custom_metadata={"userMetadata": metadata}),
        )

    def replace(self, rows: DataFrame, condition: str) -> None:
        """Replace the rows where ``condition`` (on partition columns) holds by ``rows``, in one commit."""
        with self._commit:
            writer = rows.write.format("delta").mode("overwrite").option("replaceWhere", condition)
            writer.option("userMetadata", _metadata(self.writers)).save(self.path)
            self.commits_since_checkpoint += 1

    def hand_over(self, query_id: str) -> None:
        """Forget every writer so far: from this commit on only the query of that identity goes on with the table."""
        self.writers = {query_id: -1}
        self.set_properties({_WRITER: query_id})

    @contextlib.contextmanager
    def maintenance(self, small_bytes: int | None = None) -> Iterator[DeltaTable]:
        """The table for OPTIMIZE or MERGE: no batch writes meanwhile, and the commit carries the identities on.

        OPTIMIZE rewrites files smaller than ``small_bytes``; without it, than Delta's own 1 GiB.
        """
        with self._carrying_on() as session:
            if small_bytes is not None:
                session.conf.set("spark.databricks.delta.optimize.minFileSize", str(small_bytes))
            yield DeltaTable.forPath(session, self.path)

    def set_properties(self, properties: Mapping[str, str]) -> None:
        """Set the table's Delta properties, in a commit that carries the identities on."""
        pairs = ", ".join(f"'{name}' = '{value}'" for name, value in properties.items())
        with self._carrying_on() as session:
            session.sql(f"alter table {self._name} set tblproperties ({pairs})")

    def add_columns(self, columns: Sequence[Column]) -> None:
        """Add ``columns``; no file is written again, and the rows that are there have null in them."""
        self.set_properties({GAINED_COLUMNS: "true"})
        listed = ", ".join(f"`{column.name}` {column.type.spark} comment {_quoted(column)}" for column in columns)
        with self._carrying_on() as session:
            session.sql(f"alter table {self._name} add columns ({listed})")

    def vacuum(self, hours: float) -> None:
        """Delete the files that no version of the last ``hours`` needs. Batches go on meanwhile: their files are younger.

        Nothing is committed: Delta's own entries for VACUUM come when it starts and when it ends, and the second would
        carry identities on that a batch has moved past meanwhile.
        """
        session = self.spark.newSession()
        session.conf.set("spark.databricks.delta.vacuum.logging.enabled", "false")
        # Delta refuses less than its own default, a week; here the caller decides.
        session.conf.set("spark.databricks.delta.retentionDurationCheck.enabled", "false")
        # The default is to list the folders in 10,000 tasks: on two cores that takes minutes a table.
        session.conf.set("spark.sql.sources.parallelPartitionDiscovery.parallelism", str(_LISTING_TASKS))
        DeltaTable.forPath(session, self.path).vacuum(hours)

    @property
    def _name(self) -> str:
        return f"delta.`{self.path.replace('`', '``')}`"

    @cached_property
    def _log(self) -> deltalake.DeltaTable:
        return self.open_without_spark()

    @contextlib.contextmanager
    def _carrying_on(self) -> Iterator[SparkSession]:
        with self._commit:
            session = self.spark.newSession()
            session.conf.set(_USER_METADATA, _metadata(self.writers))
            yield session
            self.commits_since_checkpoint += 1

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Nothing is committed to the table until the end of the block."""
        with self._commit:
            yield

    def read(self) -> DataFrame:
        """The newest version."""
        return self.spark.read.format("delta").load(self.path)


def open_table(spark: SparkSession, settings: Settings, table: Table) -> LakeTable:
    """Create ``table`` where the lake lacks it, and read from its newest commit what is in it.

    Optional columns that the contract has gained since are added.

    Raises:
        RetailError: the newest commit was not made by this platform; or a column that the table lacks is not optional.
    """
    path = table_uri(settings, table)
    if not has_delta(settings, table):
        _create(spark, path, table)
    # Read without Spark: a commit file says it all, and Spark's own history costs a job a table at every start.
    log = open_delta(settings, table)
    newest = log.history(1)[0]
    try:
        writers = json.loads(newest["userMetadata"])["writers"]
    except (TypeError, ValueError, KeyError):
        raise RetailError(
            f"{path}: version {newest['version']} was not written by this platform, so it cannot tell what is in; "
            "restore the version before it (RESTORE TABLE … TO VERSION AS OF) or rebuild the table"
        ) from None
    since = newest["version"] % _LOG_COMMITS
    opened = LakeTable(spark, table, path, dict(writers), lambda: open_delta(settings, table), since)
    if not _PROPERTIES.items() <= log.metadata().configuration.items():
        opened.set_properties(_PROPERTIES)
    gained = _gained(table, path, [entry.name for entry in log.schema().fields])
    if gained:
        opened.add_columns(gained)
    return opened


def _gained(table: Table, path: str, names: Sequence[str]) -> list[Column]:
    gained = [column for column in table.columns if column.name not in names]
    required = [column.name for column in gained if not column.nullable]
    if required:
        raise RetailError(
            f"{path} has no column {required[0]}, which its contract requires, and the rows that are there cannot have it; "
            "make the field optional, or start over (`retail reset`)"
        )
    return gained


def _quoted(column: Column) -> str:
    escaped = column.description.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _create(spark: SparkSession, path: str, table: Table) -> None:
    statistics = [name for name in table.column_names if name in _STATISTICS]
    session = spark.newSession()
    session.conf.set(_USER_METADATA, _metadata({}))
    builder = DeltaTable.createIfNotExists(session).location(path).comment(table.description)
    for column in table.columns:
        builder = builder.addColumn(
            column.name, column.type.spark, nullable=column.nullable, comment=column.description
        )
    if table.partition_by:
        builder = builder.partitionedBy(*table.partition_by)
    for name, value in {**_PROPERTIES, "delta.dataSkippingStatsColumns": ",".join(statistics)}.items():
        builder = builder.property(name, value)
    builder.execute()


def _metadata(writers: dict[str, int]) -> str:
    return json.dumps({"writers": writers}, sort_keys=True)
