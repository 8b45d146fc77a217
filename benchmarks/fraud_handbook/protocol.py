"""How a model is trained and measured: the handbook's weeks."""

from __future__ import annotations

from typing import Any

import numpy as np

from retail_platform.reactions.training.dataset import Dataset, Floats
from retail_platform.reactions.training.measures import Measures, measures
from retail_platform.reactions.training.split import Weeks

WEEKS = Weeks(train_days=7, delay_days=7, test_days=7)

#: The test begins on 2018-08-08: training days 2018-07-25 to 31, counted from 2018-04-01.
TRAIN_START = 115


def scored(model: Any, train: Dataset, test: Dataset) -> Floats:
    """Fit the model on the training set, and what it then says of each row of the test set."""
    model.fit(train.features, train.fraud)
    return np.asarray(model.predict_proba(test.features)[:, 1])


def measured(model: Any, train: Dataset, test: Dataset) -> Measures:
    """Fit the model on the training set and measure it on the test set."""
    return measures(test, scored(model, train, test))
