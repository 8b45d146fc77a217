"""The models: the handbook's, as it sets them, and candidates for the platform's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    ExtraTreesClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    VotingClassifier,
)
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from retail_platform.reactions.fraud.features import NAMES
from retail_platform.reactions.training.trees import PARAMETERS

_SEED = 0

Make = Callable[[], Any]


def _forest(**values: Any) -> Any:
    return RandomForestClassifier(n_jobs=2, random_state=_SEED, **values)


def _extra(**values: Any) -> Any:
    return ExtraTreesClassifier(n_jobs=2, random_state=_SEED, **values)


def _boosting(**values: Any) -> Any:
    return HistGradientBoostingClassifier(random_state=_SEED, **values)


def _logistic(**values: Any) -> Any:
    return LogisticRegression(random_state=_SEED, max_iter=1_000, **values)


def _scaled(model: Any) -> Any:
    """The model behind standard scaling from its training set."""
    return make_pipeline(StandardScaler(), model)


def _of_15(model: Any) -> Any:
    """The model, scaled, that reads the handbook's 15 features only."""
    return make_pipeline(ColumnTransformer([("handbook", "passthrough", slice(len(NAMES)))]), _scaled(model))


def _vote(*models: Any) -> Any:
    return VotingClassifier([(str(number), model) for number, model in enumerate(models)], voting="soft")


#: The handbook's four: library defaults but for the tree's depth. Its boosting is XGBoost; here it is scikit-learn's.
HANDBOOK: dict[str, Make] = {
    "logistic regression": lambda: _of_15(_logistic()),
    "decision tree, depth 2": lambda: _of_15(DecisionTreeClassifier(max_depth=2, random_state=_SEED)),
    "random forest": lambda: _of_15(_forest()),
    "gradient boosting": lambda: _of_15(_boosting()),
}

_GENTLE = {
    "learning_rate": 0.05,
    "max_iter": 150,
    "max_leaf_nodes": 15,
    "min_samples_leaf": 40,
    "l2_regularization": 5.0,
}

_SMALL_LEAVES: dict[str, Any] = {"n_estimators": 100, "min_samples_leaf": 5, "max_features": 8}

#: What the platform's own model is chosen from: few enough for a run of minutes.
CANDIDATES: dict[str, Make] = {
    "forest, leaves of 3": lambda: _of_15(_forest(n_estimators=100, min_samples_leaf=3, max_samples=0.4)),
    "extra trees, leaves of 5": lambda: _of_15(_extra(**_SMALL_LEAVES)),
    "gentle boosting": lambda: _of_15(_boosting(**_GENTLE)),
    "extra trees and logistic": lambda: _vote(_of_15(_extra(**_SMALL_LEAVES)), _of_15(_logistic())),
    "random forest of 22 features": lambda: RandomForestClassifier(n_jobs=2, **PARAMETERS),
    "extra trees of 22 features, depth 8": lambda: _extra(
        n_estimators=100, max_depth=8, min_samples_leaf=5, max_features=None
    ),
    "extra trees of 22 features, depth 10": lambda: _extra(
        n_estimators=60, max_depth=10, min_samples_leaf=5, max_features=10
    ),
}
