"""The table of all classes: by hand, and scikit-learn's to the letter."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest

from xpcnn import metrics
from xpcnn.device import Device
from xpcnn.metrics import classification_report

TRUE = ["cat", "dog", "dog", "owl", "owl", "owl"]
SEEN = ["cat", "dog", "owl", "owl", "owl", "cat"]

TABLE = """\
              precision    recall  f1-score   support

         cat      0.500     1.000     0.667         1
         dog      1.000     0.500     0.667         2
         owl      0.667     0.667     0.667         3

    accuracy                          0.667         6
   macro avg      0.722     0.722     0.667         6
weighted avg      0.750     0.667     0.667         6
"""


def test_by_hand() -> None:
    assert classification_report(TRUE, SEEN, digits=3) == TABLE
    found = classification_report(TRUE, SEEN, output_dict=True)
    assert found["dog"] == {
        "precision": 1.0, "recall": 0.5, "f1-score": pytest.approx(2 / 3), "support": 2.0
    }  # fmt: skip
    assert found["accuracy"] == pytest.approx(4 / 6)
    assert list(found) == ["cat", "dog", "owl", "accuracy", "macro avg", "weighted avg"]


def test_labels_on_a_device(device: Device) -> None:
    true, seen = np.array([[0, 1], [1, 2]]), np.array([[0, 1], [2, 2]])
    text = classification_report(device.asarray(true), device.asarray(seen))
    assert text == classification_report(true.ravel(), seen.ravel())
    ignoring = classification_report(
        device.asarray(np.array([[0, 1], [255, 2]])), device.asarray(seen), ignore_index=255
    )
    assert ignoring == classification_report([0, 1, 2], [0, 1, 2])


@pytest.fixture
def theirs() -> Any:
    return pytest.importorskip("sklearn.metrics").classification_report


def same(ours: dict[str, Any], expected: dict[str, Any]) -> None:
    assert list(ours) == list(expected)
    for name, row in expected.items():
        if isinstance(row, dict):
            assert list(ours[name]) == list(row)
            np.testing.assert_allclose(list(ours[name].values()), list(row.values()), err_msg=name)
            assert {type(value) for value in ours[name].values()} == {float}
        else:
            np.testing.assert_allclose(ours[name], row)


@pytest.mark.parametrize("zero_division", [0, 1, math.nan])
@pytest.mark.parametrize("classes", [1, 2, 6])
def test_classes_as_scikit_learn(
    theirs: Any, rng: np.random.Generator, zero_division: float, classes: int
) -> None:
    names = ["a", "a much longer name than usual", "c", "accuracy", "e", "f"]
    for _ in range(5):
        true, seen = rng.integers(0, classes, 12), rng.integers(0, max(1, classes - 1), 12)
        seen[0] = true[0]  # with nothing right, scikit-learn 1.9 prints the support as floats
        there = np.unique([true, seen])
        for options in (
            {},
            {"digits": 4},
            {"target_names": [names[c] for c in there]},
            {"labels": range(6), "target_names": names},
            {"labels": [1, 0]},
            {"labels": [5, 4], "digits": 0},
        ):
            given = {**options, "zero_division": zero_division}
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # theirs, of empty slices
                expected = theirs(true, seen, **given)
                table = theirs(true, seen, **given, output_dict=True)
            assert classification_report(true, seen, **given) == expected
            same(classification_report(true, seen, **given, output_dict=True), table)


@pytest.mark.parametrize("zero_division", [0, 1, math.nan])
def test_label_sets_as_scikit_learn(
    theirs: Any, rng: np.random.Generator, zero_division: float
) -> None:
    for share in (0.5, 0.1):
        true, seen = (rng.random((2, 15, 4)) < share).astype(int)
        for options in ({}, {"target_names": list("abcd")}, {"labels": [2, 0]}):
            given = {**options, "zero_division": zero_division}
            assert classification_report(true, seen, **given) == theirs(true, seen, **given)
            same(
                classification_report(true, seen, **given, output_dict=True),
                theirs(true, seen, **given, output_dict=True),
            )
    unknown = true.copy()
    unknown[0, 0] = -1
    rows = classification_report(unknown, seen, output_dict=True, ignore_index=-1, zero_division=0)
    assert rows["0"]["support"] == true[1:, 0].sum()


@pytest.mark.parametrize("kind", [bool, float, str, object])
def test_labels_of_any_kind(theirs: Any, rng: np.random.Generator, kind: type) -> None:
    true, seen = (rng.integers(0, 2, 20).astype(kind) for _ in range(2))
    assert classification_report(true, seen) == theirs(
        true.tolist() if kind is object else true, seen.tolist() if kind is object else seen
    )
    assert classification_report(true[:, None], seen) == classification_report(true, seen)


def test_a_ratio_without_denominator_warns() -> None:
    with pytest.warns(UserWarning, match="pass zero_division=0, 1 or nan"):
        text = classification_report([0, 1], [0, 0])
    assert text == classification_report([0, 1], [0, 0], zero_division=0)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        (([0, 1], [0]), {}, ValueError, "y_true has shape \\(2,\\) and y_pred \\(1,\\)"),
        (([0, 1], [0.2, 0.8]), {}, TypeError, "y_pred holds scores.*argmax\\(axis=1\\)"),
        (([0, 1], ["a", "b"]), {}, TypeError, "names in both, or numbers in both"),
        (([0, 1], [0, 1j]), {}, TypeError, "y_pred must hold labels"),
        ((1, 1), {}, ValueError, "y_true must be an array of labels"),
        ((TRUE, SEEN), {"target_names": ["a"]}, ValueError, "has 1 names.* 3 classes, cat, dog"),
        ((TRUE, SEEN), {"digits": -1}, ValueError, "digits must be a whole number"),
        ((TRUE, SEEN), {"zero_division": 0.5}, ValueError, "must be 'warn', 0, 1 or nan, got 0.5"),
        ((TRUE, SEEN), {"zero_division": "0"}, ValueError, "zero_division must be 'warn'"),
        (
            (np.eye(2, dtype=int), np.eye(2, dtype=int)),
            {"labels": [2]},
            ValueError,
            "names the column 2",
        ),
    ],
)
def test_wrong_use(arguments: Any, options: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"classification_report: .*{message}"):
        classification_report(*arguments, **options)


def test_it_is_no_metric_of_a_model() -> None:
    with pytest.raises(ValueError, match="unknown metric 'classification_report'"):
        metrics.get("classification_report")
