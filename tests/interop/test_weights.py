"""Weights from safetensors and npz files into models."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import save_file

import xpcnn
from xpcnn.errors import ModelFileError
from xpcnn.interop import load_weights


def small():
    return xpcnn.Sequential(xpcnn.Conv2d(1, 2, 3), xpcnn.BatchNorm2d(2))


@pytest.fixture
def state(rng):
    net = small()
    net.build((1, 1, 5, 5), rng=rng)
    return net.state_dict()


@pytest.mark.parametrize("kind", ["safetensors", "npz", "dict"])
def test_all_forms_are_loaded(tmp_path, state, kind):
    path = tmp_path / "weights"
    if kind == "safetensors":
        save_file(state, path)
    elif kind == "npz":
        with path.open("wb") as file:
            np.savez(file, **state)
    source = state if kind == "dict" else path
    net, model = small(), xpcnn.Model(small().layers, device="cpu")
    load_weights(net, source)
    load_weights(model, source if kind == "dict" else str(source))
    loaded = xpcnn.Model(small().layers, device="cpu")
    if kind == "safetensors":
        loaded.load_state_dict(path)
    else:
        loaded.load_state_dict(state)
    for name, array in state.items():
        np.testing.assert_array_equal(net.state_dict()[name], array)
        np.testing.assert_array_equal(model.state_dict()[name], array)
        np.testing.assert_array_equal(loaded.state_dict()[name], array)


def test_a_model_file_gives_its_weights_without_the_optimizer(tmp_path, rng):
    model = xpcnn.Model([xpcnn.Flatten(), xpcnn.Linear(4, 2)], device="cpu", seed=0)
    model.compile("adam", "cross_entropy")
    model.fit(rng.random((8, 1, 2, 2), dtype="float32"), np.arange(8) % 2, verbose=0)
    model.save(tmp_path / "model.safetensors")
    other = xpcnn.Sequential(xpcnn.Flatten(), xpcnn.Linear(4, 2))
    load_weights(other, tmp_path / "model.safetensors")
    np.testing.assert_array_equal(other.state_dict()["1.weight"], model.state_dict()["1.weight"])
    third = xpcnn.Model([xpcnn.Flatten(), xpcnn.Linear(4, 2)], device="cpu")
    third.load_state_dict(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(third.state_dict()["1.bias"], model.state_dict()["1.bias"])


def test_files_of_the_oldest_pytorch_have_no_counts(tmp_path, state):
    del state["1.num_batches_tracked"]
    save_file(state, tmp_path / "weights")
    net = small()
    for source in (tmp_path / "weights", state):
        load_weights(net, source)
        assert net.state_dict()["1.num_batches_tracked"] == 0
    del state["1.running_mean"]
    with pytest.raises(ValueError, match="missing: 1.running_mean"):
        load_weights(net, state)


def test_what_does_not_fit_is_listed(tmp_path, state):
    del state["0.bias"]
    state["other"] = np.zeros(1)
    save_file(state, tmp_path / "weights")
    with pytest.raises(ValueError, match=r"missing: 0.bias\n.*unexpected: other"):
        load_weights(small(), tmp_path / "weights")
    load_weights(small(), tmp_path / "weights", strict=False)


def test_damaged_files_and_absent_ones(tmp_path, state):
    save_file(state, tmp_path / "weights")
    load_weights(small(), tmp_path / "weights")
    whole = (tmp_path / "weights").read_bytes()
    for end in (0, 5, 9, 30, len(whole) - 1):
        (tmp_path / "weights").write_bytes(whole[:end])
        with pytest.raises(ModelFileError):
            load_weights(small(), tmp_path / "weights")
    np.savez(tmp_path / "weights.npz", **state)
    whole = (tmp_path / "weights.npz").read_bytes()
    for end in (4, 60, len(whole) // 2, len(whole) - 1):
        (tmp_path / "weights.npz").write_bytes(whole[:end])
        with pytest.raises(ModelFileError):
            load_weights(small(), tmp_path / "weights.npz")
    np.savez(tmp_path / "objects.npz", weight=np.array([{}], dtype=object))
    with pytest.raises(ModelFileError, match="not an npz file of arrays"):
        load_weights(small(), tmp_path / "objects.npz")
    with pytest.raises(FileNotFoundError, match="absent"):
        load_weights(small(), tmp_path / "absent")
