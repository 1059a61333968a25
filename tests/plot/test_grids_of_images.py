"""Samples and mistakes: which are drawn, in which order, under which names."""

from __future__ import annotations

import numpy as np
import pytest

import xpcnn

plt = pytest.importorskip("matplotlib.pyplot")


def captions(axes):
    return [panel.get_title() for panel in axes]


def picture(panel):
    return np.asarray(panel.images[0].get_array())


@pytest.fixture
def images(rng):
    return rng.integers(0, 256, (6, 1, 4, 5), dtype="uint8")


def test_gray_bytes(images):
    axes = xpcnn.plot.samples(images, [0, 1, 2, 0, 1, 2], class_names=["a", "b", "猫"], count=4)
    assert captions(axes) == ["a", "b", "猫", "a"]
    for panel, image in zip(axes, images, strict=False):
        np.testing.assert_array_equal(picture(panel), image[0])
        assert panel.images[0].get_clim() == (0, 255)
    assert axes[0].figure.get_suptitle() == "4 of 6 samples"
    (only,) = xpcnn.plot.samples(images[:1])
    assert only.figure.get_suptitle() == "1 sample"


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0.0, 1.0, (0, 1)), (0.2, 0.7, (0, 1)), (-2.0, 3.0, (-2, 3)), (2.0, 2.0, (1.5, 2.5))],
)
def test_scale_of_floats(low, high, expected):
    x = np.linspace(low, high, 2 * 6, dtype="float64").reshape(2, 1, 2, 3)
    x[0, 0, 0, 1] = np.nan if high > 2 else x[0, 0, 0, 1]
    for panel in xpcnn.plot.samples(x):
        assert panel.images[0].get_clim() == expected


def test_colors_are_scaled_together():
    x = np.zeros((2, 3, 1, 2), "float32")
    x[0, :, 0, 0] = [-1.0, 0.0, 3.0]
    x[1] = 1.0
    first, second = map(picture, xpcnn.plot.samples(x))
    np.testing.assert_allclose(first[0], [[0, 0.25, 1], [0.25] * 3], atol=1e-7)
    np.testing.assert_allclose(second, 0.5, atol=1e-7)
    channels = np.arange(12, dtype="uint8").reshape(1, 3, 2, 2)
    shown = picture(xpcnn.plot.samples(channels)[0])
    np.testing.assert_allclose(shown, np.moveaxis(channels[0], 0, -1) / 255)


def test_signals_are_lines(rng):
    x = rng.normal(size=(3, 2, 7))
    axes = xpcnn.plot.samples(x, np.eye(3))
    assert captions(axes) == ["0", "1", "2"]
    for panel, signal in zip(axes, x, strict=True):
        np.testing.assert_array_equal([line.get_ydata() for line in panel.lines], signal)


def test_arrays_of_every_library(device, images):
    x = device.asarray(images.astype("float32") / 255)
    axes = xpcnn.plot.samples(x, device.asarray(np.arange(6)), columns=6)
    assert captions(axes) == list("012345")
    np.testing.assert_allclose(picture(axes[5]), images[5, 0] / np.float32(255))
    assert axes[0].get_gridspec().get_geometry() == (1, 6)


class Folder:
    """A data set that reads what is asked for."""

    class_names = ("cat", "dog")
    targets = np.array([0, 1, 1])

    def __init__(self, images):
        self.images, self.read = images, []

    def __len__(self):
        return 3

    def __getitem__(self, at):
        self.read.append(at)
        return self.images[at], self.targets[at]


def test_data_sets_know_their_names_and_are_read_where_they_are_drawn(images):
    folder = Folder(images)
    assert captions(xpcnn.plot.samples(folder, count=2)) == ["cat", "dog"]
    assert folder.read == [0, 1]
    folder.read = []
    axes = xpcnn.plot.mistakes(np.array([0, 1, 0]), folder)
    assert captions(axes) == ["true: dog\npredicted: cat"]
    assert folder.read == [2]


def test_the_most_confident_mistakes_come_first(images):
    y = [0, 1, 0, 1, 0, 1]
    yes = np.array([0.2, 0.3, 0.99, 0.8, 0.6, 0.1])  # wrong: 1, 2, 4, 5
    expected = [
        "true: 0\npredicted: 1 (99%)",
        "true: 1\npredicted: 0 (90%)",
        "true: 1\npredicted: 0 (70%)",
        "true: 0\npredicted: 1 (60%)",
    ]
    two = np.stack([1 - yes, yes], axis=1)
    for given in (yes, yes[:, None], two):
        axes = xpcnn.plot.mistakes(given, images, y)
        assert captions(axes) == expected
        assert axes[0].figure.get_suptitle() == "4 mistakes among 6 samples"
        np.testing.assert_array_equal(picture(axes[0]), images[2, 0])
    for given in (np.log(two), np.log(yes / (1 - yes))):
        axes = xpcnn.plot.mistakes(given, images, y, from_logits=True, count=2)
        assert captions(axes) == expected[:2]
    axes = xpcnn.plot.mistakes((yes > 0.5).astype(int), images, y)
    assert captions(axes)[0] == "true: 1\npredicted: 0"


def test_a_model_predicts_itself(device):
    model = xpcnn.Model([xpcnn.Flatten(), xpcnn.Linear(2, 2, bias=False)], device=device)
    model.build((None, 1, 1, 2))
    model.load_state_dict({"1.weight": np.eye(2, dtype="float32")})
    model.compile("sgd", "cross_entropy")
    model.class_names = ["a", "b"]
    x = np.log(np.array([[0.75, 0.25], [0.1, 0.9], [0.2, 0.8]], "float32")).reshape(3, 1, 1, 2)
    axes = xpcnn.plot.mistakes(model, device.asarray(x), [1, 1, 0])
    assert captions(axes) == ["true: a\npredicted: b (80%)", "true: b\npredicted: a (75%)"]


def test_no_mistakes(images):
    (panel,) = xpcnn.plot.mistakes(np.arange(6), images, np.arange(6))
    assert panel.get_title() == "No mistakes among 6 samples"
    (panel,) = xpcnn.plot.mistakes(np.arange(6), images, [1, 1, 2, 3, 4, 5])
    assert panel.figure.get_suptitle() == "1 mistake among 6 samples"


def test_an_estimator_gives_classes(images):
    class Estimator:
        classes_ = np.array([0, 1])

        def predict(self, x):
            assert x is images
            return np.array([0, 1, 1, 1, 0, 0])

    axes = xpcnn.plot.mistakes(Estimator(), images, [0, 1, 0, 1, 0, 1])
    assert captions(axes) == ["true: 0\npredicted: 1", "true: 1\npredicted: 0"]


@pytest.mark.parametrize("classes", [[1, 2, 3], ["a", "b", "c"], [-1, 0, 7]])
def test_labels_of_an_estimator_keep_their_names(images, classes):
    class Estimator:
        classes_ = np.array(classes)

        def predict(self, x):
            return self.classes_[[0, 1, 1, 1, 0, 0]]

    y = [classes[0], classes[1], classes[0], classes[1], classes[0], classes[1]]
    a, b, _ = classes
    axes = xpcnn.plot.mistakes(Estimator(), images, y)
    assert captions(axes) == [f"true: {a}\npredicted: {b}", f"true: {b}\npredicted: {a}"]
    with pytest.raises(ValueError, match="from_logits is for arrays"):
        xpcnn.plot.mistakes(Estimator(), images, y, from_logits=True)
    with pytest.raises(ValueError, match="y has 5 labels and x 6 samples"):
        xpcnn.plot.mistakes(Estimator(), images, y[:5])


X = np.zeros((3, 1, 4, 4), "uint8")


@pytest.mark.parametrize(
    ("x", "options", "message"),
    [
        (np.zeros((2, 8, 8, 3)), {}, r"the channels come last: numpy.moveaxis\(x, -1, 1\)"),
        (np.zeros((2, 5, 8, 8)), {}, "choose one channel"),
        (np.zeros((2, 28, 28)), {}, r"gray images need their channel axis: x\[:, None\]"),
        (np.zeros((2, 784)), {}, "rows of pixels need the shape"),
        (np.zeros((2, 1, 8, 8, 8)), {}, "choose a slice of each volume"),
        (np.zeros((0, 1, 8, 8)), {}, "x has no samples"),
        (X, {"y": [0, 1]}, "y has 2 labels and x 3 samples"),
        (X, {"y": [0, 1, -1]}, "y must be labels from 0, got -1"),
        (X, {"y": [0, 0.5, 1]}, "y must be whole numbers"),
        (X, {"y": ["a", "b", "c"]}, "numpy.unique"),
        (X, {"y": [[1, 1], [0, 1], [1, 0]]}, "must be one-hot"),
        (X, {"y": [0, 1, 2], "class_names": ["a", "b"]}, "there are 3 classes"),
        (X, {"class_names": ["a", "b"]}, "class_names are for the labels y"),
        (X, {"count": 0}, "count must be at least 1"),
        (X, {"columns": 1.5}, "columns must be an integer"),
    ],
)
def test_errors_of_samples(x, options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        xpcnn.plot.samples(x, **options)
    assert not plt.get_fignums()


@pytest.mark.parametrize(
    ("predictions", "options", "message"),
    [
        ([[2.0, 1.0]] * 3, {}, "must be probabilities, .* pass from_logits=True"),
        ([1.5, 0.5, 0.1], {}, "must be probabilities"),
        ([[0.5, np.nan]] * 3, {}, "must be probabilities"),
        ([0, 1, 1], {"from_logits": True}, "predictions are classes"),
        ([0, 1], {}, "there are 2 predictions and 3 samples"),
        ([[0.5, 0.5]] * 3, {"y": [0, 1, 2]}, "y has a label 2, and predictions 2 classes"),
        ([0, 1, 1], {"y": None}, "y is missing"),
        (np.full((3, 2, 2), 0.5), {}, r"must be \(N, classes\)"),
    ],
)
def test_errors_of_mistakes(predictions, options, message):
    arguments = {"y": [0, 1, 1], **options}
    with pytest.raises((ValueError, TypeError), match=message):
        xpcnn.plot.mistakes(predictions, X, **arguments)
    assert not plt.get_fignums()


def test_numbers_that_are_no_classes(images):
    y = [0, 1, 2, 3, 4, 10**9]
    with pytest.raises(ValueError, match="the largest label is 1000000000, .* numpy.unique"):
        xpcnn.plot.samples(images, y)
    with pytest.raises(ValueError, match="the largest label is 1000000000, .* numpy.unique"):
        xpcnn.plot.mistakes(np.arange(6), images, y)


def test_dollars_in_names_make_no_formula(images, tmp_path):
    names = ["US$ 5 to $10", "$\\nothing{$"]
    axes = [
        xpcnn.plot.samples(images, [0, 1, 0, 1, 0, 1], class_names=names)[0],
        xpcnn.plot.mistakes([1, 0, 1, 0, 1, 0], images, [0, 1, 0, 1, 0, 1], class_names=names)[0],
        xpcnn.plot.confusion_matrix([0, 1], [0, 1], class_names=names),
        xpcnn.plot.roc([0, 1], [[0.6, 0.4], [0.3, 0.7]], class_names=names),
        xpcnn.plot.history({names[1]: [1.0, 2.0]})[0],
    ]
    for ax in axes:
        ax.figure.savefig(tmp_path / "a.png")  # a formula that is none would raise


@pytest.mark.parametrize(("columns", "loss"), [(3, "cross_entropy"), (1, "bce_with_logits")])
def test_a_model_that_gives_nan_has_no_mistakes(columns, loss):
    model = xpcnn.Model([xpcnn.Flatten(), xpcnn.Linear(16, columns)], device="cpu")
    model.build((None, 1, 4, 4))
    model.compile("sgd", loss)
    weight = np.full((columns, 16), np.nan, "float32")
    model.load_state_dict({"1.weight": weight, "1.bias": np.zeros(columns, "float32")})
    with pytest.raises(ValueError, match="the model predicts NaN"):
        xpcnn.plot.mistakes(model, np.ones((2, 1, 4, 4), "float32"), [0, 1])


def test_images_in_the_place_of_predictions_are_told_the_order(images):
    with pytest.raises(ValueError, match=r"predictions must .*mistakes\(predictions, x, y\)"):
        xpcnn.plot.mistakes(images, np.arange(len(images)) % 3, np.zeros((len(images), 3)))
