"""What the cases by hand of several layers share."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

import xpcnn as xc
from xpcnn import _registry, _xp
from xpcnn.training import saving


def run(layer, x, device):
    """Return the output and, for a gradient of 1, 2, 3, ..., the gradient of the input."""
    y = layer.forward(device.asarray(np.asarray(x, dtype="float64")), training=True)
    shape = tuple(y.shape)
    dy = np.arange(1.0, 1.0 + np.prod(shape)).reshape(shape)
    return _xp.to_numpy(y), _xp.to_numpy(layer.backward(device.asarray(dy)))


def line(*values):
    return np.array([[values]], dtype=np.float64)


def assert_refused(layer, shape, match):
    """A call and `output_shape` refuse the input alike, and say the layer's class and name."""
    layer.name = "first"
    for attempt in (lambda: layer(np.ones(shape, "float32")), lambda: layer.output_shape(shape)):
        with pytest.raises(ValueError, match=f"{type(layer).__name__} 'first': .*{match}"):
            attempt()


def built(layer, *shapes, **options):
    layer.build(*shapes, rng=np.random.default_rng(1), **options)
    return layer


def rebuilt(layer):
    description = json.loads(json.dumps(_registry.to_config(layer)))
    return _registry.from_config(description, saving.known_layers(), "layer")


def assert_described(layer, *shapes):
    """A description and a state make the same layer again."""
    again = rebuilt(layer)
    assert repr(again) == repr(layer)
    assert repr(eval(repr(layer), vars(xc))) == repr(layer)
    built(layer, *shapes)
    again.load_state_dict(layer.state_dict())
    assert list(again.state_dict()) == list(layer.state_dict())
    for key, values in layer.state_dict().items():
        np.testing.assert_array_equal(again.state_dict()[key], values)
    wrong = {key: np.zeros((7, 7, 7, 7)) for key in layer.state_dict()}
    with pytest.raises(ValueError, match=re.escape("misshapen: weight has shape (7, 7, 7, 7)")):
        layer.load_state_dict(wrong)
