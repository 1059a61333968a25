"""Layers inside layers inside layers."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

import xpcnn
from xpcnn import ModelFileError
from xpcnn.layers.containers import DEEPEST
from xpcnn.training import saving

WRAPPERS = {
    "Sequential": xpcnn.Sequential,
    "Residual": xpcnn.Residual,
    "Parallel": lambda layer: xpcnn.Parallel([layer], join="sum"),
    "Graph": lambda layer: xpcnn.Graph("x", [("y", layer, "x")], "y"),
}


class Holding(xpcnn.Layer):
    """A layer of a user with another one in it."""

    def __init__(self, inner):
        self.inner = inner

    def _forward(self, xp, x, training):
        return self.inner.forward(x, training=training), None

    def _backward(self, xp, dy, saved, need_dx):
        return self.inner.backward(dy, need_dx=need_dx)


def nested(wrap, levels):
    layer = xpcnn.Linear(3, 3)
    layer.load_state_dict({"weight": np.eye(3) / 4, "bias": np.zeros(3)})
    for _ in range(levels - 1):
        layer = wrap(layer)
    return layer


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_the_deepest_nest_does_everything(wrap, tmp_path, capsys):
    x = np.ones((2, 3), dtype="float32")
    model = xpcnn.Model([nested(wrap, DEEPEST)], device="cpu", seed=0)
    model.compile("sgd", "mse")
    model.fit(x * 0, x * 0, verbose=0)
    assert repr(model.layers)
    assert model.summary()
    model.save(tmp_path / "m")
    loaded = xpcnn.Model.load(tmp_path / "m", device="cpu")
    np.testing.assert_array_equal(loaded.predict(x), model.predict(x))


@pytest.mark.parametrize("levels", [DEEPEST + 2, 200, 300])
@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_a_deeper_nest_is_refused(wrap, levels):
    with pytest.raises(ValueError, match=f"nested more than {DEEPEST} deep"):
        nested(wrap, levels)


def test_layers_of_users_are_counted_too():
    with pytest.raises(ValueError, match="nested more than"):
        xpcnn.Model([nested(Holding, 300)], device="cpu")
    loop = Holding(None)
    loop.inner = loop
    with pytest.raises(ValueError, match="nested more than"):
        xpcnn.Sequential(loop)


@pytest.mark.parametrize("levels", [DEEPEST + 1, 250, 400, 5000])
def test_a_file_that_nests_deeper(levels, tmp_path):
    model = xpcnn.Model([xpcnn.Linear(3, 3)], device="cpu", seed=0)
    model.build((None, 3))
    model.save(tmp_path / "m")
    tensors, description = saving.read_file(tmp_path / "m")
    inner = json.dumps(description["layers"][0])
    text = '{"class":"Sequential","config":{"layers":[' * (levels - 1) + inner
    text += "]}}" * (levels - 1)
    whole = json.dumps(description | {"layers": ["NESTED"]}).replace('"NESTED"', text)
    save_file(tensors, tmp_path / "m", metadata={saving.FORMAT: whole})
    with pytest.raises(ModelFileError, match="deep|damaged"):
        xpcnn.Model.load(tmp_path / "m")
