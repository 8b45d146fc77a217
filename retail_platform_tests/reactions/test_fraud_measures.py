"""Whether a rule may be released, from its hits and the verdicts on them."""

import pytest

from retail_platform.reactions.fraud.measures import HEADER, Hit, measure


def hits(rule, count, first=0):
    return [Hit(rule, str(number)) for number in range(first, first + count)]


def verdicts(confirmed, dismissed):
    return {str(n): "confirmed" if n < confirmed else "dismissed" for n in range(confirmed + dismissed)}


def one(found, confirmed, dismissed, purchases=100_000):
    return measure(found, verdicts(confirmed, dismissed), purchases, ["rule"])[0]


def test_a_rule_with_30_percent_fraud_and_few_hits_may_be_released():
    rule = one(hits("rule", 100), 30, 70)
    assert rule.released
    assert rule.row() == ("rule", "100", "100", "30", "30.0%", "0.100%", "passes")
    assert len(rule.row()) == len(HEADER)


def test_less_fraud_than_30_percent_keeps_a_rule_back():
    assert one(hits("rule", 100), 29, 71).missing == ("precision under 30%",)


def test_half_a_percent_of_the_traffic_keeps_a_rule_back():
    assert one(hits("rule", 100), 30, 70, purchases=20_000).missing == ("hits 0.5% of traffic or more",)
    assert one(hits("rule", 100), 30, 70, purchases=20_001).released


def test_a_rule_without_enough_verdicts_is_not_believed():
    assert one(hits("rule", 100), 29, 0).missing == ("29 of 30 labels",)
    unlabelled = one(hits("rule", 100), 0, 0)
    assert unlabelled.precision is None
    assert unlabelled.row()[4] == "–"


def test_a_purchase_that_a_rule_hits_twice_counts_once_and_each_rule_for_itself():
    first, second = measure([*hits("a", 3), *hits("a", 3), *hits("b", 2)], verdicts(1, 1), 10, ["a", "b"])
    assert (first.hits, first.labelled, first.confirmed) == (3, 2, 1)
    assert (second.hits, second.labelled, second.confirmed) == (2, 2, 1)


def test_a_rule_that_hit_nothing_is_in_the_table_too():
    assert [rule.hits for rule in measure([], {}, 10, ["quiet"])] == [0]


def test_no_purchases_are_no_measure():
    with pytest.raises(ValueError, match="saw no purchase"):
        measure([], {}, 0, ["rule"])
