"""Files in which classes have the names of before."""

from __future__ import annotations

import json

import numpy as np
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import xpcnn
from xpcnn.operations import Resizing
from xpcnn.training import saving

OLD = {
    "class": "Resize",
    "config": {
        "scales": [2.0, 3.0],
        "sizes": None,
        "mode": "nearest",
        "coordinates": "asymmetric",
        "nearest": "floor",
        "cubic_coeff": -0.75,
        "exclude_outside": False,
        "extrapolation_value": 0.0,
        "antialias": False,
        "policy": "stretch",
        "dims": [2, 3],
    },
}
"""What ``operations.Resize`` was written as."""


def test_the_operation_resize_is_resizing_and_the_layer_is_itself(tmp_path):
    big, one = Resizing(scales=(1.0, 1.0), dims=(2, 3)), xpcnn.Resize((1, 1))
    nodes = [("big", big, "x"), ("one", one, "x")]
    graph = xpcnn.Graph(inputs="x", nodes=nodes, outputs=["big", "one"])
    path = tmp_path / "model"
    model = xpcnn.Model([graph], device="cpu")
    model.build((None, 1, 2, 1))
    model.save(path)
    with safe_open(path, "np") as file:
        described = json.loads(file.metadata()[saving.FORMAT])
    described["layers"][0]["config"]["nodes"][0][1] = OLD
    save_file(load_file(path), path, metadata={saving.FORMAT: json.dumps(described)})

    loaded = xpcnn.Model.load(path, device="cpu")
    big, one = loaded.predict(np.array([[[[1.0], [3.0]]]], "float32"))
    np.testing.assert_array_equal(big[0, 0], [[1, 1, 1], [1, 1, 1], [3, 3, 3], [3, 3, 3]])
    assert one.shape == (1, 1, 1, 1)
    loaded.save(path)  # under its new name
    assert "Resizing(scales=(2.0, 3.0)" in repr(xpcnn.Model.load(path, device="cpu").network)
