"""What users hand in by mistake: an error that says what to do, and a model that still works."""

import numpy as np
import pytest

import xpcnn
from xpcnn import DeviceError


@pytest.fixture(params=["cpu", "torch:cpu", "strict"])
def model(request):
    try:
        device = xpcnn.device.resolve(request.param)
    except DeviceError as error:
        pytest.skip(str(error))
    layers = [
        xpcnn.Conv2d(1, 2, 3),
        xpcnn.ReLU(),
        xpcnn.MaxPool2d(2),
        xpcnn.Flatten(),
        xpcnn.Linear(out_features=3),
    ]
    made = xpcnn.Model(layers, device=device, seed=0)
    made.compile("sgd", "cross_entropy", ["accuracy"])
    made.fit(X, Y, verbose=0)
    yield made
    # Whatever was tried, the model still trains and predicts.
    assert made.fit(X, Y, verbose=0).history["loss"][0] < 10
    assert made.predict(X).shape == (6, 3)


X = np.random.default_rng(0).random((6, 1, 8, 8), dtype="float32")
Y = np.array([0, 1, 2, 0, 1, 2])


def with_value(value):
    x = X.copy()
    x[2, 0, 3, 4] = value
    return x


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (X[:, 0], ValueError, r"Conv2d '0': expected 4 dimensions.*\(6, 8, 8\).*x\[None\]"),
        (X.reshape(6, -1), ValueError, "expected 4 dimensions"),
        (np.repeat(X, 3, axis=1), ValueError, "expected 1 input channels.*got 3"),
        (np.moveaxis(X, 1, -1), ValueError, "channels seem to be last"),
        (X[:, :, :2, :2], ValueError, r"Conv2d '0': the kernel covers \(3, 3\)"),
        (X[:, :, :3, :3], ValueError, r"MaxPool2d '2': the kernel covers"),
        (X[:, :, :6, :6], ValueError, r"Linear '4': expected 18 input features"),
        ((X * 255).astype("uint8"), TypeError, r"expected dtype float32, got uint8.*/ 255"),
        (X.astype("float64"), TypeError, r"got float64.*astype\('float32'\).*dtype='float64'"),
        (X.astype("float16"), TypeError, "got float16"),
        (X[:0], ValueError, r"empty array of shape \(0, 1, 8, 8\)"),
        (X[:, :, :0], ValueError, "empty array"),
        (np.float32(1.0), ValueError, "single number"),
        (np.ma.masked_greater(X, 0.5), TypeError, "masked array"),
        (with_value(np.nan), ValueError, r"1 of 384 values.*\(2, 0, 3, 4\)"),
        (with_value(np.inf), ValueError, "NaN or infinite"),
        ([[1.0, 2.0], [3.0]], ValueError, "differ in length"),
        ("image.png", TypeError, "expected numbers"),
        (None, TypeError, "expected numbers"),
        (np.array([None, 1.0]), TypeError, "dtype object"),
        (X.astype("complex64"), TypeError, "got complex64"),
    ],
    ids=lambda value: None if isinstance(value, (np.ndarray, list)) else str(value)[:30],
)
@pytest.mark.parametrize("verb", ["fit", "evaluate", "predict"])
def test_inputs(model, verb, x, error, message):
    labels = () if verb == "predict" else (Y,)
    with pytest.raises(error, match=message):
        getattr(model, verb)(x, *labels)


@pytest.mark.parametrize(
    ("y", "error", "message"),
    [
        ([0, 1, 2, 0, 1, 3], ValueError, "3"),
        ([0, 1, 2, 0, 1, -1], ValueError, "got -1.*count from 0; .*ignore_index"),
        ([[1, 2], [3]] * 3, ValueError, "y: the rows of the nested list differ"),
        ([0, 1, 2], ValueError, "6 samples"),
        (np.eye(4)[[0, 1, 2, 0, 1, 2]], ValueError, r"\(6, 4\)"),
        (["a"] * 6, (TypeError, ValueError), "label|dtype"),
        (np.full((6, 3), np.nan), ValueError, "NaN"),
        (np.array(1), ValueError, "6 samples"),
        ([0.5, 1.0, 2.0, 0.0, 1.0, 2.0], (TypeError, ValueError), "integer|shape|float"),
    ],
    ids=[
        "too large",
        "negative",
        "ragged",
        "too few",
        "columns",
        "text",
        "nan",
        "scalar",
        "fractions",
    ],
)
@pytest.mark.parametrize("verb", ["fit", "evaluate", "train_on_batch"])
def test_labels(model, verb, y, error, message):
    with pytest.raises(error, match=message):
        getattr(model, verb)(X, y)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1"),
        ({"batch_size": 2.5}, TypeError, "batch_size must be an integer"),
        ({"epochs": -1}, ValueError, "epochs"),
        ({"verbose": "loud"}, ValueError, "verbose"),
        ({"optimizer": "adamm"}, ValueError, "adam"),
        ({"optimizer": 0.1}, TypeError, "optimizer"),
        ({"loss": "crossentropy?"}, ValueError, "cross_entropy"),
        ({"metrics": ["acuracy"]}, ValueError, "accuracy"),
        ({"callbacks": [xpcnn.EarlyStopping]}, TypeError, r"ClassName\(\)"),
        ({"callbacks": [xpcnn.EarlyStopping("val_loss")]}, ValueError, "validation_data"),
        ({"validation_split": 1.5}, ValueError, "between 0 and 1"),
        ({"validation_split": 0.9}, ValueError, "empty"),
        ({"validation_split": "0.1"}, ValueError, "between 0 and 1"),
        ({"callbacks": xpcnn.EarlyStopping("loss")}, TypeError, r"must be a list.*\[callback\]"),
        ({"validation_data": X}, TypeError, r"\(x, y\) or \(x, y, sample_weight\), got ndarray"),
        ({"validation_data": (X, Y, Y, Y)}, TypeError, r"sample_weight\), got tuple of 4"),
        ({"loss": xpcnn.CrossEntropyLoss(reduction="none")}, ValueError, "reduction='none'"),
        ({"sample_weight": "abcdef"}, TypeError, "sample_weight must hold numbers"),
        ({"class_weight": "balance"}, TypeError, "class_weight must be a mapping.*'balanced'"),
        ({"class_weight": 2.0}, TypeError, "class_weight must be a mapping"),
        ({"class_weight": {0: "a", 1: 1, 2: 1}}, TypeError, "class_weight must hold numbers"),
        ({"sample_weight": [1.0]}, ValueError, r"shape \(6,\)"),
        ({"sample_weight": [-1.0] * 6}, ValueError, "not negative"),
        ({"class_weight": {0: 1.0}}, ValueError, r"\[1, 2\]"),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, dict) else "",
)
def test_options_of_fit(options, error, message):
    made = xpcnn.Model([xpcnn.Flatten(), xpcnn.Linear(64, 3)], device="cpu", seed=0)
    made.compile("sgd", "cross_entropy")
    with pytest.raises(error, match=message):
        made.fit(X, Y, **{"verbose": 0} | options)
    made.fit(X, Y, optimizer="sgd", loss="cross_entropy", metrics=[], verbose=0)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"device": "gpu"}, DeviceError, "unknown device 'gpu'; choose one of auto, cpu, cuda"),
        ({"device": 3}, TypeError, "device must be a string"),
        ({"dtype": "int8"}, ValueError, "dtype"),
        ({"dtype": "bfloat16", "device": "cpu"}, DeviceError, "no dtype 'bfloat16'"),
        ({"seed": "abc"}, ValueError, "seed"),
        ({"seed": -1}, ValueError, "seed"),
    ],
    ids=str,
)
def test_options_of_the_model(options, error, message):
    with pytest.raises(error, match=message):
        xpcnn.Model([xpcnn.Linear(2, 2)], **options)


def test_training_before_compile():
    made = xpcnn.Model([xpcnn.Flatten(), xpcnn.Linear(64, 3)], device="cpu")
    with pytest.raises(RuntimeError, match="compile"):
        made.fit(X, Y)
    with pytest.raises(RuntimeError, match="forward"):
        made.backward(Y)


def test_forward_wants_arrays_of_the_device():
    """Inside the model nothing is copied silently."""
    torch = pytest.importorskip("torch")
    made = xpcnn.Model([xpcnn.Linear(2, 2)], device="cpu", seed=0)
    made.build((None, 2))
    for one in (made, xpcnn.Model([xpcnn.ReLU()], device="cpu")):
        with pytest.raises(TypeError, match="float32 on device 'cpu', got a torch array"):
            one.forward(torch.zeros((1, 2)))
        with pytest.raises(TypeError, match="got a numpy array.*dtype float64"):
            one.forward(np.zeros((1, 2)))
    with pytest.raises(TypeError, match=r"Model\.forward: expected an array.*got list"):
        xpcnn.Model([xpcnn.Linear(2, 2)], device="cpu").forward([[1.0, 2.0]])


def test_not_a_layer():
    with pytest.raises(TypeError, match=r"entry 1 is the class ReLU; write ReLU\(\)"):
        xpcnn.Model([xpcnn.Linear(2, 2), xpcnn.ReLU])
    with pytest.raises(TypeError, match="entry 0 is not a layer"):
        xpcnn.Model([np.tanh])
    shared = xpcnn.Linear(2, 2)
    with pytest.raises(ValueError, match="two places"):
        xpcnn.Model([shared, shared])


def test_plain_arrays_of_other_kinds_are_taken():
    made = xpcnn.Model([xpcnn.Flatten(), xpcnn.Linear(64, 3)], device="cpu", seed=0)
    expected = made.predict(X)
    for x in (X.astype(">f4"), np.ma.array(X)):
        np.testing.assert_array_equal(made.predict(x), expected)
        assert type(made.predict(x)) is np.ndarray
    flat = xpcnn.Model([xpcnn.Linear(64, 3)], device="cpu", seed=0)
    np.testing.assert_array_equal(flat.predict(X.reshape(6, 64).view(np.matrix)), expected)


def test_masked_labels_are_refused():
    made = xpcnn.Model([xpcnn.Flatten(), xpcnn.Linear(64, 3)], device="cpu", seed=0)
    made.compile("sgd", "cross_entropy")
    for call in (made.fit, made.evaluate, made.train_on_batch):
        with pytest.raises(TypeError, match="masked array"):
            call(X, np.ma.masked_equal(Y, Y[0]))
    made.fit(X, np.ma.array(Y), verbose=0)  # nothing is masked


def test_class_weight_of_yes_no_answers_in_a_column():
    x, y = np.ones((4, 2), dtype="float32"), np.array([[0], [1], [1], [1]])
    weighted = np.array([1.0, 3.0, 3.0, 3.0])

    def loss(**options):
        made = xpcnn.Model([xpcnn.Linear(2, 1)], device="cpu", seed=0)
        history = made.fit(x, y, optimizer="sgd", loss="bce_with_logits", verbose=0, **options)
        return history.history["loss"]

    assert loss(class_weight={0: 1.0, 1: 3.0}) == loss(sample_weight=weighted) != loss()


@pytest.mark.parametrize(
    ("loss", "y", "message"),
    [
        ("cross_entropy", np.array([[0, 1, 2, 0]] * 2), "one label per sample"),
        ("mse", np.full((2, 3, 4), 0.5), "one label per sample"),
    ],
)
def test_class_weight_needs_one_label_per_sample(loss, y, message):
    """Labels of places, (N, L), are no shares of classes."""
    made = xpcnn.Model([xpcnn.Conv1d(1, 3, 1)], device="cpu", seed=0)
    x = np.ones((2, 1, 4), dtype="float32")
    with pytest.raises(ValueError, match=message):
        made.fit(x, y, optimizer="sgd", loss=loss, class_weight=[1.0] * 4, verbose=0)
