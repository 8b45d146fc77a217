"""A fraud model from the lake: the features of the stream, the week's figures, and only the better model in use."""

from __future__ import annotations

import datetime as dt
import json
import zoneinfo
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest

from retail_platform.contracts import FRAUD_LABELS, TRANSACTIONS
from retail_platform.contracts.judge import judge
from retail_platform.defs import fraud_model
from retail_platform.producer.message import Message
from retail_platform.producer.simulator import Plan, simulate
from retail_platform.producer.simulator.fraud import truth
from retail_platform.reactions.events import Transaction, transaction
from retail_platform.reactions.fraud import tills
from retail_platform.reactions.fraud.features import MODEL_NAMES
from retail_platform.reactions.fraud.labels import Label, label_id
from retail_platform.reactions.fraud.model import LEAF, Model, Tree, versioned
from retail_platform.reactions.fraud.published import CURRENT, read, write
from retail_platform.reactions.metrics.rates import Rates, read_rates
from retail_platform.reactions.training.dataset import Dataset, dataset
from retail_platform.reactions.training.history import history
from retail_platform.reactions.training.measures import brier, calibration
from retail_platform.reactions.training.promotion import decide, promote
from retail_platform.reactions.training.weekly import Trained, alert_threshold
from retail_platform.settings import FX_RATES, Settings, load_settings
from retail_platform_tests.warehouse.silver import LINES, row_of, rows_of
from retail_platform_tests.warehouse.silver import write as write_table

START = dt.date(2026, 1, 5)
DAYS = 63
#: Four weeks of training, one of delay, then this one.
WEEK = START + dt.timedelta(weeks=7)
UTC = zoneinfo.ZoneInfo("UTC")


def bought(messages: Iterable[Message]) -> list[Transaction]:
    """The events as the rules see them, in order of time."""
    judged = [judge(TRANSACTIONS, one.value, _late(), "UTC", START).event for one in messages]
    return sorted((transaction(one) for one in judged if one), key=lambda one: (one.event_time, one.event_id))


def _late() -> dt.datetime:
    return dt.datetime(2026, 6, 1, tzinfo=dt.UTC)


def verdict(on: Transaction) -> Label:
    given = on.event_time + dt.timedelta(days=7)
    identity = label_id(on.event_id, "confirmed", given)
    return Label(identity, given, on.event_id, on.event_time, on.store_id, "confirmed", on.register_id)


@pytest.fixture(scope="module")
def trade() -> list[Message]:
    """Nine weeks of a small retailer, one purchase in fifty a fraud."""
    start = dt.datetime.combine(START, dt.time(), dt.UTC)
    plan = Plan(
        start=start, duration=dt.timedelta(days=DAYS), events=9_000, seed=5, stores=4, customers=250, fraud=0.03,
        movements=0.0,
    )  # fmt: skip
    return list(simulate(plan))


@pytest.fixture(scope="module")
def frauds(trade: list[Message]) -> set[str]:
    return {json.loads(line)["event_id"] for line in map(truth, trade) if line}


@pytest.fixture(scope="module")
def lake(trade: list[Message], frauds: set[str], tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """The same in silver, with a verdict a week after each fraud."""
    settings = load_settings(
        env_file=None, retail_home=tmp_path_factory.mktemp("home"), partitions_start_date=START.isoformat()
    )
    lines, _ = rows_of(trade)
    write_table(settings, LINES, lines)
    labels = [verdict(one).message() for one in bought(trade) if one.event_id in frauds]
    write_table(settings, FRAUD_LABELS.silver_table, [row_of(FRAUD_LABELS, one, n) for n, one in enumerate(labels)])
    return settings


def rates() -> Rates:
    with FX_RATES.open() as lines:
        return read_rates(lines)


def in_the_stream(sales: list[Transaction], frauds: set[str]) -> list[tuple[float, ...]]:
    """The features of each card purchase, from events, as the branches of the application count them."""
    events: list[Transaction | Label] = [*sales]
    events += [verdict(one) for one in sales if one.event_id in frauds]
    of_cards: defaultdict[str, tills.CustomerState] = defaultdict(tills.CustomerState)
    of_tills: defaultdict[str, tills.Counts] = defaultdict(tills.Counts)
    money, found = rates(), []
    for event in sorted(events, key=lambda one: (one.event_time, one.event_id)):
        if isinstance(event, Label):
            key = tills.key_of(event)
            of_tills[key], _ = tills.features(of_tills[key], event)
            continue
        rate = money.on(event.currency, event.event_time.date())
        new = tills.from_transaction(event, None if rate is None else event.amount * rate)
        if new is None:
            continue
        card = new.purchase.card_token
        of_cards[card], counted = tills.of_card(of_cards[card], new)
        assert counted is not None
        there = tills.unpacked_event(json.loads(json.dumps(counted.packed())))
        key = tills.key_of(there)
        of_tills[key], features = tills.features(of_tills[key], there)
        found.append(features)
    return found


def test_features_from_the_lake_are_to_the_bit_those_from_the_events(
    trade: list[Message], frauds: set[str], lake: Settings
) -> None:
    wanted = in_the_stream(bought(trade), frauds)
    last = START + dt.timedelta(days=DAYS)
    found = dataset(history(lake, rates(), START, last), START.toordinal(), UTC)
    assert found.features.tolist() == [list(one) for one in wanted]
    assert len(wanted) > 3_000
    # The tills' past is in it, and not only zeros.
    assert found.features[:, MODEL_NAMES.index("terminal_risk_30d")].max() > 0
    assert 20 < found.fraud.sum() < len(wanted) / 10


def train_by_dagster(settings: Settings, week: dt.date) -> tuple[dict[str, Any], dg.AssetCheckEvaluation]:
    """The metadata of the week's model, and its check."""
    defs = fraud_model.build(settings)
    with dg.DagsterInstance.ephemeral() as instance:
        result = defs.resolve_job_def(fraud_model.MODEL_JOB).execute_in_process(
            instance=instance, partition_key=week.isoformat()
        )
    (event,) = result.asset_materializations_for_node("reactions__fraud_model")
    (check,) = result.get_asset_check_evaluations()
    return {name: value.value for name, value in event.metadata.items()}, check


def test_a_week_is_trained_by_dagster_and_the_next_model_is_used_only_if_it_beats_it(
    lake: Settings, tmp_path: Path
) -> None:
    settings = lake.model_copy(update={"retail_home": tmp_path})
    (tmp_path / "lake").symlink_to(lake.retail_home / "lake")
    first, check = train_by_dagster(settings, WEEK)
    folder = settings.fraud_models_dir
    in_use = read(folder / CURRENT)
    assert in_use is not None
    assert in_use == read(folder / f"{first['version']}.json")
    assert (first["promoted"], check.passed) == (True, True)
    assert "of guessing; no model was in use" in first["decision"]
    assert (first["trained on"], first["label delay (days)"]) == ("2026-01-19 to 2026-02-15", 7)
    assert first["average precision"] > 5 * first["test frauds"] / first["test purchases"]
    assert sum(entry["importance"] for entry in _records(first["importances"])) == pytest.approx(1, abs=0.01)
    assert sum(entry["purchases"] for entry in _records(first["calibration"])) == first["test purchases"]

    again, check = train_by_dagster(settings, WEEK)
    assert (again["version"], again["promoted"], check.passed) == (first["version"], False, True)

    second, check = train_by_dagster(settings, WEEK + dt.timedelta(weeks=1))
    before = second["measures of the model in use"]["average_precision"]
    assert second["promoted"] == (second["average precision"] > before)
    now = read(folder / CURRENT)
    assert now is not None
    assert now.version == (second["version"] if second["promoted"] else first["version"])
    assert (check.passed, check.description) == (True, second["decision"])


def _records(table: Any) -> list[dict[str, Any]]:
    return [record.data for record in table.records]


def test_a_week_without_verdicts_fails_in_one_line_that_says_what_is_missing(lake: Settings, tmp_path: Path) -> None:
    settings = lake.model_copy(update={"retail_home": tmp_path})
    (tmp_path / "lake").symlink_to(lake.retail_home / "lake")
    with pytest.raises(dg.Failure, match="0 confirmed frauds among 0 purchases") as failed:
        train_by_dagster(settings, START)
    assert "retail fraud label" in str(failed.value.description)
    assert not settings.fraud_models_dir.exists()


# --- The decision, on a week of four purchases ------------------------------------------------------------------------

RISK = MODEL_NAMES.index("terminal_risk_7d")


def week(frauds: int = 2) -> Dataset:
    """As many purchases at a risky till as there are frauds, and two at another; of the risky ones all are fraud."""
    features = np.zeros((frauds + 2, len(MODEL_NAMES)))
    features[:frauds, RISK] = 1.0
    fraud = features[:, RISK] > 0
    numbers = np.arange(len(fraud))
    return Dataset(features, fraud, np.zeros(len(fraud), np.int64), numbers, numbers)


def model(at_risk: float, otherwise: float, learned: str = "2026-02-01", tested: str = "2026-02-09") -> Model:
    """A model that scores risky tills so, and the others so."""
    tree = Tree((RISK, LEAF, LEAF), (0.5, 0.0, 0.0), (1, LEAF, LEAF), (2, LEAF, LEAF), (0.3, otherwise, at_risk))
    precision = 1.0 if at_risk > otherwise else 0.5
    test = {"first_date": tested, "average_precision": precision, "frauds": 2, "purchases": 4}
    return versioned(tested, 0.5, (tree,), {"last_date": learned}, test)


GOOD, BAD = model(0.9, 0.1), model(0.1, 0.9)


@pytest.mark.parametrize(
    ("new", "known", "promoted", "said"),
    [
        (GOOD, None, True, "beats 0.5000 of guessing"),
        (BAD, None, False, "does not beat 0.5000 of guessing"),
        (GOOD, BAD, True, "average precision 1.0000 beats"),
        (BAD, GOOD, False, "does not beat 1.0000"),
        (model(0.8, 0.1), GOOD, False, "does not beat 1.0000"),
        (GOOD, GOOD, False, "it is the model in use"),
        (GOOD, model(0.1, 0.9, learned="2026-02-09"), False, "has learned from the week"),
    ],
)
def test_a_model_is_used_only_if_it_beats_the_one_in_use_on_a_week_that_neither_has_learned_from(
    new: Model, known: Model | None, promoted: bool, said: str
) -> None:
    decision = decide(Trained(new, week()), known)
    assert decision.promoted is promoted
    assert said in decision.why
    assert decision.in_use == (new.version if promoted else known and known.version)


def test_every_model_is_kept_and_a_file_that_cannot_be_used_is_replaced(tmp_path: Path) -> None:
    (tmp_path / CURRENT).write_text("{}")
    for new, wanted in ((GOOD, GOOD), (BAD, GOOD)):
        promote(tmp_path, Trained(new, week()))
        assert read(tmp_path / CURRENT) == wanted
        assert read(tmp_path / f"{new.version}.json") == new
    # Back to an older one: its file is copied over the one in use.
    write(tmp_path / CURRENT, BAD)
    assert promote(tmp_path, Trained(GOOD, week())).promoted


# --- Threshold and calibration ----------------------------------------------------------------------------------------


def test_the_threshold_is_the_lowest_that_meets_the_criteria_of_release() -> None:
    # Of 1,000 purchases four may be hit; at 0.6 three are, one of them fraud, at 0.5 four, one of them fraud.
    scores = np.array([0.9, 0.8, 0.6, 0.5, *[0.1] * 996])
    numbers = np.arange(1_000)
    test = Dataset(np.zeros((1_000, 1)), numbers == 1, np.zeros(1_000, np.int64), numbers, numbers)
    assert alert_threshold(test, scores) == 0.6
    honest = replace(test, fraud=np.zeros(1_000, np.bool_))
    assert alert_threshold(honest, scores) == 0.5
    assert alert_threshold(honest, np.full(1_000, 0.2)) == 0.2


def test_calibration_sets_the_share_of_fraud_beside_the_mean_score() -> None:
    test, scores = week(), np.array([1.0, 0.5, 0.5, 0.0])
    assert brier(test, scores) == (0.25 + 0.25) / 4
    found = [
        (one["over"], one["purchases"], one["mean_score"], one["fraud_share"]) for one in calibration(test, scores)
    ]
    assert found == [(0.0, 1, 0.0, 0.0), (0.2, 2, 0.5, 0.5), (0.5, 1, 1.0, 1.0)]
