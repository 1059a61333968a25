"""Where plots are drawn: new figures, Axes and figures that are given; fonts; no matplotlib."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import xpcnn
from xpcnn.plot import canvas

plt = pytest.importorskip("matplotlib.pyplot")

WEIGHT = np.random.default_rng(0).normal(size=(5, 1, 3, 3))
IMAGES = np.random.default_rng(0).random((5, 1, 6, 6))
LOG = {"loss": [2.0, 1.0], "accuracy": [0.5, 0.6]}
STATE = {"a": WEIGHT, "b": WEIGHT[0]}

SINGLE = {
    "history": lambda ax: xpcnn.plot.history(LOG, "loss", ax=ax),
    "learning_rate": lambda ax: xpcnn.plot.learning_rate({"lr": [1.0, 2.0]}, ax=ax),
    "confusion_matrix": lambda ax: xpcnn.plot.confusion_matrix([0, 1], [0, 1], ax=ax),
    "roc": lambda ax: xpcnn.plot.roc([0, 1], [0.1, 0.2], ax=ax),
}
GRIDS = {
    "history": lambda ax: xpcnn.plot.history(LOG, ax=ax),
    "samples": lambda ax: xpcnn.plot.samples(IMAGES, ax=ax),
    "mistakes": lambda ax: xpcnn.plot.mistakes([0] * 5, IMAGES, [1] * 5, ax=ax),
    "filters": lambda ax: xpcnn.plot.filters(WEIGHT, ax=ax),
    "weights": lambda ax: xpcnn.plot.weights(STATE, ax=ax),
}


@pytest.mark.parametrize("draw", SINGLE.values(), ids=SINGLE)
def test_one_axes(draw):
    with plt.rc_context():
        before = dict(plt.rcParams)
        new = draw(None)
        assert plt.get_fignums() == [new.figure.number]
        _, (left, right) = plt.subplots(1, 2)
        assert draw(right) is right
        assert not left.has_data()
        alone = plt.figure()
        assert draw(alone) is alone.axes[0]
        assert dict(plt.rcParams) == before


@pytest.mark.parametrize("draw", GRIDS.values(), ids=GRIDS)
@pytest.mark.parametrize("layout", ["constrained", None])
def test_a_grid_in_the_place_of_an_axes(draw, layout):
    count = len(draw(None))
    figure, (left, right) = plt.subplots(1, 2, layout=layout, figsize=(9, 4))
    place = right.get_position()
    axes = draw(right)
    assert len(axes) == count
    figure.canvas.draw()
    assert not right.axison
    for panel in axes:
        assert panel.figure is figure
        inside = panel.get_position()
        assert inside.x0 > place.x0 - 0.08
        assert inside.y1 < place.y1 + 0.13
    assert not left.has_data()
    parts = plt.figure(layout="constrained").subfigures(1, 2)
    assert all(panel.get_figure() is parts[1] for panel in draw(parts[1]))


@pytest.mark.parametrize("draw", GRIDS.values(), ids=GRIDS)
def test_places_that_cannot_be_divided(draw):
    figure = plt.figure()
    with pytest.raises(ValueError, match="which needs an Axes from plt.subplots"):
        draw(figure.add_axes((0, 0, 1, 1)))
    with pytest.raises(ValueError, match="a figure that has Axes already"):
        draw(figure)
    with pytest.raises(TypeError, match="got ndarray; give one of them"):
        draw(plt.figure().subplots(2, 2))
    with pytest.raises(ValueError, match="projection='polar'"):
        draw(plt.figure().add_subplot(projection="polar"))
    ax = plt.figure().subplots()
    ax.plot([1, 2])
    with pytest.raises(ValueError, match="something is drawn in it already"):
        draw(ax)


def test_a_figure_is_closed_where_drawing_fails(monkeypatch):
    monkeypatch.setattr("xpcnn.plot.pictures.draw", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        xpcnn.plot.samples(IMAGES)
    assert not plt.get_fignums()


def test_names_with_letters_of_east_asia():
    if not canvas.fonts("猫")["fontfamily"][1:]:
        pytest.skip("no font with Japanese letters is installed")
    names = ["猫", "いぬ"]
    ax = xpcnn.plot.confusion_matrix([0, 1], [0, 1], class_names=names)
    ax.figure.canvas.draw()  # a missing letter is a warning, and warnings are errors here
    axes = xpcnn.plot.mistakes([0] * 5, IMAGES, [1] * 5, class_names=names)
    axes[0].figure.canvas.draw()
    scores = np.array([[0.6, 0.4, 0.0], [0.2, 0.3, 0.5]])
    ax = xpcnn.plot.roc([0, 1], scores, class_names=[*names, "鳥"])
    ax.figure.canvas.draw()
    xpcnn.plot.history({"損失": [1.0, 2.0]})[0].figure.canvas.draw()
    assert canvas.fonts("cat", "Hündin") == {"parse_math": False}


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7])
def test_grids_are_about_square(count):
    with canvas.panels(None, count, "test", size=(1, 1), title=None) as axes:
        rows, columns = axes[0].get_gridspec().get_geometry()
        assert len(axes) == count == len(axes[0].figure.axes)
    assert (rows, columns) == {
        1: (1, 1), 2: (1, 2), 3: (1, 3), 4: (2, 2), 5: (2, 3), 7: (3, 3),
    }[count]  # fmt: skip


def test_matplotlib_is_imported_when_something_is_drawn():
    code = (
        "import sys, xpcnn.plot\n"
        "assert 'matplotlib' not in sys.modules\n"
        "sys.modules['matplotlib'] = None\n"
        "try: xpcnn.plot.history({'loss': [1.0]})\n"
        "except ImportError as error: print(error)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 'xpcnn.plot needs matplotlib; run: pip install "xpcnn[plot]"' in ran.stdout
