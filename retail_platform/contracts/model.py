"""The vocabulary of a contract: column types, event fields, rules, topics, tables.

Declarations only say *what* holds. How Spark validates it is in ``ingest/``, how a warehouse stores it in ``warehouse/``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property


@dataclass(frozen=True, slots=True)
class ColumnType:
    """A column's type as each engine spells it.

    ``dbt`` is the spelling that both dbt targets accept in a model contract. Timestamps are UTC; outside Spark they are
    stored without a zone, in microseconds.
    """

    spark: str
    duckdb: str
    snowflake: str

    @property
    def dbt(self) -> str:
        """The spelling used in dbt contracts: the same in DuckDB and Snowflake."""
        return self.duckdb


STRING = ColumnType("string", "varchar", "varchar")
INTEGER = ColumnType("int", "integer", "integer")
LONG = ColumnType("bigint", "bigint", "bigint")
DOUBLE = ColumnType("double", "double", "double")
DATE = ColumnType("date", "date", "date")
TIMESTAMP = ColumnType("timestamp", "timestamp", "timestamp_ntz(6)")
BINARY = ColumnType("binary", "blob", "binary")
STRINGS = ColumnType("array<string>", "varchar[]", "array")
DATES = ColumnType("array<date>", "date[]", "array")
HEADERS = ColumnType("array<struct<key:string,value:binary>>", "struct(key varchar, value blob)[]", "array")


def decimal(precision: int, scale: int) -> ColumnType:
    """Exact decimal of ``precision`` digits, ``scale`` of them after the point."""
    return ColumnType(f"decimal({precision},{scale})", f"decimal({precision},{scale})", f"number({precision},{scale})")


#: Money per line: DESIGN fixes decimal(18,4), never a float.
MONEY = decimal(18, 4)


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table. ``nullable`` is enforced by the silver writer and by the contract checks."""

    name: str
    type: ColumnType
    description: str
    nullable: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """One table: its place, its grain in words, its columns, its key."""

    layer: str
    name: str
    grain: str
    description: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    partition_by: tuple[str, ...] = ()
    owner: str = "data-platform"

    @property
    def path(self) -> str:
        """The path below the lake's root, e.g. ``silver/transaction_lines``."""
        return f"{self.layer}/{self.name}"

    @property
    def asset_key(self) -> tuple[str, str]:
        """The Dagster asset key, ``(layer, table)``."""
        return (self.layer, self.name)

    @property
    def column_names(self) -> tuple[str, ...]:
        """Column names in declared order."""
        return tuple(column.name for column in self.columns)

    @property
    def spark_ddl(self) -> str:
        """The Spark schema string, e.g. ``event_id string, quantity int``."""
        return ", ".join(f"{column.name} {column.type.spark}" for column in self.columns)

    def column(self, name: str) -> Column:
        """The column of that name; ``KeyError`` when there is none."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(f"{self.path} has no column {name}")


# --- Types of event fields -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Text:
    """A non-blank string of at most ``max_length`` characters."""

    max_length: int = 200
    column_type = STRING


@dataclass(frozen=True, slots=True)
class Uuid:
    """An RFC 9562 UUID in its 36-character form; stored in lower case."""

    column_type = STRING


@dataclass(frozen=True, slots=True)
class Instant:
    """An RFC 3339 date-time with an offset; stored in UTC with microseconds."""

    column_type = TIMESTAMP


@dataclass(frozen=True, slots=True)
class Enumeration:
    """One of a closed list of strings."""

    values: tuple[str, ...]
    column_type = STRING


@dataclass(frozen=True, slots=True)
class Integer:
    """A whole 32-bit number (JSON number or numeric string) within inclusive bounds."""

    minimum: int = -(2**31)
    maximum: int = 2**31 - 1
    column_type = INTEGER


@dataclass(frozen=True, slots=True)
class Amount:
    """An exact decimal(18,4) (JSON number or numeric string) within inclusive bounds; more decimals are refused."""

    minimum: str | None = None
    maximum: str | None = None
    column_type = MONEY


@dataclass(frozen=True, slots=True)
class Degrees:
    """A latitude or longitude in decimal degrees within inclusive bounds."""

    minimum: float
    maximum: float
    column_type = DOUBLE


@dataclass(frozen=True, slots=True)
class Record:
    """A nested object."""

    fields: tuple[Field, ...]


@dataclass(frozen=True, slots=True)
class Records:
    """An array of objects: each becomes one line of the silver table."""

    fields: tuple[Field, ...]
    minimum: int
    maximum: int


Scalar = Text | Uuid | Instant | Enumeration | Integer | Amount | Degrees
FieldType = Scalar | Record | Records


@dataclass(frozen=True, slots=True)
class Field:
    """One field of an event. ``column`` names its silver column where that differs from the field's name."""

    name: str
    type: FieldType
    description: str
    required: bool = True
    column: str | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule across fields: when ``violated`` (a SQL expression) is true the event is refused with ``reason``.

    Fields stand in braces by their silver column, e.g. ``{discount} > 0``: the line's in ``per_line`` rules, otherwise
    the header's. They are typed, and null where the field itself is not valid. ``surely_kept`` gives, by column, a
    regular expression of values with which the rule holds whatever the others are: a shortcut, never the decision.
    """

    reason: str
    violated: str
    description: str
    per_line: bool = False
    surely_kept: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Derived:
    """A silver column computed from others by a SQL expression that Spark and the warehouse both read."""

    name: str
    type: ColumnType
    expression: str
    description: str


@dataclass(frozen=True, slots=True)
class Leaf:
    """A scalar field with its dotted path and its silver column."""

    path: str
    field: Field
    type: Scalar
    parent: str | None = None
    parent_required: bool = True

    @property
    def column(self) -> str:
        """The silver column that holds this field."""
        return self.field.column or self.path.replace(".", "_")

    @property
    def required(self) -> bool:
        """Whether the field must be there whenever its parent is."""
        return self.field.required

    @property
    def always_present(self) -> bool:
        """Whether every valid event has it: required in a parent that is itself required."""
        return self.field.required and self.parent_required


#: How far an event's own clock may run ahead of the broker's append time before the event is refused (DESIGN §3).
MAX_CLOCK_AHEAD_SECONDS = 300

#: Reasons that hold for every topic, with what they mean to a reader.
COMMON_REASONS: tuple[tuple[str, str], ...] = (
    ("null_value", "The Kafka record has no value (a tombstone)."),
    ("invalid_utf8", "The bytes are not valid UTF-8."),
    ("oversized", "The value is larger than the contract's limit in bytes."),
    ("malformed_json", "The text is not one JSON object."),
    ("event_time_in_future", "The event's time is over 5 minutes past the broker's append time."),
    ("event_time_before_start", "The event's business date is before PARTITIONS_START_DATE."),
)

_PROVENANCE: tuple[Column, ...] = (
    Column("topic", STRING, "Kafka topic the event came from."),
    Column("partition", INTEGER, "Kafka partition the event came from."),
    Column("offset", LONG, "Kafka offset of the event in its partition."),
    Column("append_time", TIMESTAMP, "When the Kafka broker appended the event (UTC)."),
    Column("query_id", STRING, "Streaming query that wrote the row."),
    Column("batch_id", LONG, "Micro-batch of that query that wrote the row."),
)

PROVENANCE_COLUMNS: tuple[str, ...] = tuple(column.name for column in _PROVENANCE)


@dataclass(frozen=True)
class TopicContract:
    """One topic: what an event holds, what refuses it, and the silver table its valid events become."""

    topic: str
    schema: str
    title: str
    description: str
    message_key: str
    fields: tuple[Field, ...]
    silver_name: str
    silver_grain: str
    silver_description: str
    rules: tuple[Rule, ...] = ()
    derived: tuple[Derived, ...] = ()
    partitions: int = 4
    retention_days: int = 7
    compacted: bool = False
    max_bytes: int = 1_000_000
    owner: str = "data-platform"
    event_id: str = "event_id"
    event_time: str = "event_time"
    tags: tuple[str, ...] = field(default=())

    def named(self, topic: str) -> TopicContract:
        """The same contract on a topic of another name (``KAFKA_TOPIC``)."""
        return replace(self, topic=topic)

    @cached_property
    def lines(self) -> Field | None:
        """The array field whose elements become lines, if the contract has one."""
        return next((entry for entry in self.fields if isinstance(entry.type, Records)), None)

    @cached_property
    def header_leaves(self) -> tuple[Leaf, ...]:
        """Scalar fields outside the lines, nested objects flattened."""
        return tuple(_leaves(self.fields))

    @cached_property
    def line_leaves(self) -> tuple[Leaf, ...]:
        """Scalar fields of one line; empty when the contract has no lines."""
        if self.lines is None or not isinstance(self.lines.type, Records):
            return ()
        return tuple(
            Leaf(f"{self.lines.name}.{entry.name}", replace(entry, column=entry.column or entry.name), entry.type)
            for entry in self.lines.type.fields
            if not isinstance(entry.type, Record | Records)
        )

    @cached_property
    def silver_table(self) -> Table:
        """The silver table that valid events of this topic become."""
        columns = [
            Column(leaf.column, leaf.type.column_type, leaf.field.description, nullable=not leaf.always_present)
            for leaf in self.header_leaves
        ]
        if self.lines is not None:
            columns.append(Column("line_number", INTEGER, "Position of the line in its event, from 1."))
        columns += [
            Column(leaf.column, leaf.type.column_type, leaf.field.description, nullable=not leaf.required)
            for leaf in self.line_leaves
        ]
        columns += [Column(entry.name, entry.type, entry.description) for entry in self.derived]
        columns.append(Column("business_date", DATE, "Date of the event in BUSINESS_TIMEZONE; the partition."))
        return Table(
            layer="silver",
            name=self.silver_name,
            grain=self.silver_grain,
            description=self.silver_description,
            columns=(*columns, *_PROVENANCE),
            key=(self.event_id, "line_number") if self.lines is not None else (self.event_id,),
            partition_by=("business_date",),
            owner=self.owner,
        )

    @cached_property
    def reasons(self) -> dict[str, str]:
        """Every reason code that can refuse an event of this topic, with its meaning, in the order they are reported."""
        codes = dict(COMMON_REASONS)
        for entry in self.fields:
            if isinstance(entry.type, Record):
                if entry.required:
                    codes[f"missing:{entry.name}"] = f"`{entry.name}` is absent or null."
                codes[f"type:{entry.name}"] = f"`{entry.name}` is not a JSON object."
            if isinstance(entry.type, Records):
                codes[f"missing:{entry.name}"] = f"`{entry.name}` is absent, null or empty."
                codes[f"type:{entry.name}"] = f"`{entry.name}` is not an array of JSON objects."
                codes["too_many_items"] = f"`{entry.name}` has more than {entry.type.maximum} elements."
        for leaf in (*self.header_leaves, *self.line_leaves):
            codes.update(_leaf_reasons(leaf))
        for rule in self.rules:
            text = codes.get(rule.reason)
            codes[rule.reason] = f"{text} {rule.description}" if text else rule.description
        return codes


def _leaves(fields: tuple[Field, ...]) -> Iterator[Leaf]:
    for entry in fields:
        if isinstance(entry.type, Record):
            for child in entry.type.fields:
                if isinstance(child.type, Record | Records):
                    raise TypeError(f"{entry.name}.{child.name}: objects nest one level deep in a contract")
                yield Leaf(f"{entry.name}.{child.name}", child, child.type, entry.name, entry.required)
        elif not isinstance(entry.type, Records):
            yield Leaf(entry.name, entry, entry.type)


def _leaf_reasons(leaf: Leaf) -> dict[str, str]:
    codes: dict[str, str] = {}
    path = leaf.path
    if leaf.required:
        codes[f"missing:{path}"] = f"`{path}` is absent or null."
    match leaf.type:
        case Text(max_length=limit):
            codes[f"type:{path}"] = f"`{path}` is a JSON object or array where a string belongs."
            codes[f"range:{path}"] = f"`{path}` is blank or longer than {limit} characters."
        case Uuid():
            codes[f"type:{path}"] = f"`{path}` is not a UUID."
        case Instant():
            codes[f"type:{path}"] = f"`{path}` is not an RFC 3339 date-time with an offset."
        case Enumeration(values=values):
            shown = ", ".join(values) if len(values) <= 10 else f"the {len(values)} listed values"  # noqa: PLR2004
            codes[f"enum:{path}"] = f"`{path}` is not one of {shown}."
        case Integer(minimum=low, maximum=high):
            codes[f"type:{path}"] = f"`{path}` is not a whole number."
            codes[f"range:{path}"] = f"`{path}` is outside {low} to {high}."
        case Amount(minimum=low, maximum=high):
            codes[f"type:{path}"] = f"`{path}` is not a number."
            bounds = f", below {low}" if low is not None else ""
            bounds += f", above {high}" if high is not None else ""
            codes[f"range:{path}"] = f"`{path}` does not fit decimal(18,4) exactly{bounds}."
        case Degrees(minimum=low, maximum=high):
            codes[f"type:{path}"] = f"`{path}` is not a number."
            codes[f"range:{path}"] = f"`{path}` is outside {low:g} to {high:g} degrees."
    return codes
