"""The trees: fitted by scikit-learn, taken out of it as data."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.ensemble import RandomForestClassifier

from retail_platform.reactions.fraud.model import LEAF, Tree
from retail_platform.reactions.training.dataset import Flags, Floats

#: Chosen among candidates on the handbook's data, docs/fraud.md.
PARAMETERS: dict[str, Any] = {
    "n_estimators": 100,
    "max_depth": 8,
    "min_samples_leaf": 5,
    "max_features": 8,
    "random_state": 0,
}


def fitted(features: Floats, fraud: Flags) -> Any:
    """The random forest (Breiman, 2001) that learned these rows; the same for the same rows."""
    return RandomForestClassifier(**PARAMETERS).fit(features, fraud)


def exported(classifier: Any) -> tuple[Tree, ...]:
    """The trees of a fitted forest or extra trees, whose classes are no fraud and fraud."""
    return tuple(_tree(estimator.tree_) for estimator in classifier.estimators_)


def _tree(tree: Any) -> Tree:
    leaf = tree.children_left == tree.children_right
    return Tree(
        feature=tuple(np.where(leaf, LEAF, tree.feature).tolist()),
        threshold=tuple(np.where(leaf, 0.0, tree.threshold).tolist()),
        left=tuple(tree.children_left.tolist()),
        right=tuple(tree.children_right.tolist()),
        share=tuple(tree.value[:, 0, 1].tolist()),
    )
