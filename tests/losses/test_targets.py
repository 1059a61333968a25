"""Targets that a loss cannot learn from are refused before the first step."""

from __future__ import annotations

import numpy as np
import pytest

import xpcnn
from xpcnn import losses


@pytest.mark.parametrize("loss", ["cross_entropy", "nll", "multi_margin"])
@pytest.mark.parametrize("shape", [(6,), (6, 1)])
def test_one_column_is_no_choice_of_classes(loss: str, shape: tuple[int, ...]) -> None:
    x, y = np.ones((6, 2), "float32"), np.arange(6).reshape(shape) % 2
    model = xpcnn.Model([xpcnn.Linear(2, 1)], device="cpu", seed=0)
    model.build((None, 2))
    before = model.state_dict()
    chosen = losses.get(loss)
    with pytest.raises(ValueError, match="one column of scores.*'bce_with_logits'"):
        chosen.prepare_target((6, 1), y, "float32")
    with pytest.raises(ValueError, match="one column of scores"):
        chosen.prepare_target((6, 1, 4, 4), np.zeros((6, 4, 4), int), "float32")
    if loss == "cross_entropy":
        with pytest.raises(ValueError, match="one column of scores"):
            model.fit(x, y, optimizer="sgd", loss=loss, verbose=0)
        for name, array in model.state_dict().items():
            np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize("loss", [losses.CrossEntropyLoss(), losses.NLLLoss([1.0, 2.0, 3.0])])
def test_shares_add_up_to_one(loss: losses.Loss) -> None:
    good = np.array([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0]])
    np.testing.assert_array_equal(loss.prepare_target((2, 3), good, "float64"), good)
    for row, total in (([0.0, 0.0, 0.0], "0"), ([1.5, 0.0, 0.0], "1.5"), ([1, 1, 0], "2")):
        bad = np.array([good[0], row])
        with pytest.raises(ValueError, match=f"they add up to {total} at index 1 and 1 are wrong"):
            loss.prepare_target((2, 3), bad, "float64")
        places = np.moveaxis(np.array([[good, bad]]), -1, 1)  # (1, 3, 2, 2)
        with pytest.raises(ValueError, match=r"at index \(0, 1, 1\)"):
            loss.prepare_target((1, 3, 2, 2), places, "float64")
    with pytest.raises(ValueError, match="must not be negative"):
        loss.prepare_target((1, 3), np.array([[1.5, -0.5, 0.0]]), "float64")


def test_something_must_count() -> None:
    labels = np.full((4, 2, 2), 255)
    loss = losses.CrossEntropyLoss(ignore_index=255)
    with pytest.raises(ValueError, match="all 16 labels are 255, the ignore_index"):
        loss.check_something_counts(loss.prepare_target((4, 3, 2, 2), labels, "float32"))
    labels[0, 0, 0] = 1
    assert loss.prepare_target((4, 3, 2, 2), labels, "float32")[0, 0, 0] == 1
    weighted = losses.NLLLoss([1.0, 0.0, 1.0], ignore_index=255)
    with pytest.raises(ValueError, match="have a weight of 0"):
        weighted.check_something_counts(labels)
    model = xpcnn.Model([xpcnn.Linear(2, 3)], device="cpu", seed=0)
    model.compile("sgd", xpcnn.CrossEntropyLoss())
    with pytest.raises(ValueError, match="all 5 labels are -100, the ignore_index"):
        model.fit(np.ones((5, 2), "float32"), np.full(5, -100), verbose=0)
