"""A model as data scores to the bit what the library that trained it says, and its file is what was written."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier

from retail_platform.errors import RetailError
from retail_platform.reactions.fraud.features import MODEL_NAMES
from retail_platform.reactions.fraud.model import Model, parsed, versioned
from retail_platform.reactions.fraud.published import CURRENT, Published, read, write
from retail_platform.reactions.training.trees import exported

FEW = settings(max_examples=40, deadline=None)
LIBRARY = {"n_estimators": 7, "min_samples_leaf": 2, "random_state": 0}


def learned(kind=ExtraTreesClassifier, seed=0):
    """A classifier of 400 rows whose values are coarse, so that thresholds lie on them or a bit beside."""
    random = np.random.default_rng(seed)
    rows = random.integers(0, 50, (400, len(MODEL_NAMES))) / 10
    return kind(**LIBRARY).fit(rows, (rows[:, 0] + rows[:, 3] > 7) | (random.random(400) < 0.05)), rows


FITTED = {kind.__name__: learned(kind) for kind in (ExtraTreesClassifier, RandomForestClassifier)}


def model(classifier=None, threshold=0.5, first_date="2026-03-02"):
    trees = exported(classifier or FITTED["ExtraTreesClassifier"][0])
    return versioned(first_date, threshold, trees, {"last_date": "2026-02-22"}, {"first_date": first_date})


def thresholds(classifier):
    return sorted({value for tree in classifier.estimators_ for value in tree.tree_.threshold.tolist()})


@pytest.mark.parametrize("kind", FITTED)
@FEW
@given(data=st.data())
def test_the_score_is_to_the_bit_the_librarys_probability(kind, data):
    classifier, rows = FITTED[kind]
    # Values on a threshold and next to it: which side they fall on shows whether 32 bits are compared.
    near = st.sampled_from(thresholds(classifier)).flatmap(
        lambda value: st.sampled_from([value, float(np.nextafter(value, -9)), float(np.nextafter(value, 9))])
    )
    value = near | st.floats(-1e6, 1e6) | st.sampled_from(rows[:, 0].tolist())
    vector = data.draw(st.lists(value, min_size=len(MODEL_NAMES), max_size=len(MODEL_NAMES)))
    assert model(classifier).score(vector) == classifier.predict_proba([vector])[0, 1]


@FEW
@given(vector=st.lists(st.floats(0, 6), min_size=len(MODEL_NAMES), max_size=len(MODEL_NAMES)))
def test_what_features_moved_adds_up_to_the_score(vector):
    known = model()
    roots = sum(tree.share[0] for tree in known.trees) / len(known.trees)
    assert sum(known.contributions(vector).values()) == pytest.approx(known.score(vector) - roots)


def test_a_file_is_read_as_it_was_written(tmp_path):
    write(tmp_path / "models" / CURRENT, model())
    assert read(tmp_path / "models" / CURRENT) == model()
    assert [file.name for file in (tmp_path / "models").iterdir()] == [CURRENT]
    assert read(tmp_path / "none.json") is None


def test_equal_models_have_the_same_version_and_others_another():
    again, other = model(), model(learned(seed=1)[0])
    assert model().version == again.version != other.version
    assert model(threshold=0.4).version != again.version
    assert len(again.version) <= 20  # what an alert has room for


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"threshold": 0.1}, "was changed after it was written"),
        ({"format": "other"}, "its format is other"),
        ({"trees": 3}, "is no fraud model"),
    ],
)
def test_a_file_that_is_no_model_is_refused_in_one_line_that_names_it(tmp_path, change, said):
    path = tmp_path / CURRENT
    path.write_text(json.dumps(json.loads(model().text()) | change))
    with pytest.raises(RetailError, match=said) as refused:
        read(path)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_model_of_other_features_is_refused():
    known = model()
    content = {**json.loads(known.text()), "feature_version": "2020-01-01"}
    renamed = Model("", known.features, "2020-01-01", known.threshold, known.trees, known.training, known.test)
    content["version"] = versioned_as(renamed)
    with pytest.raises(RetailError, match="trained with features 2020-01-01"):
        parsed(json.dumps(content))


def versioned_as(known):
    from retail_platform.reactions.fraud import model as module

    return f"2026-03-02.{module._digest(known)}"


def test_the_published_model_is_read_again_when_the_file_is_another_and_a_broken_one_changes_nothing(tmp_path, caplog):
    published = Published(tmp_path)
    assert published.model() is None
    first, second = model(), model(threshold=0.4)
    write(tmp_path / CURRENT, first)
    assert published.model() == first
    assert published.model() is published.model()
    write(tmp_path / CURRENT, second)
    assert published.model() == second
    (tmp_path / CURRENT).write_text("{}")
    for _ in itertools.repeat(None, 3):
        assert published.model() == second
    assert [record.message.count(str(tmp_path)) for record in caplog.records] == [1]
    (tmp_path / CURRENT).unlink()
    assert published.model() is None
