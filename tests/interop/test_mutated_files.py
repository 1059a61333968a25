"""Damaged files of all formats end in documented errors, and in little memory."""

from __future__ import annotations

import gzip
import importlib.util
import io
import pickle
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import xpcnn
from tests.interop.onnx_models import model, node, value
from xpcnn.data import ImageReader, read_idx, write_idx
from xpcnn.interop import load_weights, onnx, read_pickle

BYTES = 64 * 2**20
NEEDS = {"keras": "h5py", "hdf5": "h5py", "torch": "torch", "legacy torch": "torch", "png": "PIL"}
LAYERS = {"weight": np.arange(12, dtype="f4").reshape(3, 4), "bias": np.zeros(3, "f4")}


def _onnx() -> bytes:
    arrays = {
        "w": np.ones((4, 3, 3, 3), "f4"),
        "b": np.ones(4, "f4"),
        "s": np.array([1, 1, 2, 2], "f4"),
    }
    nodes = [
        node("Conv", "x w b", "a", pads=[1, 1, 1, 1]),
        node("Relu", "a", "c"),
        node("Resize", "c - s", "d", mode="linear"),
        node("Flatten", "d", "y"),
    ]
    return model(nodes, [value("x", ["n", 3, 4, 4])], "y", arrays).serialize()


def _npz() -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, **LAYERS)
    return stream.getvalue()


def _hdf5() -> bytes:
    import h5py

    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        file.attrs["layer_names"] = [b"dense"]
        group = file.create_group("dense")
        group.attrs["weight_names"] = [b"dense/kernel:0", b"dense/bias:0"]
        group["dense/kernel:0"] = LAYERS["weight"].T
        group["dense/bias:0"] = LAYERS["bias"]
    return stream.getvalue()


def _torch(new: bool) -> bytes:
    import torch

    stream = io.BytesIO()
    state = {name: torch.from_numpy(array) for name, array in LAYERS.items()}
    torch.save(state, stream, _use_new_zipfile_serialization=new)
    return stream.getvalue()


def _idx(folder: Path) -> bytes:
    write_idx(folder / "idx.gz", np.arange(600, dtype=np.uint8).reshape(6, 10, 10))
    return (folder / "idx.gz").read_bytes()


def _png() -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(np.arange(400, dtype=np.uint8).reshape(20, 20)).save(stream, "png")
    return stream.getvalue()


def _predict(path: Path) -> None:
    ImageReader(8, mode="L").read(path)


def _weights(path: Path) -> None:
    load_weights(xpcnn.Linear(4, 3), path)


def _keras(path: Path) -> None:
    load_weights(xpcnn.Sequential(xpcnn.Linear(4, 3)), path)


FORMATS: dict[str, tuple[Callable[[Path], bytes], Callable[[Path], object]]] = {
    "npz": (lambda folder: _npz(), _weights),
    "hdf5": (lambda folder: _hdf5(), _keras),
    "onnx": (lambda folder: _onnx(), lambda path: onnx.load(path, device="cpu")),
    "torch": (lambda folder: _torch(True), read_pickle),
    "legacy torch": (lambda folder: _torch(False), read_pickle),
    "pickle": (lambda folder: pickle.dumps(LAYERS, 2), read_pickle),
    "idx": (_idx, read_idx),
    "unpacked idx": (lambda folder: gzip.decompress(_idx(folder)), read_idx),
    "png": (lambda folder: _png(), _predict),
}


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    """Change, cut out, repeat or add bytes."""
    data = bytearray(content)
    for _ in range(int(rng.integers(1, 5))):
        at = int(rng.integers(len(data) + 1))
        length = int(rng.integers(1, 9))
        kind = rng.integers(6)
        if kind == 0:
            del data[at:]
        elif kind == 1:
            del data[at : at + length]
        elif kind == 2:
            data[at:at] = data[at : at + length * 4]
        elif kind == 3:
            data[at : at + length] = b"\xff" * length
        else:
            data[at : at + length] = rng.integers(0, 256, length, dtype=np.uint8).tobytes()
    return bytes(data)


def check(name: str, count: int, folder: Path) -> tuple[int, float, int]:
    """Read mutated files; return how many were refused, and the most seconds and bytes."""
    if name in NEEDS and importlib.util.find_spec(NEEDS[name]) is None:
        pytest.skip(f"{NEEDS[name]} is not installed")
    make, read = FORMATS[name]
    content, rng, path = make(folder), np.random.default_rng(0), folder / "file"
    path.write_bytes(content)
    read(path)  # as it is, it is a good one
    refused, slowest, largest = 0, 0.0, 0
    tracemalloc.start()
    try:
        for _ in range(count):
            path.write_bytes(mutated(content, rng))
            tracemalloc.reset_peak()
            before, began = tracemalloc.get_traced_memory()[0], time.perf_counter()
            try:
                read(path)
            except (ValueError, OSError):  # ModelFileError and UnsupportedModelError are such
                refused += 1
            except Exception as error:
                # Pillow's plug-ins fail in many ways, which the command expects of them
                if name != "png":
                    raise AssertionError(f"{name}: {error!r} for {path.read_bytes()!r}") from error
                refused += 1
            slowest = max(slowest, time.perf_counter() - began)
            largest = max(largest, tracemalloc.get_traced_memory()[1] - before)
    finally:
        tracemalloc.stop()
    return refused, slowest, largest


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", FORMATS)
def test_some_mutated_files(name, tmp_path):
    refused, _, largest = check(name, 60, tmp_path)
    assert refused > 5
    assert largest < BYTES


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", FORMATS)
def test_a_thousand_mutated_files(name, tmp_path):
    refused, slowest, largest = check(name, 1000, tmp_path)
    print(f"{name}: {refused} of 1000 refused, {slowest:.2f} s, {largest / 2**20:.1f} MiB at most")
    assert largest < BYTES
