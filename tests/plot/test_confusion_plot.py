"""Confusion matrices: the numbers in the cells."""

from __future__ import annotations

import numpy as np
import pytest

import xpcnn
from xpcnn import metrics

plt = pytest.importorskip("matplotlib.pyplot")

TRUE = np.array([0, 0, 0, 1, 1, 2])
PREDICTED = np.array([0, 0, 1, 1, 2, 1])
MATRIX = [[2, 1, 0], [0, 1, 1], [0, 1, 0]]  # counted by hand


def cells(ax):
    texts = {text.get_position(): text.get_text() for text in ax.texts}
    size = len(ax.get_yticklabels())
    written = [[float(texts[column, row]) for column in range(size)] for row in range(size)]
    np.testing.assert_allclose(ax.images[0].get_array(), written, atol=0.005)
    return ax.images[0].get_array().tolist()


def names(ax):
    assert [t.get_text() for t in ax.get_xticklabels()] == [
        t.get_text() for t in ax.get_yticklabels()
    ]
    return [t.get_text() for t in ax.get_yticklabels()]


SCORES = np.eye(3)[PREDICTED] * 2.0 - 1.0


@pytest.mark.parametrize("true", [TRUE, TRUE.tolist(), np.eye(3)[TRUE], np.eye(3, dtype=int)[TRUE]])
@pytest.mark.parametrize("predicted", [PREDICTED, SCORES, np.eye(3, dtype=int)[PREDICTED]])
def test_every_form(true, predicted):
    ax = xpcnn.plot.confusion_matrix(true, predicted)
    assert cells(ax) == MATRIX
    assert names(ax) == ["0", "1", "2"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("predicted class", "true class")
    assert ax.figure.axes[1].get_ylabel() == "samples"


@pytest.mark.parametrize(
    ("normalize", "expected"),
    [
        ("true", [[2 / 3, 1 / 3, 0], [0, 1 / 2, 1 / 2], [0, 1, 0]]),
        ("pred", [[1, 1 / 3, 0], [0, 1 / 3, 1], [0, 1 / 3, 0]]),
        ("all", np.array(MATRIX) / 6),
    ],
)
def test_normalized(normalize, expected):
    ax = xpcnn.plot.confusion_matrix(TRUE, PREDICTED, normalize=normalize)
    np.testing.assert_allclose(cells(ax), expected, rtol=1e-12)


def test_a_class_that_does_not_occur_has_shares_of_zero():
    ax = xpcnn.plot.confusion_matrix([0, 0], [0, 2], normalize="true", class_names=["a", "b", "c"])
    assert cells(ax) == [[0.5, 0, 0.5], [0, 0, 0], [0, 0, 0]]


@pytest.mark.parametrize("normalize", [None, "true", "pred", "all"])
def test_as_in_scikit_learn(rng, normalize):
    sklearn_metrics = pytest.importorskip("sklearn.metrics")
    true, predicted = rng.integers(0, 5, 200), rng.integers(0, 5, 200)
    ax = xpcnn.plot.confusion_matrix(true, predicted, normalize=normalize)
    expected = sklearn_metrics.confusion_matrix(true, predicted, normalize=normalize)
    np.testing.assert_allclose(ax.images[0].get_array(), expected, rtol=1e-12)
    own = metrics.confusion_matrix(predicted, true, num_classes=5)
    if normalize is None:
        np.testing.assert_array_equal(ax.images[0].get_array(), own)


def test_names_in_the_place_of_labels():
    ax = xpcnn.plot.confusion_matrix(["dog", "cat", "cat"], ["dog", "dog", "cat"])
    assert (names(ax), cells(ax)) == (["cat", "dog"], [[1, 1], [0, 1]])
    ax = xpcnn.plot.confusion_matrix(["dog"], ["cat"], class_names=["dog", "eel", "cat"])
    assert cells(ax) == [[0, 0, 1], [0, 0, 0], [0, 0, 0]]


def test_scores_in_one_column_need_a_threshold():
    for scores in (np.array([0.2, 0.6, 0.7]), np.array([[0.2], [0.6], [0.7]])):
        assert cells(xpcnn.plot.confusion_matrix([0, 0, 1], scores, threshold=0.65)) == [
            [2, 0],
            [0, 1],
        ]


def test_places_that_do_not_count():
    true = np.array([[0, 1], [255, 1]])
    ax = xpcnn.plot.confusion_matrix(true, np.array([[0, 0], [1, 1]]), ignore_index=255)
    assert cells(ax) == [[1, 0], [1, 1]]


def model_of(weight, loss, **options):
    """A network of one linear layer with these weights."""
    model = xpcnn.Model([xpcnn.Linear(weight.shape[1], len(weight), bias=False)], **options)
    model.build((None, weight.shape[1]))
    model.load_state_dict({"0.weight": weight.astype(model.dtype)})
    model.compile("sgd", loss)
    return model


def test_a_model(device):
    model = model_of(np.eye(3), "cross_entropy", device=device)
    model.class_names = ["a", "b", "c"]
    x = SCORES.astype("float32")
    ax = xpcnn.plot.confusion_matrix(model, x, TRUE)
    assert (cells(ax), names(ax)) == (MATRIX, ["a", "b", "c"])
    given = xpcnn.plot.confusion_matrix(model, device.asarray(x), device.asarray(TRUE))
    assert cells(given) == MATRIX


def test_the_loss_of_a_model_knows_the_threshold():
    x = np.array([[-0.4], [0.4], [2.0]], "float32")  # as logits 0.4 is a yes
    model = model_of(np.ones((1, 1)), "bce_with_logits", device="cpu")
    assert cells(xpcnn.plot.confusion_matrix(model, x, [0, 0, 1])) == [[1, 1], [0, 1]]


def test_an_estimator():
    pytest.importorskip("sklearn")
    from sklearn.tree import DecisionTreeClassifier

    x = np.array([[0.0], [1.0], [1.0]])
    tree = DecisionTreeClassifier().fit(x, ["no", "yes", "yes"])
    ax = xpcnn.plot.confusion_matrix(tree, x, ["no", "yes", "no"])
    assert (cells(ax), names(ax)) == ([[1, 1], [0, 1]], ["no", "yes"])


def test_many_classes_have_no_numbers():
    labels = np.arange(40)
    ax = xpcnn.plot.confusion_matrix(labels, labels)
    assert not ax.texts


@pytest.mark.parametrize(
    ("args", "options", "message"),
    [
        (([0, 1], [0, 1]), {"normalize": "rows"}, "normalize must be one of 'true', 'pred'"),
        (([0, 1], [0, 1], [1]), {}, "y is for a model"),
        (([0, 1], [0.2, 0.7]), {}, "threshold=0.5 for probabilities, threshold=0 for logits"),
        (([0, 1], SCORES[:2]), {"threshold": 0.5}, "threshold is for scores in a single column"),
        (([0, 1], [0, 1]), {"threshold": 0.5}, "y_pred holds classes"),
        (([0, 1], ["a", "b"]), {}, "one of y_true and y_pred holds names"),
        ((["a", "b"], ["a", "b"]), {"class_names": ["a"]}, "class_names lacks 'b'"),
        (([0, 1], [0, 1]), {"class_names": ["a"]}, "class_names has 1 names, a, and there are 2"),
        (([0, 1], SCORES[:2]), {"class_names": list("abcd")}, "there are scores of 3 classes"),
        (([0, 1], [0, 1]), {"class_names": "ab"}, "class_names must be a list of names"),
        (([0, -1], [0, 1]), {}, "y_true must hold classes from 0, got -1"),
        (([0, 1, 2], [0, 1]), {}, "do not fit"),
        (([0, 1], [[0, 1], [0]]), {}, "y_pred must be an array, and its parts differ"),
        (([0, 1], [None, 1]), {}, "y_pred must be an array of real numbers"),
        (([], []), {}, "there are no samples"),
        (([0.3, 1.0], [0.2, 0.7]), {"threshold": 0.5}, "y_true must hold classes, whole numbers"),
        ((0, [0]), {}, "y_true must be an array with a batch axis, got 0"),
        (([0, 1], [0, 1]), {"ax": "here"}, "ax must be an Axes, a figure or None, got str"),
    ],
)
def test_errors(args, options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        xpcnn.plot.confusion_matrix(*args, **options)
    assert not plt.get_fignums()


def test_independent_columns_and_several_outputs_have_no_one_matrix():
    model = model_of(np.eye(2), "bce_with_logits", device="cpu")
    x = np.array([[1, -1], [1, 1]], "float32")
    with pytest.raises(ValueError, match="independent answers yes or no"):
        xpcnn.plot.confusion_matrix(model, x, np.array([[1, 0], [1, 1]]))
    with pytest.raises(TypeError, match="y is missing; give the labels of x"):
        xpcnn.plot.confusion_matrix(model, x)


def test_a_regression_has_no_matrix():
    model = model_of(np.ones((1, 1)), "mse", device="cpu")
    x = np.array([[0.2], [0.8]], "float32")
    assert cells(xpcnn.plot.confusion_matrix(model, x, [0, 1])) == [[1, 0], [0, 1]]
    for draw in (xpcnn.plot.confusion_matrix, xpcnn.plot.roc):
        with pytest.raises(ValueError, match="are numbers such as 0.3"):
            draw(model, x, np.array([0.3, 1.0]))
    with pytest.raises(ValueError, match="plot.mistakes: the model was trained with MSELoss"):
        xpcnn.plot.mistakes(model, x[:, None], [0, 1])


class Estimator:
    def __init__(self, classes, answers):
        self.classes_, self.answers = np.array(classes), np.array(answers)

    def predict(self, x):
        return self.answers


@pytest.mark.parametrize(
    ("classes", "answers", "truth", "expected"),
    [
        ([1, 2, 3], [1, 2, 2, 1], [1, 2, 2, 2], [[1, 0, 0], [1, 2, 0], [0, 0, 0]]),
        ([0, 5], [0, 5, 5, 0], [0, 5, 0, 0], [[2, 1], [0, 1]]),
        ([-1, 1], [-1, 1, 1, -1], [1, 1, 1, -1], [[1, 0], [1, 2]]),
        (["a", "b", "c"], list("abba"), list("abbb"), [[1, 0, 0], [1, 2, 0], [0, 0, 0]]),
        ([1, 2], [1, 2, 2, 1], [1, 2, 2, 3], [[1, 0, 0], [0, 2, 0], [1, 0, 0]]),
        ([3, 4], [3, 4, 4, 4], [[1, 0], [0, 1], [0, 1], [1, 0]], [[1, 1], [0, 2]]),
        ([0.0, 1.0], [0.0, 1.0, 1.0, 0.0], [0.0, 1.0, 0.0, 0.0], [[2, 1], [0, 1]]),
    ],
)
def test_labels_of_an_estimator_keep_their_names(classes, answers, truth, expected):
    ax = xpcnn.plot.confusion_matrix(Estimator(classes, answers), np.zeros((4, 1)), truth)
    assert cells(ax) == expected
    if len(truth) == 4 and np.ndim(truth) == 1:
        assert names(ax) == [str(name) for name in np.union1d(classes, truth)]


def test_labels_of_an_estimator_that_do_not_count_or_have_other_names():
    estimator, x = Estimator([1, 2], [1, 2, 2, 1]), np.zeros((4, 1))
    ax = xpcnn.plot.confusion_matrix(estimator, x, [1, 2, -1, 2], ignore_index=-1)
    assert (cells(ax), names(ax)) == ([[1, 0], [1, 1]], ["1", "2"])
    ax = xpcnn.plot.confusion_matrix(estimator, x, [1, 2, 1, 2], class_names=["cat", "dog"])
    assert (cells(ax), names(ax)) == ([[1, 1], [1, 1]], ["cat", "dog"])
    with pytest.raises(ValueError, match="class_names has 1 names, cat, and there are 2 classes"):
        xpcnn.plot.confusion_matrix(estimator, x, [1, 2, 1, 2], class_names=["cat"])
    with pytest.raises(TypeError, match="one of y_true and y_pred holds names"):
        xpcnn.plot.confusion_matrix(estimator, x, ["1", "2", "1", "2"])
    named = Estimator(["a", "b"], list("abba"))
    with pytest.raises(ValueError, match="ignore_index=0 is for labels that are numbers"):
        xpcnn.plot.confusion_matrix(named, x, list("abba"), ignore_index=0)
    with pytest.raises(TypeError, match="ignore_index must be a whole number"):
        xpcnn.plot.confusion_matrix(estimator, x, [1, 2, 1, 2], ignore_index=0.5)


def test_whole_floats_are_labels():
    assert cells(xpcnn.plot.confusion_matrix(TRUE.astype("float32"), PREDICTED)) == MATRIX
    with pytest.raises(ValueError, match="y_true must hold classes"):
        xpcnn.plot.confusion_matrix([0.0, np.inf], [0, 1])


@pytest.mark.parametrize(
    ("args", "options", "message"),
    [
        (([0, 10**9], [0, 1]), {}, "the largest label is 1000000000, .* numpy.unique"),
        (([0, 1], [[np.nan, 1.0], [0.0, 1.0]]), {}, "y_pred holds NaN"),
        (([0, 1], [np.nan, 1.0]), {"threshold": 0.5}, "y_pred holds NaN"),
        ((["a", "b"], ["a", "b"]), {"ignore_index": 0}, "ignore_index=0 is for labels that are"),
    ],
)
def test_what_would_be_counted_wrongly(args, options, message):
    with pytest.raises(ValueError, match=message):
        xpcnn.plot.confusion_matrix(*args, **options)
    assert not plt.get_fignums()


def test_a_threshold_has_an_effect():
    x = np.array([[-1.0], [0.5], [2.0]], "float32")
    two = model_of(np.eye(2, 1), "cross_entropy", device="cpu")
    with pytest.raises(ValueError, match="threshold is for scores in a single column"):
        xpcnn.plot.confusion_matrix(two, x, [0, 1, 1], threshold=0.5)
    one = model_of(np.ones((1, 1)), "bce_with_logits", device="cpu")
    ax = xpcnn.plot.confusion_matrix(one, x, [0, 1, 1], threshold=1.0)
    assert cells(ax) == [[1, 0], [1, 1]]
