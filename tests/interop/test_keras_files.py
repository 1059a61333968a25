"""Files that Keras writes, where it is installed with a backend."""

from __future__ import annotations

import importlib.util
import os
import warnings

import numpy as np
import pytest

import xpcnn
from xpcnn.interop import load_weights

pytest.importorskip("h5py")
pytest.importorskip("torch")
if importlib.util.find_spec("keras") is None:
    pytest.skip("Keras is not installed", allow_module_level=True)
os.environ.setdefault("KERAS_BACKEND", "torch")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import keras

SHAPE = (2, 3, 12, 14)


def theirs():
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((12, 14, 3)),
            layers.Conv2D(4, (3, 2), strides=2, padding="same", activation="relu"),
            layers.BatchNormalization(),
            layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same"),
            layers.SeparableConv2D(6, 3),
            layers.Conv2DTranspose(5, 3, strides=2),
            layers.PReLU(shared_axes=[1, 2]),
            layers.GroupNormalization(groups=5, epsilon=1e-5),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dropout(0.2),
            layers.Dense(7, activation="relu"),
            layers.Dense(3, name="scores"),
        ]
    )


def ours():
    return xpcnn.Model(
        [
            xpcnn.Conv2d(3, 4, (3, 2), 2, "same"),
            xpcnn.ReLU(),
            xpcnn.BatchNorm2d(4, 1e-3),
            xpcnn.Conv2d(4, 8, 3, padding="same", groups=4),
            xpcnn.SeparableConv2d(8, 6, 3),
            xpcnn.ConvTranspose2d(6, 5, 3, 2),
            xpcnn.PReLU(5),
            xpcnn.GroupNorm(5, 5),
            xpcnn.MaxPool2d(2),
            xpcnn.Flatten(),
            xpcnn.Dropout(0.2),
            xpcnn.Linear(out_features=7),
            xpcnn.ReLU(),
            xpcnn.Linear(7, 3),
        ],
        device="cpu",
    )


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["m.keras", "m.weights.h5", "m.h5"])
def test_a_network_of_keras_computes_the_same(tmp_path, rng, name):
    network = theirs()
    for weight in network.weights:
        value = rng.normal(size=weight.shape) * 0.3
        weight.assign(np.abs(value) + 0.5 if "variance" in weight.path else value)
    if name == "m.weights.h5":
        network.save_weights(tmp_path / name)
    else:
        network.save(tmp_path / name)
    model = ours()
    model.build(SHAPE)
    load_weights(model, tmp_path / name)
    x = rng.normal(size=SHAPE).astype("float32")
    expected = network.predict(np.moveaxis(x, 1, -1), verbose=0)
    np.testing.assert_allclose(model.predict(x), expected, rtol=1e-4, atol=1e-5)
