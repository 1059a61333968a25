"""Batches whose samples are mixed with each other."""

from __future__ import annotations

import math

import numpy as np
import pytest

import xpcnn as xc
from tests.layers.augmentation.drawing import MANY, assert_mean
from xpcnn import _xp, rng
from xpcnn.operations import Add
from xpcnn.training.dataset import Batch
from xpcnn.training.mixing import Mix

rng_of = np.random.default_rng


def data(n=12, classes=3, shape=(2, 6, 8), dtype="float32"):
    x = rng_of(0).random((n, *shape)).astype(dtype)
    return x, rng_of(1).integers(0, classes, n)


def network(classes=3):
    return [xc.Conv2d(2, 4, 3), xc.ReLU(), xc.Flatten(), xc.Linear(out_features=classes)]


def model(layers=None, device="cpu", loss="cross_entropy", **options):
    made = xc.Model(network() if layers is None else layers, device=device, seed=0)
    made.compile(xc.optim.SGD(0.1), loss, **options)
    return made


def drawn(mix, height=50, width=40):
    """What is drawn for 10,000 batches of images."""
    shapes = [(2, 3, height, width)]
    return [mix.draw(rng.generator(0, "test", step), shapes) for step in range(MANY)]


# -- What is drawn ---------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_shares_of_mixup(alpha):
    shares = np.array([share for share, _ in drawn(xc.MixUp(alpha))])
    variance = 1 / (4 * (2 * alpha + 1))  # of a beta distribution
    assert_mean(shares, 0.5, math.sqrt(variance))
    assert_mean((shares - 0.5) ** 2, variance)


def test_rectangles_of_cutmix():
    """Where no side was cut off, the area is 1 minus a share that is evenly spread."""
    height, width = 50, 40
    found = drawn(xc.CutMix(), height, width)
    areas = []
    for share, ((top, bottom), (left, right)) in found:
        assert 0 <= top <= bottom <= height
        assert 0 <= left <= right <= width
        assert share == 1 - (bottom - top) * (right - left) / (height * width)
        areas.append(1 - share)
    # expected values from the definition, pixel by pixel, for many shares
    wanted = []
    for step, uniform in enumerate((np.arange(20_000) + 0.5) / 20_000):
        reach = 0.5 * math.sqrt(1 - uniform)
        sides = []
        for n, place in ((width, (step * 7) % width), (height, (step * 11) % height)):
            half = int(reach * n)
            sides.append(min(place + half, n) - max(place - half, 0))
        wanted.append(sides[0] * sides[1] / (height * width))
    assert_mean(areas, np.mean(wanted), np.std(wanted) * 1.05)


def test_rectangles_as_torchvision_draws_them():
    torch = pytest.importorskip("torch")
    v2 = pytest.importorskip("torchvision.transforms.v2")
    torch.manual_seed(0)
    theirs = v2.CutMix(alpha=0.5)
    image = torch.zeros(2, 3, 50, 40)
    expected = np.array([theirs.make_params([image])["lam_adjusted"] for _ in range(3000)])
    ours = np.array([share for share, _ in drawn(xc.CutMix(0.5))])
    error = np.hypot(ours.std() / math.sqrt(MANY), expected.std() / math.sqrt(3000))
    assert abs(ours.mean() - expected.mean()) <= 3.5 * error


# -- By hand ---------------------------------------------------------------------------------------


def shares_of(y, classes, share):
    """One-hot rows, mixed with the row before."""
    own = np.eye(classes)[y]
    return share * own + (1 - share) * np.roll(own, 1, axis=0)


def test_mixup_by_hand(device):
    x, y = data(5, dtype="float64")
    mixed, labels = xc.MixUp(0.4)(device.asarray(x), device.asarray(y), classes=3, seed=2, step=7)
    share = xc.MixUp(0.4).draw(rng.generator(2, "mix in epoch 0", 7), [])[0]
    assert 0 < share < 1
    expected = [share * x[n] + (1 - share) * x[n - 1] for n in range(5)]
    np.testing.assert_allclose(_xp.to_numpy(mixed), expected, rtol=1e-12)
    np.testing.assert_allclose(_xp.to_numpy(labels), shares_of(y, 3, share), rtol=1e-12)


def test_cutmix_by_hand(device):
    x, y = data(5, dtype="float64")
    seed = 1
    share, ((top, bottom), (left, right)) = xc.CutMix().draw(
        rng.generator(seed, "mix in epoch 0", 0), [x.shape]
    )
    assert 0 < share < 1
    mixed, labels = xc.CutMix()(device.asarray(x), device.asarray(y), classes=3, seed=seed)
    expected = x.copy()
    for n in range(5):
        expected[n, :, top:bottom, left:right] = x[n - 1, :, top:bottom, left:right]
    np.testing.assert_array_equal(_xp.to_numpy(mixed), expected)
    np.testing.assert_allclose(_xp.to_numpy(labels), shares_of(y, 3, share), rtol=1e-12)


def test_targets_of_floats_are_mixed_as_they_are():
    x, _ = data(4)
    y = rng_of(3).random((4, 2)).astype("float32")
    _, labels = xc.MixUp()(x, y, step=3)
    share = xc.MixUp().draw(rng.generator(0, "mix in epoch 0", 3), [])[0]
    np.testing.assert_allclose(labels, share * y + (1 - share) * np.roll(y, 1, 0), rtol=1e-6)


# -- In training -----------------------------------------------------------------------------------


@pytest.mark.parametrize("mix", [xc.MixUp(0.5), xc.CutMix()], ids=repr)
def test_fit_is_a_loop_over_mixed_batches(mix):
    """The same weights, bit for bit, as from steps with what the mix gives."""
    x, y = data()
    ours, steps = model(), model()
    ours.fit(x, y, epochs=2, batch_size=5, shuffle=False, mix=mix, verbose=0)
    for epoch in range(2):
        for number, first in enumerate(range(0, 12, 5)):
            rows = slice(first, first + 5)
            shapes = [(len(y[rows]), 3)]
            batch = mix.batch(
                Batch((x[rows],), y[rows], None),
                shapes,
                rng.generator(0, f"mix in epoch {epoch}", number),
            )
            steps.train_step(batch.inputs[0], batch.labels)
    for name, weights in steps.state_dict().items():
        np.testing.assert_array_equal(ours.state_dict()[name], weights)


@pytest.mark.parametrize("mix", [xc.MixUp(0.5), xc.CutMix()], ids=repr)
def test_all_libraries_see_the_same(mix, device):
    x, y = data()
    losses = []
    for where in ("cpu", device.name):
        made = model([xc.Flatten(), xc.Linear(96, 3)], where)
        history = made.fit(x, y, epochs=2, batch_size=6, mix=mix, verbose=0)
        losses.append(history.history["loss"])
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)


def test_resumed_training_draws_what_it_would_have_drawn(tmp_path):
    x, y = data()
    options = {"batch_size": 5, "mix": xc.MixUp(), "verbose": 0}
    whole, half = model(), model()
    whole.fit(x, y, epochs=3, **options)
    half.fit(x, y, epochs=1, **options)
    half.save(tmp_path / "half.safetensors")
    again = xc.Model.load(tmp_path / "half.safetensors", device="cpu")
    again.fit(x, y, epochs=2, **options)
    for name, weights in whole.state_dict().items():
        np.testing.assert_array_equal(again.state_dict()[name], weights)


def test_validation_is_not_mixed():
    x, y = data()
    trained = model(metrics=["accuracy"])
    history = trained.fit(x, y, validation_data=(x, y), mix=xc.MixUp(), verbose=0).history
    found = trained.evaluate(x, y)
    assert history["val_loss"][-1] == pytest.approx(found["loss"], rel=1e-6)
    assert history["val_accuracy"][-1] == found["accuracy"]
    assert "accuracy" in history


def test_epochs_are_mixed_in_ways_of_their_own():
    x, y = data()
    trained = model()
    trained.optimizer.lr = 0.0
    history = trained.fit(x, y, epochs=3, shuffle=False, mix=xc.MixUp(), verbose=0).history
    assert len(set(history["loss"])) == 3


@pytest.mark.parametrize("how", ["accumulate", "batches", "memory"])
def test_mixing_goes_with_other_ways_to_train(how):
    x, y = data()
    options = {"mix": xc.MixUp(), "verbose": 0, "epochs": 2}
    if how == "batches":
        batches = [(x[:6], y[:6]), (x[6:], y[6:])]
        expected = model().fit(x, y, batch_size=6, shuffle=False, **options).history["loss"]
        assert model().fit(batches, **options).history["loss"] == expected
    else:
        more = {"accumulate": 2} if how == "accumulate" else {"memory": "100MB"}
        history = model().fit(x, y, batch_size=3, **more, **options).history
        assert np.isfinite(history["loss"]).all()


def test_other_losses_that_take_shares():
    x, y = data()
    yes = rng_of(2).integers(0, 2, (12, 3)).astype("float32")
    for loss, target in (("bce_with_logits", yes), ("mse", yes), ("cross_entropy", np.eye(3)[y])):
        history = model(loss=loss).fit(x, target, mix=xc.MixUp(), verbose=0).history
        assert np.isfinite(history["loss"]).all()


def test_several_inputs_and_outputs():
    x, y = data()
    graph = xc.Graph(
        ["a", "b"],
        [
            ("fa", xc.Sequential(xc.Flatten(), xc.Linear(96, 3)), "a"),
            ("fb", xc.Sequential(xc.Flatten(), xc.Linear(96, 3)), "b"),
            ("first", Add(), ["fa", "fb"]),
            ("second", xc.Linear(3, 2), "first"),
        ],
        ["first", "second"],
    )
    for mix in (xc.MixUp(), xc.CutMix()):
        trained = xc.Model(graph, device="cpu", seed=0)
        losses = {"first": "cross_entropy", "second": "bce_with_logits"}
        trained.compile("adam", losses)
        labels = {"first": y, "second": np.eye(2, dtype="float32")[y % 2]}
        history = trained.fit({"a": x, "b": x}, labels, mix=mix, verbose=0).history
        assert np.isfinite(history["loss"]).all()


# -- Wrong use -------------------------------------------------------------------------------------


def refuses(match, trained, x, y, **options):
    with pytest.raises((TypeError, ValueError), match=match):
        trained.fit(x, y, verbose=0, **options)
    assert trained.step == trained.forwards == 0
    assert not trained.network.is_built  # as before the call


def test_what_cannot_be_mixed_is_refused_before_the_first_step():
    x, y = data()
    mix = xc.MixUp()
    refuses(r"fit: mix must be MixUp\(...\) or CutMix\(...\), got 0.2", model(), x, y, mix=0.2)
    weights = np.ones(12, "float32")
    refuses(
        "mixes samples, which then have no weight", model(), x, y, mix=mix, sample_weight=weights
    )
    refuses("sample_weight and class_weight", model(), x, y, mix=mix, class_weight={0: 2.0})
    margin = model(loss=xc.MultiMarginLoss())
    refuses("makes shares of labels.*MultiMarginLoss does not take", margin, x, y, mix=mix)
    ignored = np.where(np.arange(12) == 3, -100, y)
    refuses("cannot mix labels that CrossEntropyLoss ignores", model(), x, ignored, mix=mix)
    zero = model(loss=xc.CrossEntropyLoss(ignore_index=0))
    refuses("with ignore_index=0; leave out those samples", zero, x, y, mix=mix)
    weighted = [(x, y, weights)]
    refuses("mixes samples, which then have no weight", model(), weighted, None, mix=mix)


def test_what_cutmix_cannot_cut():
    x, y = data()
    rows = model([xc.Linear(4, 3)])
    refuses(r"CutMix needs images \(N, C, H, W\)", rows, x[:, 0, 0, :4], y, mix=xc.CutMix())
    pixels = model([xc.Conv2d(2, 3, 1)])
    labels = rng_of(0).integers(0, 3, (12, 6, 8))
    refuses("CutMix needs one label for each image", pixels, x, labels, mix=xc.CutMix())
    assert np.isfinite(pixels.fit(x, labels, mix=xc.MixUp(), verbose=0).history["loss"]).all()


def test_indices_are_not_mixed():
    tokens = rng_of(0).integers(0, 9, (12, 5))
    trained = model([xc.Embedding(9, 4), xc.Flatten(), xc.Linear(20, 3)])
    refuses(
        "MixUp mixes numbers, and an input has dtype int64",
        trained,
        tokens,
        data()[1],
        mix=xc.MixUp(),
    )


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="MixUp: alpha must be positive, got 0"):
        xc.MixUp(0)
    with pytest.raises(TypeError, match="CutMix: alpha must be a number"):
        xc.CutMix("1")
    mix = xc.MixUp(0.2)
    assert repr(mix) == "MixUp(alpha=0.2)"
    with pytest.raises(AttributeError, match="MixUp has no setting 'share'"):
        mix.share = 3
    with pytest.raises(ValueError, match="alpha must be positive"):
        mix.alpha = -1
    x, y = data()
    with pytest.raises(ValueError, match="MixUp: give classes="):
        mix(x, y)
    with pytest.raises(ValueError, match="CutMix needs images"):
        xc.CutMix()(x[:, 0], y, classes=3)
    with pytest.raises(ValueError, match="expected floats x and as many targets y"):
        mix(x[:4], y, classes=3)
    assert issubclass(xc.MixUp, Mix)
