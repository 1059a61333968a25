"""Freezing parameters by name: what changes, what stays, and what normalisation does."""

from __future__ import annotations

import numpy as np
import pytest

import xpcnn
from tests.pytorch import nn, torch
from xpcnn._xp import to_numpy


def layers(affine: bool = True) -> list[xpcnn.layers.Layer]:
    return [
        xpcnn.Conv2d(2, 4, 3),
        xpcnn.BatchNorm2d(4, affine=affine),
        xpcnn.ReLU(),
        xpcnn.Flatten(),
        xpcnn.Linear(64, 3),
    ]


def batch(dtype="float32"):
    rng = np.random.default_rng(3)
    return rng.normal(1.0, 2.0, (8, 2, 6, 6)).astype(dtype), np.arange(8) % 3


def built(device="cpu", **options) -> xpcnn.Model:
    model = xpcnn.Model(layers(**options), device=device, dtype="float64", seed=1)
    model.build((None, 2, 6, 6))
    model.compile(xpcnn.optim.SGD(0.1, momentum=0.9), "cross_entropy")
    return model


def state(model) -> dict[str, np.ndarray]:
    return {name: np.array(to_numpy(array)) for name, array in model.state_dict().items()}


def changed(before, model) -> set[str]:
    return {n for n, a in state(model).items() if not np.array_equal(a, before[n])}


def test_patterns_pick_parameters_and_all_that_a_layer_holds():
    model = built()
    assert model.freeze("0", "*.bias") == ["0.weight", "0.bias", "1.bias", "4.bias"]
    assert model.freeze("0.weight") == []
    assert model.unfreeze("4") == ["4.bias"]
    assert [n for n, p in model.parameters().items() if not p.requires_grad] == [
        "0.weight", "0.bias", "1.bias",
    ]  # fmt: skip
    assert model.unfreeze() == ["0.weight", "0.bias", "1.bias"]
    assert len(model.freeze()) == 6


def test_a_layer_freezes_by_its_own_names():
    net = xpcnn.Sequential(*layers())
    assert net.layers[0].freeze("weight") == ["weight"]
    assert net.freeze("0", "1.*") == ["0.bias", "1.weight", "1.bias"]


@pytest.mark.parametrize(
    ("patterns", "error", "message"),
    [
        (("1", "wieght"), ValueError, "no layer or parameter is called 'wieght'"),
        (("4.wieght",), ValueError, r"names near it are '4\.weight'"),
        (("feature.*",), ValueError, "there are '0', |there are '0.weight'"),
        (("",), ValueError, "'\\*' stands for everything"),
        ((["0"],), TypeError, r"expected the name .* got \['0'\]"),
    ],
)
def test_a_pattern_without_effect_is_an_error_and_changes_nothing(patterns, error, message):
    model = built()
    for method in (model.freeze, model.network.freeze):
        with pytest.raises(error, match=message):
            method(*patterns)
    assert all(p.requires_grad for p in model.parameters().values())


@pytest.mark.parametrize("affine", [True, False])
def test_frozen_layers_do_not_change_by_a_bit(device, affine):
    model, (x, y) = built(device, affine=affine), batch("float64")
    model.fit(x, y, epochs=1, batch_size=4, verbose=0)
    before = state(model)
    model.freeze("0", "1")
    model.fit(x, y, epochs=2, batch_size=4, verbose=0)
    assert changed(before, model) == {"4.weight", "4.bias"}
    model.unfreeze()
    model.fit(x, y, epochs=1, batch_size=4, verbose=0)
    # the bias of the convolution is taken away again by the normalisation
    assert changed(before, model) | {"0.bias"} == set(before)


def test_all_parameters_frozen_by_hand_hold_the_statistics_too():
    model, (x, y) = built(), batch("float64")
    before = state(model)
    norm = model.network.layers[1]
    norm.weight.requires_grad = False
    model.train_on_batch(x, y)
    assert "1.running_mean" in changed(before, model)  # its bias is trained still
    before = state(model)
    norm.bias.requires_grad = False
    model.train_on_batch(x, y)
    assert changed(before, model) == {"0.weight", "0.bias", "4.weight", "4.bias"}


def test_a_frozen_normalisation_trains_the_layers_before_it_by_its_statistics():
    """By hand: with fixed statistics the gradient is a factor for each channel."""
    norm = xpcnn.BatchNorm1d(2)
    norm.build((1, 2), dtype="float64")
    norm.running_mean.data, norm.running_var.data = np.array([1.0, -1.0]), np.array([3.0, 8.0])
    norm.weight.data, norm.bias.data = np.array([2.0, 3.0]), np.array([0.5, 0.0])
    norm.eps = 1.0
    norm.freeze()
    y = norm.forward(np.array([[3.0, 2.0], [1.0, -1.0]]), training=True)
    np.testing.assert_allclose(y, [[2.5, 3.0], [0.5, 0.0]])  # (x - mean) / sqrt(var + 1)
    dx = norm.backward(np.array([[1.0, 1.0], [2.0, -1.0]]))
    np.testing.assert_allclose(dx, [[1.0, 1.0], [2.0, -1.0]])
    assert norm.weight.grad is None
    assert norm.bias.grad is None
    assert int(norm.num_batches_tracked.data) == 0
    # a single sample has no statistics of its own, and needs none
    norm.forward(np.array([[3.0, 2.0]]), training=True)


@pytest.mark.parametrize("affine", [True, False])
def test_instance_normalisation_follows_the_same_rule(affine):
    norm = xpcnn.InstanceNorm1d(1, affine=affine, track_running_stats=True)
    norm.build((1, 1, 4), dtype="float64")
    norm.running_mean.data, norm.running_var.data = np.array([2.0]), np.array([4.0 - norm.eps])
    norm.freeze()
    x = np.array([[[0.0, 2.0, 4.0, 8.0]]])
    np.testing.assert_allclose(norm.forward(x, training=True), [[[-1.0, 0.0, 1.0, 3.0]]])
    assert norm.running_mean.data[0] == 2.0
    norm.unfreeze()
    norm.forward(x, training=True)
    np.testing.assert_allclose(norm.running_mean.data, [0.9 * 2.0 + 0.1 * 3.5])


def test_what_is_frozen_is_saved(tmp_path):
    model = built(affine=False)
    model.freeze("0.weight", "1")
    model.save(tmp_path / "m")
    loaded = xpcnn.Model.load(tmp_path / "m", device="cpu")
    assert loaded.unfreeze() == ["0.weight", "1"]


def test_a_network_can_be_frozen_before_it_is_built():
    model = xpcnn.Model([xpcnn.Conv2d(out_channels=3, kernel_size=3), *layers()[3:4]], device="cpu")
    model.add(xpcnn.Linear(out_features=3))
    assert model.freeze("0") == ["0.weight", "0.bias"]
    model.build((None, 2, 6, 6))
    assert not model.parameters()["0.weight"].requires_grad


def test_nothing_to_train_says_what_to_do():
    model = built()
    model.freeze()
    with pytest.raises(RuntimeError, match=r"all 6 parameters are frozen; .* unfreeze\("):
        model.fit(*batch("float64"), verbose=0)


def test_gradients_are_those_of_pytorch_in_eval_mode():
    ours, (x, y) = built(), batch("float64")
    theirs = nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)
    ).double()
    ours.fit(x, y, verbose=0)
    theirs.load_state_dict({n: torch.tensor(a) for n, a in state(ours).items()})
    ours.freeze("1")
    theirs[1].requires_grad_(False).eval()
    ours.compile("sgd", "cross_entropy")
    logits = ours.forward(x, training=True)
    ours.loss.forward(logits, y)
    ours.zero_grad()
    ours.backward(ours.loss.backward())
    nn.functional.cross_entropy(theirs(torch.tensor(x)), torch.tensor(y)).backward()
    for name, parameter in theirs.named_parameters():
        mine = ours.parameters()[name].grad
        if parameter.grad is None:
            assert mine is None
        else:
            np.testing.assert_allclose(mine, parameter.grad.numpy(), rtol=1e-9, atol=1e-12)


def test_the_summary_counts_what_is_frozen(capsys):
    model = built()
    plain = model.summary()
    model.freeze("0", "1.bias", "4")
    text = model.summary()
    assert "parameters: 279 (4 trained, 275 frozen)" in text  # 76 + 8 + 195
    assert [line.partition("  ")[0] for line in text.splitlines()[4:9]] == [
        "0 Conv2d, frozen",
        "1 BatchNorm2d, partly frozen",
        "2 ReLU",
        "3 Flatten",
        "4 Linear, frozen",
    ]
    assert "parameters: 279 (279 trained)" in plain


def test_the_summary_leaves_out_what_the_front_does_not_keep():
    def memory(*frozen):
        net = xpcnn.Sequential(xpcnn.Flatten(), xpcnn.Linear(4, 100), xpcnn.Linear(100, 1))
        model = xpcnn.Model(net, device="cpu")
        if frozen:
            model.freeze(*frozen)
        return model.summary((2, 4), batch_size=2).splitlines()[-1]

    # 4 bytes for 601 parameters four times, and 2 * (4 + 100 + 1) outputs twice
    assert f"about {(4 * 4 * 601 + 4 * 2 * 210) / 1024:.1f} KiB" in memory()
    # 101 of the parameters are trained, and the last layer has 2 outputs
    assert f"about {(4 * (4 * 101 + 500) + 4 * 2 * 2) / 1024:.1f} KiB" in memory("1")
