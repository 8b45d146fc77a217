"""What the trained model says of a purchase, from the features of its card and its till."""

import datetime as dt
import json
from dataclasses import replace
from decimal import Decimal

import pytest

from retail_platform.contracts import FRAUD_ALERTS
from retail_platform.contracts.judge import judge
from retail_platform.reactions.fraud import tills
from retail_platform.reactions.fraud.features import MODEL_NAMES
from retail_platform.reactions.fraud.labels import Label
from retail_platform.reactions.fraud.model import LEAF, Tree, versioned
from retail_platform.reactions.fraud.parameters import DEFAULT
from retail_platform_tests.reactions import fraud_sales

USD = Decimal("900.00")


def split_at(name, most):
    return Tree(
        (MODEL_NAMES.index(name), LEAF, LEAF), (most, 0.0, 0.0), (1, LEAF, LEAF), (2, LEAF, LEAF), (0.2, 0.1, 0.9)
    )


def model(threshold=0.5):
    """Half of the score is from the amount, half from the till's risk."""
    return versioned("2026-02-02", threshold, (split_at("amount", 500.0), split_at("terminal_risk_7d", 0.5)), {}, {})


def bought(number=1, usd=USD, **values):
    new = tills.from_transaction(fraud_sales.sale(number, **values), usd)
    assert new is not None
    _, counted = tills.of_card(tills.CustomerState(), new)
    assert counted is not None
    return counted


def test_a_hit_tells_its_score_and_what_moved_it_most_and_is_on_trial():
    counts, (alert,) = tills.step(tills.Counts(), bought(), model())
    message = alert.message()
    assert (message["rule"], message["shadow"], message["score"]) == ("model", "yes", "0.0000")
    assert message["parameter_version"] == model().version
    evidence = json.loads(message["evidence"])
    assert (evidence["score"], evidence["threshold_score"], evidence["model"]) == (0.5, 0.5, model().version)
    amount, risk = (evidence["features"][name] for name in ("amount", "terminal_risk_7d"))
    assert amount == {"value": 900.0, "moved_score": 0.35}
    assert risk == {"value": 0.0, "moved_score": -0.05}
    value = json.dumps(message).encode()
    later = fraud_sales.NOON + dt.timedelta(hours=1)
    assert judge(FRAUD_ALERTS, value, later, "UTC", dt.date(2026, 1, 1)).reasons == ()
    assert tills.step(counts, bought(), model()) == (counts, ())


@pytest.mark.parametrize(("known", "usd"), [(None, USD), (model(0.51), USD), (model(), Decimal(5))])
def test_without_a_model_and_under_its_threshold_nothing_is_said_but_the_purchase_counts(known, usd):
    counts, said = tills.step(tills.Counts(), bought(usd=usd), known)
    assert said == ()
    assert counts.purchases == (1,)


def test_out_of_shadow_the_score_is_the_models():
    live = replace(DEFAULT, model=replace(DEFAULT.model, shadow=False))
    _, (alert,) = tills.step(tills.Counts(), bought(), model(), live)
    assert (alert.score, alert.severity, alert.hit.shadow) == (Decimal("0.5000"), "medium", False)


def test_a_verdict_of_a_week_ago_moves_the_score_of_the_same_till_alone():
    old = bought(1, usd=Decimal(5))
    moment = old.purchase.event_time
    label = Label("l", moment + dt.timedelta(days=7), old.purchase.event_id, moment, "S1", "confirmed", "1")
    assert tills.key_of(label) == tills.key_of(old) == old.till == "S1:1"
    counts, _ = tills.step(tills.Counts(), old, model())
    counts, said = tills.step(counts, label, model())
    assert said == ()
    later = bought(2, usd=Decimal(5), seconds=8 * 86_400)
    _, (alert,) = tills.step(counts, later, model())
    assert alert.transaction_event_id == later.purchase.event_id
    elsewhere, _ = tills.step(tills.Counts(), old, model())
    assert tills.step(elsewhere, later, model())[1] == ()


@pytest.mark.parametrize("values", [{"event_type": "return"}, {"card_token": None}])
def test_returns_and_cash_are_no_purchases_with_a_card(values):
    assert tills.from_transaction(fraud_sales.sale(1, **values), USD) is None


def test_an_amount_without_a_rate_is_not_given_to_a_model():
    new = bought(usd=None)
    assert tills.of_card(tills.CustomerState(), new) == (tills.CustomerState(), new)
    assert tills.step(tills.Counts(), new, model()) == (tills.Counts(), ())


def test_a_purchase_on_its_way_is_the_same_at_its_till():
    new = bought()
    assert tills.unpacked_event(json.loads(json.dumps(new.packed()))) == new
