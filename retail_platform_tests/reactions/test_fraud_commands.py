"""``retail fraud``: what an analyst says of alerts becomes labels in Kafka; what the rules are worth is told from the lake."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from retail_platform.cli import fraud as commands
from retail_platform.cli.app import app
from retail_platform.contracts import FRAUD_ALERTS, FRAUD_LABELS
from retail_platform.contracts.judge import judge
from retail_platform.errors import RetailError
from retail_platform.reactions.fraud import cards, stores, tills
from retail_platform.reactions.fraud.alerts import Alert, Hit, alert_id
from retail_platform.reactions.fraud.labels import Label, Verdict, label_id
from retail_platform.settings import Settings
from retail_platform_tests.reactions.running import said
from retail_platform_tests.warehouse.silver import LINES, Row, line, row_of, write

DAY = dt.date(2026, 3, 2)
PAID = dt.datetime(2026, 3, 2, 10, 30, tzinfo=dt.UTC)

ALERTED, HONEST, QUIET, CASH, UNKNOWN = (str(uuid.uuid5(uuid.NAMESPACE_OID, str(number))) for number in range(5))

Retail = Callable[..., Result]


def bought(event_id: str, card: str | None = "tok-1", **values: Any) -> Row:
    return line(event_id, DAY, card_token=card, register_id="S1-R1", **values)


def alert(purchase: str, rule: str = "velocity_1h") -> dict[str, Any]:
    hit = Hit(rule, "1", Decimal("0.5"), False, {"purchases": 9})
    return Alert(PAID, purchase, f"T-{purchase}", "tok-1", "S1", hit, "p1", Decimal("0.5"), "medium").message()


def label_row(purchase: str, verdict: Verdict, offset: int) -> Row:
    identity = label_id(purchase, verdict, PAID)
    row = row_of(FRAUD_LABELS, Label(identity, PAID, purchase, PAID, "S1", verdict).message(), offset)
    return row | {"append_time": PAID + dt.timedelta(days=7, seconds=offset)}


def write_lake(settings: Settings, purchases: Sequence[Row], alerts: Sequence[dict[str, Any]]) -> None:
    write(settings, LINES, purchases)
    write(settings, FRAUD_ALERTS.silver_table, [row_of(FRAUD_ALERTS, one, n) for n, one in enumerate(alerts)])
    write(settings, FRAUD_LABELS.silver_table, [])


@pytest.fixture
def lake(lake_settings: Settings) -> Settings:
    """Two purchases with alerts, one of them with two; one without; and one that was paid in cash."""
    purchases = [bought(ALERTED), bought(ALERTED, number=2), bought(HONEST), bought(QUIET), bought(CASH, None)]
    alerts = [alert(ALERTED), alert(ALERTED, "card_testing"), alert(HONEST), alert(HONEST, "velocity_24h")]
    write_lake(lake_settings, purchases, alerts)
    return lake_settings


@pytest.fixture
def retail(lake: Settings, monkeypatch: pytest.MonkeyPatch) -> Retail:
    """Run a command of ``retail fraud`` on the test's lake."""
    monkeypatch.setattr(commands, "get_settings", lambda: lake)
    return lambda *arguments: CliRunner().invoke(app, ["fraud", *map(str, arguments)], env={"COLUMNS": "200"})


def verdicts(settings: Settings) -> dict[str, str]:
    """By purchase, the last verdict in Kafka."""
    return {label["transaction_event_id"]: label["verdict"] for label in said(settings, FRAUD_LABELS)}


def error(result: Result) -> str:
    assert isinstance(result.exception, RetailError), result.output
    return str(result.exception)


def test_an_alert_and_a_purchase_are_labelled_by_their_ids_with_all_that_the_contract_asks(
    lake: Settings, retail: Retail
) -> None:
    result = retail("label", alert_id("velocity_1h", ALERTED), "--verdict", "confirmed", "--analyst", "a-7")
    assert (result.exit_code, result.stdout) == (0, "1 confirmed\n")
    assert retail("label", QUIET.upper(), "--verdict", "dismissed").exit_code == 0
    labels = {label["transaction_event_id"]: label for label in said(lake, FRAUD_LABELS)}
    assert {name: label["verdict"] for name, label in labels.items()} == {ALERTED: "confirmed", QUIET: "dismissed"}
    first = labels[ALERTED]
    assert (first["store_id"], first["register_id"], first["analyst"]) == ("S1", "S1-R1", "a-7")
    assert first["transaction_time"] == "2026-03-02T10:30:00.000000Z"
    assert judge(FRAUD_LABELS, json.dumps(first).encode(), dt.datetime.now(dt.UTC), "UTC", DAY).reasons == ()


def test_the_id_of_an_alert_is_looked_up_in_the_day_of_the_alert_alone(lake: Settings, retail: Retail) -> None:
    write(lake, LINES, [line(UNKNOWN, DAY + dt.timedelta(days=1), card_token="tok-2")])
    (other,) = (lake.lake_dir / LINES.path).glob("business_date=2026-03-03/*.parquet")
    other.write_bytes(b"not read")
    assert retail("label", alert_id("velocity_1h", ALERTED), "--verdict", "confirmed").exit_code == 0
    assert "2026-03-03" in str(retail("label", QUIET, "--verdict", "dismissed").exception)
    assert verdicts(lake) == {ALERTED: "confirmed"}


@pytest.mark.parametrize("unknown", [CASH, UNKNOWN, "nonsense"])
def test_what_is_no_purchase_with_a_card_is_named_and_nothing_is_sent(
    lake: Settings, retail: Retail, unknown: str
) -> None:
    result = retail("label", unknown, "--verdict", "confirmed")
    assert f"{unknown}: neither an alert nor a purchase with a card" in error(result)
    assert verdicts(lake) == {}


def test_the_truth_of_a_simulation_labels_its_frauds_and_dismisses_every_other_alert_of_its_days(
    lake: Settings, retail: Retail, tmp_path: Path
) -> None:
    truth, elsewhere = tmp_path / "fraud.jsonl", str(uuid.uuid4())
    # The next day is another simulation's, of which this truth knows nothing.
    next_day = alert(str(uuid.uuid4())) | {"event_time": (PAID + dt.timedelta(days=1)).isoformat()}
    write(lake, FRAUD_ALERTS.silver_table, [row_of(FRAUD_ALERTS, next_day, 9)])
    truth.write_text(
        "".join(json.dumps({"event_id": one, "kind": "velocity"}) + "\n" for one in (ALERTED, QUIET, elsewhere))
    )
    result = retail("label", "--file", truth, "--verdict", "confirmed", "--dismiss-others")
    assert result.stdout == "2 confirmed, 1 dismissed\n"
    assert f"{elsewhere}: neither an alert" in error(result)
    assert verdicts(lake) == {ALERTED: "confirmed", QUIET: "confirmed", HONEST: "dismissed"}


def test_rows_of_a_csv_say_their_own_verdict_and_time_and_sent_twice_they_are_the_same_labels(
    lake: Settings, retail: Retail, tmp_path: Path
) -> None:
    rows = tmp_path / "labels.csv"
    rows.write_text(f"event_id,verdict,event_time\n{ALERTED},,2026-03-09T09:00:00+01:00\n{HONEST},dismissed,\n")
    for _ in range(2):
        assert retail("label", "--file", rows, "--verdict", "confirmed").exit_code == 0
    labels = [label for label in said(lake, FRAUD_LABELS) if label["transaction_event_id"] == ALERTED]
    assert len(labels) == 2
    assert labels[0] == labels[1]
    assert (labels[0]["event_time"], labels[0]["verdict"]) == ("2026-03-09T08:00:00.000000Z", "confirmed")


@pytest.mark.parametrize(
    ("name", "text", "named"),
    [
        ("labels.txt", "", "neither a .csv nor a .jsonl"),
        ("labels.jsonl", "7\n", "labels.jsonl line 1 is not a JSON object"),
        ("labels.jsonl", '{"verdict": "confirmed"}\n', "line 1 has no event_id"),
        ("labels.csv", f"event_id\n{ALERTED}\n", "labels.csv line 2 has no verdict"),
        ("labels.csv", f"event_id,verdict\n{ALERTED},perhaps\n", "`verdict` is not one of confirmed, dismissed"),
        ("labels.csv", f"event_id,verdict,event_time\n{ALERTED},confirmed,monday\n", "monday is no RFC 3339 time"),
        ("labels.csv", f"event_id,verdict,event_time\n{ALERTED},confirmed,2999-01-01T00:00:00Z\n", "past the broker's"),
        ("missing.csv", None, "cannot be read"),
    ],
)
def test_a_file_that_is_wrong_is_named_by_its_line_and_nothing_is_sent(
    lake: Settings, retail: Retail, tmp_path: Path, name: str, text: str | None, named: str
) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    assert named in error(retail("label", "--file", tmp_path / name))
    assert verdicts(lake) == {}


def test_each_rule_is_measured_by_its_hits_the_last_verdicts_and_the_purchases_of_the_days(
    lake_settings: Settings, retail: Retail
) -> None:
    first, second = (f"{number:02}000000-0000-4000-8000-000000000000" for number in (1, 2))
    more = [bought(f"{number:08}-0000-4000-8000-000000000000") for number in range(10_000, 20_000)]
    next_day = line(second, DAY + dt.timedelta(days=1), card_token="tok-2")
    write(lake_settings, LINES, [bought(first), next_day, *more])
    hit = [one["event_id"] for one in more[:40]]
    alerts = [row_of(FRAUD_ALERTS, alert(purchase, "card_testing"), number) for number, purchase in enumerate(hit)]
    write(lake_settings, FRAUD_ALERTS.silver_table, alerts)
    # All are dismissed at first, and then every second of them is fraud after all.
    labels = [label_row(purchase, "dismissed", number) for number, purchase in enumerate(hit)]
    labels += [label_row(purchase, "confirmed", 100 + number) for number, purchase in enumerate(hit[::2])]
    write(lake_settings, FRAUD_LABELS.silver_table, labels[::-1])

    told = json.loads(retail("rules", "--from", DAY, "--to", DAY, "--json").stdout)
    # With the lake of the fixture: three purchases with a card more, one of them hit by card testing.
    assert told["purchases"] == 10_004
    rules = {entry["rule"]: entry for entry in told["rules"]}
    assert set(rules) == {*cards.RULES, stores.RULE, tills.RULE}
    testing = rules["card_testing"]
    assert [testing[name] for name in ("hits", "labelled", "confirmed", "precision", "mode", "released")] == [
        41, 40, 20, 0.5, "live", True,
    ]  # fmt: skip
    assert rules["velocity_1h"]["missing"] == ["0 of 30 labels"]
    assert (rules["store_risk"]["mode"], rules["store_risk"]["released"]) == ("shadow", False)
    assert json.loads(retail("rules", "--json").stdout)["purchases"] == 10_005
    shown = " ".join(retail("rules").stdout.split())
    assert "│ card_testing │ live │ 41 │ 40 │ 20 │ 50.0% │ 0.410% │ passes │" in shown


def test_rules_that_saw_no_purchase_are_not_measured(retail: Retail) -> None:
    assert "no purchase with a card on these days" in error(retail("rules", "--from", "2026-04-01"))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ((), "either an EVENT_ID or --file"),
        ((ALERTED,), "--verdict confirmed or --verdict dismissed"),
        ((ALERTED, "--verdict", "confirmed", "--dismiss-others"), "--dismiss-others needs --file"),
    ],
)
def test_options_that_make_no_sense_are_named(retail: Retail, arguments: tuple[str, ...], named: str) -> None:
    result = retail("label", *arguments)
    assert result.exit_code == 2
    assert named in " ".join(result.stderr.split())
