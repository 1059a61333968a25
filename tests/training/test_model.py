"""Training, evaluation and prediction."""

import numpy as np
import pytest

import xpcnn
from xpcnn import NonFiniteError, _xp
from xpcnn._xp import namespace, to_numpy


def layers():
    return [
        xpcnn.Conv2d(1, 4, 3),
        xpcnn.ReLU(),
        xpcnn.MaxPool2d(2),
        xpcnn.Flatten(),
        xpcnn.Linear(out_features=3),
    ]


def data(n=36, dtype="float32"):
    rng = np.random.default_rng(5)
    x = rng.random((n, 1, 8, 8)).astype(dtype)
    return x, rng.integers(0, 3, n)


def model(device="cpu", **options):
    made = xpcnn.Model(layers(), device=device, seed=4, **options)
    made.compile(xpcnn.optim.SGD(lr=0.1, momentum=0.9), "cross_entropy", ["accuracy"])
    return made


# -- Against PyTorch -------------------------------------------------------------------------------


def torch_losses(x, y, weights, batch_size, optimizer, sample_weight=None):
    """Train the same network in PyTorch on the batches in order; return losses and weights."""
    torch = pytest.importorskip("torch")
    nn = torch.nn
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 3)
    ).double()
    net.load_state_dict({name: torch.tensor(a) for name, a in weights.items()})
    updates = optimizer(torch, net.parameters())
    losses = []
    for start in range(0, len(x), batch_size):
        part = slice(start, start + batch_size)
        updates.zero_grad()
        each = nn.functional.cross_entropy(
            net(torch.tensor(x[part])), torch.tensor(y[part]), reduction="none"
        )
        if sample_weight is not None:
            each = each * torch.tensor(sample_weight[part])
        loss = each.sum() / len(each)
        loss.backward()
        updates.step()
        losses.append(loss.item())
    return losses, {name: a.numpy() for name, a in net.state_dict().items()}


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        (
            lambda: xpcnn.optim.SGD(lr=0.1, momentum=0.9, nesterov=True),
            lambda t, p: t.optim.SGD(p, 0.1, momentum=0.9, nesterov=True),
        ),
        (
            lambda: xpcnn.optim.AdamW(lr=0.01),
            lambda t, p: t.optim.AdamW(p, 0.01),
        ),
    ],
    ids=["sgd", "adamw"],
)
def test_training_follows_pytorch(mine, theirs, device):
    x, y = data(dtype="float64")
    ours = xpcnn.Model(layers(), device=device, dtype="float64", seed=4)
    ours.build((None, 1, 8, 8))
    start = {name: np.array(to_numpy(a)) for name, a in ours.state_dict().items()}
    history = ours.fit(
        x, y, batch_size=10, optimizer=mine(), loss="cross_entropy", shuffle=False, verbose=0
    )
    losses, final = torch_losses(x, y, start, 10, theirs)
    mean = np.dot(losses, [10, 10, 10, 6]) / 36
    np.testing.assert_allclose(history.history["loss"], [mean], rtol=1e-12)
    for name, array in final.items():
        np.testing.assert_allclose(to_numpy(ours.state_dict()[name]), array, rtol=1e-9, atol=1e-12)


def test_sample_and_class_weights_follow_pytorch():
    x, y = data(dtype="float64")
    given = np.random.default_rng(0).random(36)
    per_class = {0: 0.5, 1: 2.0, 2: 0.0}
    ours = xpcnn.Model(layers(), device="cpu", dtype="float64", seed=4)
    ours.build((None, 1, 8, 8))
    start = {name: np.array(a) for name, a in ours.state_dict().items()}
    ours.compile(xpcnn.optim.SGD(lr=0.1), "cross_entropy")
    ours.fit(
        x, y, batch_size=12, shuffle=False, verbose=0,
        class_weight=per_class, sample_weight=given,
    )  # fmt: skip
    combined = given * np.array([per_class[c] for c in y])
    _, final = torch_losses(x, y, start, 12, lambda t, p: t.optim.SGD(p, 0.1), combined)
    for name, array in final.items():
        np.testing.assert_allclose(ours.state_dict()[name], array, rtol=1e-10, atol=1e-13)


# -- fit -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_device_trains_alike(device, dtype):
    x, y = data(dtype=dtype)
    reference, ours = model(dtype=dtype), model(device, dtype=dtype)
    expected = reference.fit(x, y, epochs=2, batch_size=16, verbose=0)
    got = ours.fit(x, y, epochs=2, batch_size=16, verbose=0)
    # Rounding may turn a ReLU or a maximum on or off, but only where it matters little to the loss,
    # which is continuous. The weights and what is right and wrong are compared in float64.
    rtol = {"float32": 1e-4, "float64": 1e-10}[dtype]
    np.testing.assert_allclose(got.history["loss"], expected.history["loss"], rtol=rtol)
    if dtype == "float64":
        assert got.history["accuracy"] == expected.history["accuracy"]
        for name, array in reference.state_dict().items():
            own = to_numpy(ours.state_dict()[name])
            np.testing.assert_allclose(own, array, rtol=rtol, atol=1e-12)
    parameter = ours.parameters()["0.weight"].data
    assert namespace(parameter) is ours.device.xp
    assert isinstance(ours.predict(x), np.ndarray)


def test_same_first_weights_on_every_device(device):
    ours, reference = model(device), model()
    for one in (ours, reference):
        one.build((None, 1, 8, 8))
    for name, array in reference.state_dict().items():
        np.testing.assert_array_equal(to_numpy(ours.state_dict()[name]), array)


def test_seed_repeats_a_run_and_another_does_not():
    x, y = data()
    runs = []
    for seed in (1, 1, 2):
        one = xpcnn.Model([*layers(), xpcnn.Dropout(0.5)], device="cpu", seed=seed)
        runs.append(one.fit(x, y, epochs=2, optimizer="adam", loss="cross_entropy", verbose=0))
    assert runs[0].history == runs[1].history
    assert runs[0].history != runs[2].history


def test_epochs_continue_over_calls():
    x, y = data()
    ours = model()
    first = ours.fit(x, y, epochs=2, verbose=0)
    second = ours.fit(x, y, epochs=1, verbose=0)
    assert (first.epoch, second.epoch, ours.history.epoch) == ([1, 2], [3], [1, 2, 3])
    assert len(second.history["loss"]) == 1
    assert ours.step == 3 * 2


def test_validation_split_takes_the_end_unshuffled():
    x, y = data(40)
    ours = model()
    history = ours.fit(x, y, validation_split=0.25, verbose=0)
    figures = ours.evaluate(x[30:], y[30:])
    assert history.history["val_loss"] == [pytest.approx(figures["loss"], rel=1e-6)]
    assert history.history["val_accuracy"] == [figures["accuracy"]]
    given = model().fit(x[:30], y[:30], validation_data=(x[30:], y[30:]), verbose=0)
    assert given.history == history.history


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "int64", "uint64"])
def test_labels_of_any_integer_type(dtype):
    x, y = data()
    assert model().fit(x, y.astype(dtype), verbose=0).history == model().fit(
        x, y, verbose=0
    ).history  # fmt: skip


@pytest.mark.parametrize("dtype", ["uint8", "bool", "float64"])
def test_one_hot_labels(dtype):
    x, y = data()
    expected = model().fit(x, y, verbose=0).history
    got = model().fit(x, np.eye(3, dtype=dtype)[y], verbose=0).history
    assert got["accuracy"] == expected["accuracy"]
    np.testing.assert_allclose(got["loss"], expected["loss"], rtol=1e-6)


def test_lists_and_foreign_arrays_are_taken(device):
    x, y = data(8)
    ours = model()
    expected = ours.predict(x)
    np.testing.assert_allclose(ours.predict(x.tolist()), expected, rtol=1e-6)
    np.testing.assert_array_equal(ours.predict(device.asarray(x)), expected)
    np.testing.assert_array_equal(to_numpy(ours(device.asarray(x))), expected)
    ours.fit(device.asarray(x), device.asarray(y), verbose=0)


def test_data_already_on_the_device(device):
    x, y = data(12)
    ours, other = model(device), model(device)
    here = ours.fit(ours.device.asarray(x), y, batch_size=5, verbose=0)
    assert here.history == other.fit(x, y, batch_size=5, verbose=0).history


def test_train_on_batch_is_one_step_of_fit():
    x, y = data()
    one, other = model(), model()
    figures = one.train_on_batch(x, y)
    history = other.fit(x, y, batch_size=36, shuffle=False, verbose=0)
    assert figures | {"lr": 0.1} == {name: column[0] for name, column in history.history.items()}
    assert one.step == 1


def test_evaluate_does_not_depend_on_the_batch_size():
    x, y = data()
    ours = model()
    ours.fit(x, y, verbose=0)
    whole, cut = ours.evaluate(x, y, batch_size=36), ours.evaluate(x, y, batch_size=7)
    assert whole["accuracy"] == cut["accuracy"]
    assert whole["loss"] == pytest.approx(cut["loss"], rel=1e-6)


def test_evaluate_and_predict_change_nothing():
    x, y = data()
    ours = xpcnn.Model([xpcnn.BatchNorm2d(1), *layers(), xpcnn.Dropout()], device="cpu", seed=0)
    ours.compile("adam", "cross_entropy")
    ours.fit(x, y, verbose=0)
    before = {name: np.array(a) for name, a in ours.state_dict().items()}
    ours.evaluate(x, y)
    np.testing.assert_array_equal(ours.predict(x), ours.predict(x))
    for name, array in ours.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_frozen_parameters_do_not_move():
    x, y = data()
    ours = model()
    ours.build((None, 1, 8, 8))
    ours.parameters()["0.weight"].requires_grad = False
    before = np.array(ours.parameters()["0.weight"].data)
    ours.fit(x, y, verbose=0)
    np.testing.assert_array_equal(ours.parameters()["0.weight"].data, before)


def test_regression():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((64, 3)).astype("float32")
    y = x @ np.array([[1.0], [-2.0], [0.5]], dtype="float32") + 3.0
    ours = xpcnn.Model([xpcnn.Linear(out_features=1)], device="cpu", seed=0)
    ours.fit(x, y, epochs=60, optimizer=xpcnn.optim.SGD(lr=0.1), loss="mse", verbose=0)
    np.testing.assert_allclose(
        ours.parameters()["0.weight"].data, [[1.0, -2.0, 0.5]], rtol=0, atol=1e-3
    )


def test_moving_a_model_in_mid_training(device):
    x, y = data(dtype="float64")
    stays, moves = model(dtype="float64"), model(dtype="float64")
    stays.fit(x, y, epochs=2, verbose=0)
    moves.fit(x, y, epochs=1, verbose=0)
    assert moves.to(device) is moves
    moves.fit(x, y, epochs=1, verbose=0)
    np.testing.assert_allclose(moves.predict(x), stays.predict(x), rtol=1e-10, atol=1e-12)
    moves.to("cpu", "float32")
    assert moves.predict(x.astype("float32")).dtype == np.float32


# -- Numbers that are not finite -------------------------------------------------------------------


class Poison(xpcnn.Layer):
    """Turns its output into NaN from some forward on."""

    def __init__(self, after):
        self.after = after
        self.count = 0

    def _forward(self, xp, x, training):
        self.count += training
        return (x * float("nan") if self.count > self.after else x), None

    def _backward(self, xp, dy, saved, need_dx):
        return dy


def test_nan_stops_training_with_the_place(device):
    x, y = data(30)
    ours = xpcnn.Model(
        [xpcnn.Flatten(), xpcnn.Linear(64, 8), Poison(4), xpcnn.Linear(8, 3)],
        device=device,
        seed=0,
    )
    # Where reading the loss would make the host wait it is read after the epoch.
    layer = "Poison '2'" if _xp.on_host(device.zeros((), "float32")) else None
    with pytest.raises(NonFiniteError, match="epoch 2, batch 2") as caught:
        ours.fit(x, y, epochs=3, batch_size=10, optimizer="adam", loss="cross_entropy", verbose=0)
    error = caught.value
    assert (error.epoch, error.batch, error.layer) == (2, 2, layer)
    assert layer is None or layer in str(error)
    assert all(np.isfinite(to_numpy(a)).all() for a in ours.state_dict().values())
    ours.layers[2].after = 10**9
    assert np.isfinite(ours.predict(x)).all()
    ours.fit(x, y, verbose=0)


def test_weights_that_overflowed_are_taken_back(tmp_path):
    x, y = data()
    ours = xpcnn.Model(layers(), device="cpu", seed=0)
    ours.compile(xpcnn.optim.SGD(lr=0.01), "cross_entropy")
    ours.fit(x, y, verbose=0)
    good = {name: np.array(a) for name, a in ours.state_dict().items()}
    with (
        pytest.raises(NonFiniteError, match="smaller learning rate"),
        np.errstate(all="ignore"),
    ):
        ours.fit(x, y, epochs=5, batch_size=4, optimizer=xpcnn.optim.SGD(lr=1e38), verbose=0)
    for name, array in ours.state_dict().items():
        np.testing.assert_array_equal(array, good[name])
    ours.save(tmp_path / "good")
    xpcnn.Model.load(tmp_path / "good", device="cpu")


# -- Description -----------------------------------------------------------------------------------


def test_summary_counts_by_hand(capsys):
    ours = xpcnn.Model(layers(), device="cpu", seed=0)
    text = ours.summary((None, 1, 8, 8))
    assert capsys.readouterr().out == text + "\n"
    lines = text.splitlines()
    # 4 filters of 9 taps and a bias; 6 x 6 outputs of 4 channels with 9 products each.
    assert lines[4].split()[-2:] == ["40", "1,296"]
    # 4 x 3 x 3 inputs to 3 outputs.
    assert lines[8].split()[-2:] == ["111", "108"]
    assert "(1, 4, 3, 3)" in text
    assert "parameters: 151 (151 trained)" in text
    assert "multiply-adds of a forward pass: 1,404" in text
    # 4 numbers per parameter, 2 per element of the outputs 144 + 144 + 36 + 36 + 3, 4 bytes each.
    assert "about 5.2 KiB" in text
    assert pytest.approx(5.2, abs=0.05) == (4 * 151 + 2 * 363) * 4 / 1024


def test_summary_after_fit_is_not_that_of_the_whole_data():
    x, y = data()
    ours = model()
    ours.fit(x, y, batch_size=4, verbose=0)
    assert ours.input_shape == (None, 1, 8, 8)
    assert "input (1, 1, 8, 8)" in ours.summary()
    assert "(4, 4, 3, 3)" in ours.summary(batch_size=4)
    with pytest.raises(ValueError, match="Linear '4': expected 36 input features"):
        ours.summary((None, 1, 12, 12))
    assert ours.input_shape == (None, 1, 8, 8)


def test_bfloat16_takes_ordinary_numbers():
    """NumPy has no bfloat16, so float32 stands in for it at the border."""
    pytest.importorskip("torch")
    x, y = data()
    ours = xpcnn.Model(layers(), device="torch:cpu", dtype="bfloat16", seed=0)
    ours.compile(xpcnn.optim.SGD(lr=0.05), "cross_entropy", ["accuracy"])
    ours.fit(x, y, sample_weight=np.ones(36), verbose=0)
    ours.fit(x.tolist(), np.eye(3)[y], verbose=0)
    assert ours.predict(x).shape == (36, 3)
    assert _xp.dtype_name(ours(x)) == "bfloat16"


def test_build_checks_its_shape():
    for shape, error in (((None, 1, 8.5, 8), TypeError), ((0, 1, 8, 8), ValueError)):
        with pytest.raises(error, match="input_shape"):
            model().build(shape)
    for shape in (3, "abc"):
        with pytest.raises(TypeError, match="batch axis in front"):
            model().build(shape)


def test_summary_needs_a_shape():
    with pytest.raises(RuntimeError, match="summary"):
        model().summary()


def test_layers_are_named_in_messages():
    ours = xpcnn.Model([xpcnn.Sequential(xpcnn.Linear(4, 2)), xpcnn.Linear(3, 1)], device="cpu")
    with pytest.raises(ValueError, match=r"Linear '1': expected 3 input features"):
        ours.predict(np.zeros((1, 4), dtype="float32"))


def test_adding_layers():
    ours = xpcnn.Model(device="cpu", seed=0)
    with pytest.raises(RuntimeError, match="no layers"):
        ours.build((None, 4))
    ours.add(xpcnn.Linear(4, 3))
    assert ours.predict(np.ones((2, 4), dtype="float32")).shape == (2, 3)
    ours.add(xpcnn.Linear(3, 2))
    assert ours.predict(np.ones((2, 4), dtype="float32")).shape == (2, 2)
    with pytest.raises(ValueError, match="two places"):
        ours.add(ours.layers[0])
    with pytest.raises(TypeError, match=r"write ReLU\(\)"):
        ours.add(xpcnn.ReLU)
