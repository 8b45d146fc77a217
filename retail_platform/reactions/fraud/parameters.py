"""Every threshold of the card rules and of the store rule, with its unit and where it comes from.

Each rule has two things beside its thresholds. ``probability`` is the chance that a hit is fraud, which is what the score
is made of: a prior, until whoever releases the rule puts its measured precision here (``retail fraud rules``). ``shadow`` is
shadow mode: the rule is evaluated and its alerts are sent marked ``shadow``, but it never counts in a score.

Where "prior" is given as a source there is no published figure: it is a cautious start, to be replaced by measurement.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

DAY_SECONDS = 86_400
HOUR_SECONDS = 3_600


@dataclass(frozen=True, slots=True)
class Velocity:
    """Many purchases with one card.

    ``seconds``: the window. ``purchases``: a hit at this many within it (6 an hour, 20 a day: prior; on the simulated
    retailer, 79,142 card purchases of three weeks, no honest card comes to more than 2 in an hour or 3 in a day).
    """

    seconds: int
    purchases: int
    probability: Decimal
    shadow: bool = False


@dataclass(frozen=True, slots=True)
class CardTesting:
    """Small purchases over several stores: a thief tries whether a stolen card works before spending on it.

    ``seconds``: the window, 10 minutes (issue 5). ``most_usd``: what still is small, in USD (prior: tests are of a few
    dollars). ``purchases``, ``stores``: a hit at so many small purchases in so many different stores (prior).
    """

    seconds: int = 600
    most_usd: Decimal = Decimal(5)
    purchases: int = 4
    stores: int = 2
    probability: Decimal = Decimal("0.85")
    shadow: bool = False


@dataclass(frozen=True, slots=True)
class ImpossibleTravel:
    """Two consecutive purchases at tills, farther apart than a traveller comes in the time between.

    ``kmh``: the fastest believed speed between two stores in km/h: an airliner cruises at about 900, and from till to till
    there is ground time too. ``near_km``: by how much a distance may be told too long (tills are located by city or shopping
    centre). ``quick_seconds``: by how much a time may be told too short, as the clocks of two tills disagree. Both are
    given to the traveller, so what is near or quick hits only beyond what they explain.
    """

    kmh: float = 700.0
    near_km: float = 100.0
    quick_seconds: int = 300
    probability: Decimal = Decimal("0.8")
    shadow: bool = False


@dataclass(frozen=True, slots=True)
class Baseline:
    """What a receipt of mostly one category costs: median and median absolute deviation, in USD."""

    category: str
    median_usd: Decimal
    mad_usd: Decimal


@dataclass(frozen=True, slots=True)
class UnusualAmount:
    """An amount far above what the card ever pays, by the modified z score 0.6745·(x − median)/MAD.

    ``z``: the threshold. Iglewicz and Hoaglin (1993) label outliers of a normal sample from 3.5; baskets are skewed to the
    right, so it is set by measurement instead. On the simulated retailer 7 hits 0.7 % of purchases and 20 0.1 %. What share
    of these is fraud depends on how much fraud there is: with 2 % planted 80 %, with 0.2 % planted 11 %, and 62 % from 40
    on, which finds 5 of 8. ``history``: purchases that the card must have to be its own measure (prior).
    ``least_usd``: no smaller amount hits, in USD (prior: a smaller loss is not worth a call). ``least_mad_usd``: floor of the
    deviation in USD, so that a card that always pays the same is not alarmed by a cent more. ``baselines``: the
    measure of a card without history, by the category that most of the receipt's money is for; ``baseline`` for the others
    (prior; the nightly marts can give better ones).
    """

    z: float = 20.0
    history: int = 8
    least_usd: Decimal = Decimal(300)
    least_mad_usd: Decimal = Decimal(10)
    baseline: Baseline = Baseline("", Decimal(60), Decimal(40))
    baselines: tuple[Baseline, ...] = (
        Baseline("Grocery", Decimal(30), Decimal(20)),
        Baseline("Gift cards", Decimal(50), Decimal(25)),
        Baseline("Electronics", Decimal(250), Decimal(150)),
    )
    probability: Decimal = Decimal("0.5")
    shadow: bool = False


@dataclass(frozen=True, slots=True)
class FirstSeen:
    """A high amount where the card was never seen before.

    ``history``: purchases that the card must have before a place can be new to it (prior). ``least_usd``: what a high
    amount is, in USD (prior). ``times_median``: and at least so many times the card's median amount (prior).
    """

    probability: Decimal
    history: int = 5
    least_usd: Decimal = Decimal(300)
    times_median: Decimal = Decimal(3)
    shadow: bool = False


@dataclass(frozen=True, slots=True)
class StoreRisk:
    """A store where lately a large share of card purchases was fraud, as far as labels have come.

    ``delay_days``: days until the label of a purchase is known: 7, as in the Fraud Detection Handbook (Le Borgne et al.,
    chapter 3); younger purchases do not count. ``window_days``: the days before those that do: 28, the life of a compromised
    terminal there. ``share``: a hit at this share of confirmed fraud, which is at the same time the precision to expect:
    30 %, the release criterion of issue 5. ``prior_share`` at the weight of ``prior_purchases`` is added to the counts, so
    that one fraud in a small store is no alarm (empirical Bayes; the handbook's overall share of fraud is 0.84 %).
    ``confirmed``: and at least so many confirmed frauds (prior). ``remembered``: newest ids of events kept.
    """

    delay_days: int = 7
    window_days: int = 28
    share: Decimal = Decimal("0.3")
    prior_share: Decimal = Decimal("0.0084")
    prior_purchases: int = 10
    confirmed: int = 3
    remembered: int = 128
    probability: Decimal = Decimal("0.3")
    shadow: bool = False


@dataclass(frozen=True, slots=True)
class ModelRule:
    """A trained model's score at or above the threshold that was set when it was trained.

    ``features_told``: features that the evidence names, those that moved the score most. The score is the probability. In
    shadow until the measures release it: a model is replaced, its rule is not.
    """

    features_told: int = 5
    shadow: bool = True


@dataclass(frozen=True, slots=True)
class Parameters:
    """All of them under one ``version``, which every alert names.

    ``remembered``: newest purchases of a card that are kept, by arrival: history, and memory for duplicates.
    ``medium``, ``high``: the scores from which an alert is of that severity (prior: one strong rule, or two together).
    """

    version: str
    velocity_1h: Velocity = Velocity(HOUR_SECONDS, 6, Decimal("0.6"))
    velocity_24h: Velocity = Velocity(DAY_SECONDS, 20, Decimal("0.5"))
    card_testing: CardTesting = CardTesting()
    impossible_travel: ImpossibleTravel = ImpossibleTravel()
    unusual_amount: UnusualAmount = UnusualAmount()
    # Honest customers see new stores and tills, and spend there: in shadow until their measures release them.
    first_seen_store: FirstSeen = FirstSeen(Decimal("0.4"), shadow=True)
    first_seen_device: FirstSeen = FirstSeen(Decimal("0.3"), shadow=True)
    # It hits every purchase of a risky store, the honest ones too: in shadow likewise.
    store_risk: StoreRisk = StoreRisk(shadow=True)
    model: ModelRule = ModelRule()
    remembered: int = 128
    medium: Decimal = Decimal("0.5")
    high: Decimal = Decimal("0.8")


DEFAULT = Parameters("2026-11-30")
