"""Attributions over the samples they explain."""

from __future__ import annotations

import numpy as np
import pytest

import xpcnn

plt = pytest.importorskip("matplotlib.pyplot")
IMAGE = np.linspace(0, 1, 12).reshape(1, 3, 4)


def layers_of(ax):
    sample, heat = ax.images
    return np.asarray(sample.get_array()), heat


def test_an_image_by_hand():
    heat = np.array([[0.0, 1, 4, 0], [0, 0, 0, 0], [0, 0, 0, 16]])
    ax = xpcnn.plot.attribution(IMAGE, heat, title="Why")
    gray, shown = layers_of(ax)
    np.testing.assert_allclose(gray, IMAGE[0])
    np.testing.assert_array_equal(shown.get_array(), heat)
    np.testing.assert_allclose(shown.get_alpha(), 0.85 * np.sqrt(heat / 16))
    assert shown.get_clim() == (0, 16)
    assert ax.get_title() == "Why"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("column (pixels)", "row (pixels)")
    assert [other.get_ylabel() for other in ax.figure.axes] == ["row (pixels)", "attribution"]


def test_signs_have_two_colors_and_one_scale():
    heat = np.array([[-2.0, 1, 0, 0]] * 3)
    _, shown = layers_of(xpcnn.plot.attribution(IMAGE, heat))
    assert shown.get_clim() == (-2, 2)
    assert shown.get_cmap().name == "RdBu_r"


def test_channels_are_added_up():
    heat = np.stack([np.full((3, 4), value) for value in (1.0, 2, -5)])
    gray, shown = layers_of(xpcnn.plot.attribution(np.repeat(IMAGE, 3, axis=0), heat))
    np.testing.assert_allclose(gray, IMAGE[0])
    np.testing.assert_array_equal(shown.get_array(), np.full((3, 4), -2))


def test_a_signal():
    signal = np.array([[0.0, 1, 0, -1, 0], [1, 1, 1, 1, 1]])
    ax = xpcnn.plot.attribution(signal, np.arange(5.0))
    assert [line.get_ydata().tolist() for line in ax.lines] == signal.tolist()
    np.testing.assert_array_equal(ax.images[0].get_array(), [np.arange(5)])
    assert ax.images[0].get_extent()[:2] == [-0.5, 4.5]
    assert ax.get_xlabel() == "position"
    assert len(ax.get_legend().texts) == 2


def test_nothing_and_not_a_number():
    """A map of zeros hides nothing, and NaN is left out."""
    _, shown = layers_of(xpcnn.plot.attribution(IMAGE, np.zeros((3, 4))))
    assert not shown.get_alpha().any()
    heat = np.full((3, 4), np.nan)
    heat[0, 0] = 3
    ax = xpcnn.plot.attribution(IMAGE, heat)
    assert layers_of(ax)[1].get_clim() == (0, 3)
    ax.figure.canvas.draw()


def test_where_to_draw():
    _, axes = plt.subplots(1, 2)
    assert xpcnn.plot.attribution(IMAGE, IMAGE, ax=axes[1]) is axes[1]
    assert not axes[0].images


@pytest.mark.parametrize(
    ("image", "heat", "options", "error", "message"),
    [
        (IMAGE[None], IMAGE, {}, ValueError, r"one sample, .* as in x\[0\] and heat\[0\]"),
        (np.ones((2, 3, 4)), IMAGE, {}, ValueError, "image must be one sample"),
        (IMAGE, np.ones((4, 3)), {}, ValueError, r"heat must .* \(3, 4\); got \(4, 3\)"),
        (IMAGE, "hot", {}, TypeError, "heat must be an array"),
        (IMAGE, IMAGE, {"title": 3}, TypeError, "title must be a text, got 3"),
        (IMAGE, IMAGE, {"ax": 3}, TypeError, "ax must be an Axes"),
    ],
)
def test_wrong_arguments(image, heat, options, error, message):
    with pytest.raises(error, match=f"plot.attribution: .*{message}"):
        xpcnn.plot.attribution(image, heat, **options)
    assert not plt.get_fignums()
