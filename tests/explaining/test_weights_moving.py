"""The animation of how the gradient of a filter comes about."""

from __future__ import annotations

import numpy as np
import pytest

import xpcnn
from xpcnn.explaining.animation import animate
from xpcnn.scratch.conv1d import SimpleConv1d


def _last(animation, title):
    """Return the numbers of a table in the last step, without its labels."""
    start = 0
    for grid in animation.scene.grids:
        size = grid.rows * grid.columns
        if grid.title.startswith(title):
            cells = animation.scene.frames[-1].cells[start : start + size]
            table = np.array([c.text for c in cells]).reshape(grid.rows, grid.columns)
            return table[1:, 1:].astype(float)
        start += size
    raise AssertionError(title)


def test_the_example_of_the_course():
    conv = SimpleConv1d([3.0, 5.0, 7.0], [1.0])
    moving = xpcnn.explain(conv, [1, 2, 3, 4], dy=[10, 20]).animate("weights")
    first, last = moving.scene.frames
    assert first.lines[0] == "dy[0, 0, 0]·col = 10·(1, 2, 3) = (10, 20, 30)"
    assert last.lines[1] == "dW: 10 + 40 = 50;  20 + 60 = 80;  30 + 80 = 110"
    assert _last(moving, "dW[0, 0]").tolist() == [[50, 80, 110]]


@pytest.mark.parametrize(
    ("layer", "shape", "channel"),
    [
        (xpcnn.Conv2d(1, 1, 2), (1, 1, 3, 4), 0),
        (xpcnn.Conv2d(2, 3, (3, 2), 2, 1), (1, 2, 5, 5), 1),
        (xpcnn.Conv2d(4, 4, 2, groups=2, padding_mode="circular", padding=1), (1, 4, 3, 3), 3),
        (xpcnn.Conv1d(2, 2, 3, dilation=2), (1, 2, 9), 1),
    ],
)
def test_the_last_sums_are_the_gradient(layer, shape, channel, rng):
    x = rng.integers(-5, 6, shape).astype("float64")
    layer.build(shape, dtype="float64")
    y = layer.forward(x, training=True)
    dy = rng.integers(-5, 6, y.shape).astype("float64")
    layer.zero_grad()
    layer.backward(dy)
    moving = animate(layer, x, dy, what="weights", channel=channel)
    assert len(moving) == dy[0, 0].size
    for c in range(layer.weight.grad.shape[1]):
        expected = layer.weight.grad[channel, c]
        found = _last(moving, f"dW[{channel}, {c}]")
        assert np.array_equal(found, expected.reshape(found.shape))
    layer.zero_grad()


def test_notes_say_what_is_left_out():
    moving = animate(xpcnn.Conv1d(1, 1, 3), np.ones((2, 1, 40)), what="weights", lang="en")
    assert any("all 2 samples" in note for note in moving.scene.notes)
    assert any("22 windows of 38" in note for note in moving.scene.notes)
    assert "逆伝播" in animate(xpcnn.Conv1d(1, 1, 2), [1, 2], what="weights", lang="ja").scene.title


@pytest.mark.parametrize("layer", [xpcnn.MaxPool1d(2), xpcnn.ConvTranspose1d(1, 1, 2)])
def test_what_has_no_filter_that_slides_over_x(layer):
    with pytest.raises(
        ValueError, match=r"what='weights' .* is for convolutions; got .*Pool|Trans"
    ):
        animate(layer, [1, 2, 3, 4], what="weights")


def test_weights_that_were_loaded_are_those_shown():
    layer = xpcnn.Conv1d(1, 1, 2)
    state = {"weight": np.array([[[3.0, 5.0]]], "float32"), "bias": np.array([1.0], "float32")}
    layer.load_state_dict(state)
    moving = animate(layer, [1, 2, 3])
    assert moving.scene.frames[0].lines == ("y[0, 0, 0] = 1·3 + 2·5 + 1 = 14",)
    assert not moving.scene.notes
