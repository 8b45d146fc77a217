"""The Fraud Detection Handbook's benchmark: its models and the platform's own, over several simulated half years."""

from __future__ import annotations

import platform
import statistics
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks import results
from benchmarks.fraud_handbook import document
from benchmarks.fraud_handbook.dataset import REACH_DAYS, dataset
from benchmarks.fraud_handbook.models import CANDIDATES, HANDBOOK, Make
from benchmarks.fraud_handbook.protocol import TRAIN_START, WEEKS, measured, scored
from benchmarks.fraud_handbook.simulator import DAY_SECONDS, Transactions, simulate
from benchmarks.progress import counted, say
from retail_platform.reactions.training.dataset import Dataset
from retail_platform.reactions.training.measures import Measures, alerting, measures
from retail_platform.reactions.training.split import split
from retail_platform.reactions.training.weekly import alert_threshold
from retail_platform.settings import PROJECT_ROOT

RESULTS = PROJECT_ROOT / "docs" / "fraud-results.json"
DOCUMENT = PROJECT_ROOT / "docs" / "fraud.md"

#: The simulated half year on which the model is chosen; it is in no reported figure.
CHOICE_SEED = 1_000
#: Training weeks of the choice: their test weeks end before the test week of the protocol begins.
CHOICE_STARTS = (TRAIN_START - 28, TRAIN_START - 21, TRAIN_START - 14)

_DAYS = WEEKS.train_days + WEEKS.delay_days + WEEKS.test_days


def measure(seeds: int) -> dict[str, Any]:
    """Choose the model on one simulation, then train and measure it and the handbook's on the others.

    Figures: ``choice`` (mean measures by candidate), ``chosen``, ``seeds`` (size, frauds, measures by model, the alerts of the
    chosen one), ``mean`` and ``deviation`` of each measure by model, ``alerting`` the mean of the alerts' figures.
    """
    choice = _chosen()
    chosen = max(choice, key=lambda name: statistics.fmean(choice[name].values()))
    say(f"chosen: {chosen}")
    models = {**HANDBOOK, f"chosen: {chosen}": CANDIDATES[chosen]}
    by_seed = {str(seed): _seed(seed, models) for seed in range(seeds)}
    of_models = {name: [one["measures"][name] for one in by_seed.values()] for name in models}
    return {
        "versions": {"python": platform.python_version()}
        | {package: version(package) for package in ("numpy", "scikit-learn")},
        "parameters": {"seeds": list(range(seeds)), "choice seed": CHOICE_SEED},
        "figures": {
            "choice": choice,
            "chosen": chosen,
            "seeds": by_seed,
            "mean": {name: _over(found, statistics.fmean) for name, found in of_models.items()},
            "deviation": {name: _over(found, statistics.stdev) for name, found in of_models.items()},
            "alerting": _over([one["alerting"] for one in by_seed.values()], statistics.fmean),
        },
    }


def publish(result: results.Result, file: Path = RESULTS, page: Path = DOCUMENT) -> None:
    """Write the result file and the page."""
    results.record("fraud", result, file)
    page.write_text(document.text(result), encoding="utf-8")


def _chosen() -> dict[str, Measures]:
    data = _dataset(simulate(CHOICE_SEED), CHOICE_STARTS[0], CHOICE_STARTS[-1] + _DAYS, "choice")
    weeks = [split(data, start, WEEKS) for start in CHOICE_STARTS]
    choice = {}
    with counted("candidates", len(CANDIDATES) * len(weeks)) as told:
        for number, (name, make) in enumerate(CANDIDATES.items()):
            found = []
            for week, (train, test) in enumerate(weeks, start=1):
                found.append(measured(make(), train, test))
                told(number * len(weeks) + week)
            choice[name] = _over(found, statistics.fmean)
    return choice


def _seed(seed: int, models: dict[str, Make]) -> dict[str, Any]:
    transactions = simulate(seed)
    data = _dataset(transactions, TRAIN_START, TRAIN_START + _DAYS, f"seed {seed}")
    train, test = split(data, TRAIN_START, WEEKS)
    found = {}
    with counted(f"models on seed {seed}", len(models)) as told:
        for number, (name, make) in enumerate(models.items(), start=1):
            scores = scored(make(), train, test)
            found[name] = measures(test, scores)
            told(number)
    return {
        "transactions": len(transactions.fraud),
        "frauds": int(transactions.fraud.sum()),
        "test_transactions": len(test.fraud),
        "test_frauds": int(test.fraud.sum()),
        "measures": found,
        # The scores of the last of the models, which is the chosen one.
        "alerting": alerting(test, scores, alert_threshold(test, scores)),
    }


def _dataset(transactions: Transactions, first_day: int, end_day: int, title: str) -> Dataset:
    wanted = transactions.until(end_day)
    total = int((wanted.seconds >= (first_day - REACH_DAYS) * DAY_SECONDS).sum())
    with counted(f"features, {title}", total) as told:
        found = dataset(wanted, first_day, told)
        told(total)
    return found


def _over(found: list[Measures], summary: Any) -> Measures:
    return {name: round(summary([measures[name] for measures in found]), 4) for name in found[0]}
