"""Model files that were changed at random, in their bytes or in what they describe."""

import copy
import json

import numpy as np
import pytest

import xpcnn
from xpcnn import ModelFileError
from xpcnn.training import saving

VALUES = [
    None, True, -1, 0, 1, 3, 2**31, 2**63, 10**30, -1.5, 1e308, float("nan"), float("inf"), "", "x",
    "Linear", "\0", "x" * 1000, [], [[]], [0] * 100, {}, {"class": "Linear", "config": {}},
    {"function": "f"}, {"function": None}, ["a", 1, None],
]  # fmt: skip


def written(tmp_path):
    """Return the bytes, tensors and description of a model with something of everything."""
    layers = [
        xpcnn.Conv2d(1, 2, 3, padding="same"), xpcnn.BatchNorm2d(2), xpcnn.ReLU(),
        xpcnn.Residual(xpcnn.Sequential(xpcnn.Conv2d(2, 2, 1), xpcnn.Dropout(0.2))),
        xpcnn.MaxPool2d(2), xpcnn.Flatten(), xpcnn.Linear(out_features=2),
    ]  # fmt: skip
    model = xpcnn.Model(layers, device="cpu", seed=0)
    plateau = xpcnn.optim.ReduceLROnPlateau(monitor="val_accuracy")
    optimizer = xpcnn.optim.Adam(schedule=xpcnn.optim.Warmup(3, after=plateau))
    model.compile(optimizer, "cross_entropy", ["accuracy", "f1_score"])
    rng = np.random.default_rng(0)
    x, y = rng.random((6, 1, 4, 4), dtype="float32"), np.array([0, 1] * 3)
    stopping = xpcnn.EarlyStopping(patience=9, restore_best_weights=True)
    model.fit(x, y, epochs=2, validation_data=(x, y), callbacks=[stopping], verbose=0)
    model.save(tmp_path / "m")
    return (tmp_path / "m").read_bytes(), *saving.read_file(tmp_path / "m")


def places(value, path=()):
    """Yield the places of all values inside one."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in items:
        yield (*path, key)
        if isinstance(inner, (dict, list)):
            yield from places(inner, (*path, key))


def with_another_value(description, rng):
    changed = copy.deepcopy(description)
    for _ in range(rng.integers(1, 3)):
        found = list(places(changed))
        *path, last = found[rng.integers(len(found))]
        parent = changed
        for key in path:
            parent = parent[key]
        how = rng.integers(4)
        if how == 0:
            del parent[last]
        elif how == 1 and isinstance(parent, list):
            parent.append(copy.deepcopy(parent[last]))
        else:
            parent[last] = copy.deepcopy(VALUES[rng.integers(len(VALUES))])
    return changed


def with_other_bytes(content, rng):
    changed = bytearray(content)
    how = rng.integers(4)
    start = int(rng.integers(len(changed) if how else 4000))
    if how == 0:
        changed[start] ^= 1 << int(rng.integers(8))
    elif how == 1:
        del changed[start:]
    elif how == 2:
        del changed[start : start + int(rng.integers(1, 100))]
    else:
        changed[start:start] = rng.bytes(int(rng.integers(1, 100)))
    return bytes(changed)


@pytest.mark.parametrize("count", [100, pytest.param(1000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", ["bytes", "description"])
def test_only_documented_errors(tmp_path, kind, count):
    content, tensors, description = written(tmp_path)
    rng = np.random.default_rng(7)
    path = tmp_path / "mutated"
    refused = 0
    for _ in range(count):
        if kind == "bytes":
            changed = with_other_bytes(content, rng)
            path.write_bytes(changed)
        else:
            changed = with_another_value(description, rng)
            saving.write_file(path, tensors, changed)
        try:
            model = xpcnn.Model.load(path, device="cpu")
        except ModelFileError:
            refused += 1
        except BaseException as error:
            text = changed if kind == "bytes" else json.dumps(changed)
            raise AssertionError(f"{error!r} of {text[:3000]!r}") from error
        else:
            model.save(tmp_path / "again")  # what can be loaded can be saved and loaded again
            xpcnn.Model.load(tmp_path / "again", device="cpu")
    print(f"{kind}: {count} files, {refused} refused")
    assert refused > count // 4
