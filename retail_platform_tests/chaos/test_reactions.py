"""The verifier of what the reactions said is green on what they had to say, and red on every copy that was spoilt."""

from __future__ import annotations

import datetime as dt
import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any
from zlib import crc32
from zoneinfo import ZoneInfo

import duckdb
import pytest

from retail_platform.chaos.committed import committed_path, write
from retail_platform.chaos.days import acknowledged_days
from retail_platform.chaos.ledger import entry, ledger_path
from retail_platform.chaos.load import messages
from retail_platform.chaos.reactions import COUNTS, DAYS, load_said, reaction_findings
from retail_platform.chaos.recomputed import Recomputed
from retail_platform.chaos.verifier import LEDGER
from retail_platform.contracts import (
    CUSTOMER_SEGMENTS,
    FRAUD_ALERTS,
    LIVE_METRICS,
    PRICE_UPDATES,
    REACTION_TOPICS,
    REORDER_REQUESTS,
    STOCK_LEVELS,
    TRANSACTIONS,
)
from retail_platform.contracts.judge import judge
from retail_platform.reactions.applications import step_topic
from retail_platform.reactions.events import transaction
from retail_platform.reactions.metrics import cells
from retail_platform.reactions.metrics.rates import Money, read_rates
from retail_platform.reactions.segments import published
from retail_platform.settings import FX_RATES, Settings

#: A record: value, and when the broker appended it (ms since 1970). By topic and partition, in their order.
Log = dict[tuple[str, int], list[tuple[bytes | None, int]]]
UTC = ZoneInfo("UTC")
_SECONDS, _RATE, _SEED = dt.timedelta(seconds=40), 30.0, 3


def acknowledged(settings: Settings) -> Log:
    """Some of the load in Kafka, and in the ledger."""
    log: Log = defaultdict(list)
    path = ledger_path(settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    now = int((dt.datetime.now(dt.UTC) + _SECONDS).timestamp() * 1000)
    with path.open("w", encoding="utf-8") as ledger:
        for message in messages(_SEED, _RATE, _SECONDS, reactions=True):
            place = message.topic, crc32(message.key or b"") % 3
            ledger.write(json.dumps(entry(message, place[1], len(log[place]))) + "\n")
            log[place].append((message.value, now))
    return log


def nothing(_topic: str, _message: dict[str, Any]) -> bool:
    return False


def reacted(settings: Settings, log: Log, lost: Callable[[str, dict[str, Any]], bool] = nothing) -> Log:
    """What the reactions make of it when they do as they must; but for what is ``lost``, with all that follows from it."""

    def records(topic: str) -> list[tuple[bytes, int]]:
        return [(value or b"", at) for (name, _), part in sorted(log.items()) if name == topic for value, at in part]

    for topic, message in Recomputed(settings, records).messages():
        if not lost(topic, message):
            log[topic, 0].append((json.dumps(message).encode(), 0))
    log[LIVE_METRICS.topic, 0] = [(json.dumps(metric).encode(), 0) for metric in metrics(records(TRANSACTIONS.topic))]
    return log


def metrics(records: list[tuple[bytes, int]]) -> Iterator[dict[str, Any]]:
    """The live metrics of the transactions, each event once."""
    with FX_RATES.open() as lines:
        money = Money(read_rates(lines), UTC)
    states: defaultdict[str, cells.State] = defaultdict(cells.State)
    seen = set()
    for value, at in records:
        found = judge(
            TRANSACTIONS, value, dt.datetime.fromtimestamp(at / 1000, dt.UTC), "UTC", dt.date(2010, 12, 1)
        ).event
        if found is None or found["event_id"].lower() in seen:
            continue
        seen.add(found["event_id"].lower())
        sale = transaction(found)
        for minute in cells.contributions(sale, money.rate(sale), UTC):
            for added in cells.rolled_up(minute, UTC):
                states[added.cell.key], said = cells.step(states[added.cell.key], added)
                yield from (metric.message() for metric in said)


def broken(settings: Settings, log: Log) -> tuple[set[str], dict[str, int]]:
    """The promises that the verifier finds broken, and what it counted."""
    write(
        committed_path(settings),
        (
            {"topic": topic, "partition": part, "offset": offset, "append_ms": at, "key": None, "value": value}
            for (topic, part), records in log.items()
            for offset, (value, at) in enumerate(records)
        ),
    )
    with duckdb.connect(":memory:") as connection:
        connection.execute("set TimeZone = 'UTC'")
        connection.execute(LEDGER, [str(ledger_path(settings))])
        assert load_said(connection, settings)
        findings = list(reaction_findings(connection, settings, acknowledged_days(ledger_path(settings))))
        counts = {name: connection.execute(sql).fetchall()[0][0] for name, sql in COUNTS.items()}
    for finding in findings:
        print(finding)
    return {finding.promise for finding in findings}, counts


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, Log, Log]:
    """A home with its ledger; what Kafka holds in it, and the same without what the reactions made of it."""
    home: Path = tmp_path_factory.mktemp("home")
    settings = Settings(_env_file=None, retail_home=home, retail_outputs=home / "outputs")
    bounds = {"recency": (1, 2, 3, 4), "frequency": (2, 3, 4, 5), "monetary": (10, 20, 50, 100)}
    published.write(settings.marts_dir / published.FILE, dt.datetime.now(dt.UTC).date(), bounds)
    sources = acknowledged(settings)
    return settings, reacted(settings, copied(sources)), sources


def copied(log: Log) -> Log:
    return defaultdict(list, {place: list(records) for place, records in log.items()})


def test_what_the_reactions_had_to_say_breaks_no_promise(recorded: tuple[Settings, Log, Log]) -> None:
    settings, log, _ = recorded
    promises, counts = broken(settings, log)
    assert promises == set()
    assert {contract.topic for contract in REACTION_TOPICS if not counts[contract.topic]} == set()
    assert counts["stocks"] > 100
    assert counts["stocks that refused late events"] < counts["stocks"] / 100


# --- Spoiling a copy --------------------------------------------------------------------------------------------------


def newest(records: list[tuple[bytes | None, int]], field: str, of: Callable[[dict[str, Any]], bool]) -> int:
    """Where the record with the highest ``field`` is, of those that are wanted."""
    found = {number: json.loads(value or b"") for number, (value, _) in enumerate(records)}
    return max((number for number in found if of(found[number])), key=lambda number: found[number][field])


def changed(records: list[tuple[bytes | None, int]], number: int, **changes: Any) -> None:
    value, at = records[number]
    records[number] = json.dumps(json.loads(value or b"") | changes).encode(), at


def an_alert_dropped(log: Log) -> None:
    log[FRAUD_ALERTS.topic, 0].pop()


def an_alert_twice(log: Log) -> None:
    log[FRAUD_ALERTS.topic, 0].append(log[FRAUD_ALERTS.topic, 0][0])


def a_stock_doubled(log: Log) -> None:
    records = log[STOCK_LEVELS.topic, 0]
    number = newest(records, "revision", lambda level: level["on_hand"] and not level["refused_events"])
    changed(records, number, on_hand=2 * json.loads(records[number][0] or b"")["on_hand"])


def a_level_lost(log: Log) -> None:
    records = log[STOCK_LEVELS.topic, 0]
    stock = json.loads(records[newest(records, "revision", lambda _level: True)][0] or b"")["stock_key"]
    del records[newest(records, "revision", lambda level: level["stock_key"] == stock and level["revision"] == 2)]


def a_request_twice(log: Log) -> None:
    records = log[REORDER_REQUESTS.topic, 0]
    records.append(records[0])


def a_change_of_segment_dropped(log: Log) -> None:
    log[CUSTOMER_SEGMENTS.topic, 0].pop()


def a_price_decided_otherwise(log: Log) -> None:
    changed(log[PRICE_UPDATES.topic, 0], 0, reason="optimum", status="recommended", price="1.00")


def the_day(records: list[tuple[bytes | None, int]]) -> int:
    return newest(
        records, "revision", lambda metric: metric["metric_key"].startswith("day:") and metric["dimension"] == "all"
    )


def a_cent_more(log: Log) -> None:
    records = log[LIVE_METRICS.topic, 0]
    exact = Decimal(json.loads(records[the_day(records)][0] or b"")["revenue_usd_exact"]) + Decimal("0.01")
    changed(records, the_day(records), revenue_usd_exact=str(exact))


def an_order_too_few_in_a_day(log: Log) -> None:
    records = log[LIVE_METRICS.topic, 0]
    changed(records, the_day(records), orders=json.loads(records[the_day(records)][0] or b"")["orders"] - 1)


def an_old_value_again(log: Log) -> None:
    records = log[LIVE_METRICS.topic, 0]
    records.append(records[0])


def a_sale_twice_on_its_way(log: Log) -> None:
    records = next(part for (topic, _), part in log.items() if topic.endswith("-fraud-by-card"))
    records.append(records[0])


def a_record_that_nobody_sent(log: Log) -> None:
    log[TRANSACTIONS.topic, 0].append((b"{}", 0))


OF_BATCH = "{} are those of the batch, each once"
SPOILT: tuple[tuple[Callable[[Log], None], str], ...] = (
    (an_alert_dropped, OF_BATCH.format("the fraud alerts")),
    (an_alert_twice, "each thing that the reactions say has an id of its own"),
    (a_stock_doubled, "a stock is its last count and what moved since"),
    (a_level_lost, "what is numbered has no gap"),
    (a_request_twice, OF_BATCH.format("the reorder requests")),
    (a_change_of_segment_dropped, OF_BATCH.format("the changes of segment")),
    (a_price_decided_otherwise, OF_BATCH.format("the decisions on prices")),
    (a_cent_more, "a live metric is the sum of what was acknowledged, to the cent"),
    (an_order_too_few_in_a_day, DAYS),
    (an_old_value_again, "a live metric's revisions only grow"),
    (a_sale_twice_on_its_way, "between two steps nothing is lost or sent twice"),
    (a_record_that_nobody_sent, "the reactions read what was acknowledged, and nothing else"),
)


@pytest.mark.parametrize(("spoil", "promise"), SPOILT, ids=lambda value: getattr(value, "__name__", ""))
def test_a_copy_that_was_spoilt_is_found(
    recorded: tuple[Settings, Log, Log], spoil: Callable[[Log], None], promise: str
) -> None:
    settings, log, _ = recorded
    copy = copied(log)
    spoil(copy)
    promises, _ = broken(settings, copy)
    assert promise in promises


def test_a_sale_that_is_lost_with_all_that_follows_from_it_is_found_by_the_stock_itself(
    recorded: tuple[Settings, Log, Log],
) -> None:
    settings, _, sources = recorded
    way = step_topic(settings, "stock-changes")
    at_shelf = f"SHELF-{_SEED}-1"

    def lost(topic: str, message: dict[str, Any]) -> bool:
        return topic == way and message["store_id"] == at_shelf and message["reason"] == "sale"

    promises, _ = broken(settings, reacted(settings, copied(sources), lost))
    assert promises == {
        "between two steps nothing is lost or sent twice",
        "a stock is its last count and what moved since",
    }
