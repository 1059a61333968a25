"""How far it is from a method of the model to a layer: a traceback should be short."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

import xpcnn

PACKAGE = str(Path(xpcnn.__file__).parent)


class Watched(xpcnn.Linear):
    """Notes which functions of the package led to it."""

    def forward(self, x, training=False):
        self._frames, frame = [], sys._getframe(1)
        while frame is not None:
            if frame.f_code.co_filename.startswith(PACKAGE):
                self._frames.append(frame.f_code.co_name)
            frame = frame.f_back
        return super().forward(x, training=training)


CALLS = {
    "fit": (8, lambda model, x, y: model.fit(x, y, verbose=0)),
    "train_on_batch": (6, lambda model, x, y: model.train_on_batch(x, y)),
    "train_step": (6, lambda model, x, y: model.train_step(x, y)),
    "predict": (6, lambda model, x, y: model.predict(x)),
    "__call__": (6, lambda model, x, y: model(x)),
}


@pytest.mark.parametrize("method", CALLS)
def test_from_the_model_to_a_layer(method, rng):
    most, call = CALLS[method]
    layer = Watched(3, 2)
    model = xpcnn.Model([layer], device="cpu", seed=0)
    model.compile("sgd", "cross_entropy")
    x = rng.normal(size=(4, 3)).astype("float32")
    call(model, x, np.array([0, 1, 1, 0]))  # the first call builds the layer
    call(model, x, np.array([0, 1, 1, 0]))
    assert layer._frames[-1] == method
    assert len(layer._frames) <= most, layer._frames
