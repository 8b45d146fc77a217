"""A trained model as data: trees in a versioned JSON file, and the arithmetic that scores with them.

Nothing of the library that trained it is needed to score, or to read the file. The trees are those of
``reactions/training``; what a score is made of is told by the path through them.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from retail_platform.errors import RetailError
from retail_platform.reactions.fraud.features import DEFAULT, MODEL_NAMES

FORMAT = "retail.fraud-model.v1"

#: In :attr:`Tree.feature`: the node is a leaf.
LEAF = -1

_DIGEST = 8


@dataclass(frozen=True, slots=True)
class Tree:
    """A binary tree, its nodes numbered from the root, 0; an entry a node in each of these.

    ``feature``: place of the feature that the node asks for, or :data:`LEAF`. ``threshold``: the feature's value, as a 32-bit
    float, up to which it goes ``left``, past which ``right``. ``share``: of the training purchases that came to the node, the
    share that was fraud.
    """

    feature: tuple[int, ...]
    threshold: tuple[float, ...]
    left: tuple[int, ...]
    right: tuple[int, ...]
    share: tuple[float, ...]

    def leaf(self, values: Sequence[float]) -> int:
        """The node in which the purchase ends; ``values`` are already of 32 bits. Done for each tree at each purchase."""
        feature, threshold, left, right = self.feature, self.threshold, self.left, self.right
        node = 0
        while (asked := feature[node]) != LEAF:
            node = left[node] if values[asked] <= threshold[node] else right[node]
        return node

    def path(self, values: Sequence[float]) -> list[int]:
        """The nodes from the root to the leaf, likewise."""
        node, found = 0, [0]
        while (feature := self.feature[node]) != LEAF:
            node = (self.left if values[feature] <= self.threshold[node] else self.right)[node]
            found.append(node)
        return found


@dataclass(frozen=True, slots=True)
class Model:
    """Trees whose mean is the probability of fraud, and what is known of them.

    ``version``: the first date of the week that it was tested on, and a digest of all the rest. ``features``: their names in
    order. ``feature_version``: that of :class:`~retail_platform.reactions.fraud.features.Parameters`; both must be those of
    the code that scores. ``threshold``: the score from which a purchase is a hit. ``trees``: the ensemble. ``training``,
    ``test``: what it learned from and how it did, as ``reactions/training`` tells it.
    """

    version: str
    features: tuple[str, ...]
    feature_version: str
    threshold: float
    trees: tuple[Tree, ...]
    training: Mapping[str, Any]
    test: Mapping[str, Any]

    def score(self, vector: Sequence[float]) -> float:
        """The probability of fraud, 0 to 1: to the bit what the library's ``predict_proba`` says."""
        values = _of_32_bits(vector)
        # Not sum(): from Python 3.12 on it makes good for what rounding loses, and the library does not.
        total = 0.0
        for tree in self.trees:
            total += tree.share[tree.leaf(values)]
        return total / len(self.trees)

    def contributions(self, vector: Sequence[float]) -> dict[str, float]:
        """How far each feature moved the score from the share of fraud in training (Saabas, 2014); the sum is the move.

        Each step of a path changes the share of fraud from one node's to the next; the change is the asked feature's.
        """
        values = _of_32_bits(vector)
        moved = dict.fromkeys(self.features, 0.0)
        for tree in self.trees:
            path = tree.path(values)
            for node, following in pairwise(path):
                moved[self.features[tree.feature[node]]] += tree.share[following] - tree.share[node]
        return {name: value / len(self.trees) for name, value in moved.items()}

    def text(self) -> str:
        """The model as the JSON of a file."""
        return _json({"format": FORMAT, "version": self.version, **_content(self)})


def versioned(
    first_date: str,
    threshold: float,
    trees: tuple[Tree, ...],
    training: Mapping[str, Any],
    test: Mapping[str, Any],
) -> Model:
    """A model of this code's features, under its version; ``first_date`` of the week that it was tested on."""
    unnamed = Model("", MODEL_NAMES, DEFAULT.version, threshold, trees, training, test)
    return Model(f"{first_date}.{_digest(unnamed)}", MODEL_NAMES, DEFAULT.version, threshold, trees, training, test)


def parsed(text: str) -> Model:
    """The model of a file.

    Raises:
        RetailError: it is no such file, was changed after it was written, or was trained with other features than this
            code counts.
    """
    try:
        found = json.loads(text)
        if found["format"] != FORMAT:
            raise RetailError(f"its format is {found['format']}, not {FORMAT}")
        trees = tuple(Tree(**{name: tuple(values) for name, values in tree.items()}) for tree in found["trees"])
        model = Model(
            found["version"],
            tuple(found["features"]),
            found["feature_version"],
            found["threshold"],
            trees,
            found["training"],
            found["test"],
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RetailError(f"it is no fraud model ({type(error).__name__}: {error})") from error
    if not model.version.endswith(f".{_digest(model)}"):
        raise RetailError("its content is not what its version says: it was changed after it was written")
    if (model.features, model.feature_version) != (MODEL_NAMES, DEFAULT.version):
        raise RetailError(
            f"it was trained with features {model.feature_version}, and {DEFAULT.version} are counted here"
        )
    return model


def _of_32_bits(vector: Sequence[float]) -> tuple[float, ...]:
    """The nearest 32-bit floats: the library compares these with its thresholds."""
    form = f"{len(vector)}f"
    return struct.unpack(form, struct.pack(form, *vector))


def _content(model: Model) -> dict[str, Any]:
    content = asdict(model)
    del content["version"]
    return content


def _digest(model: Model) -> str:
    return hashlib.sha256(_json(_content(model)).encode()).hexdigest()[:_DIGEST]


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
