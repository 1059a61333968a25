"""Files of torch.save are read without torch and without executing anything."""

from __future__ import annotations

import pickle
import struct
import zipfile

import numpy as np
import pytest

import xpcnn
from xpcnn.errors import ModelFileError
from xpcnn.interop import load_weights, read_pickle


def state_dict(torch) -> dict:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(4, 6, generator=generator)
    return {
        "0.weight": weight,
        "0.bias": torch.randn(4, generator=generator),
        "turned": weight.t(),
        "part": weight[1:3, 2:4],
        "count": torch.tensor(7),
        "half": torch.randn(3, generator=generator).half(),
        "bfloat16": torch.randn(5, generator=generator).bfloat16(),
        "flags": torch.tensor([True, False]),
        "bytes": torch.arange(3, dtype=torch.uint8),
        "none": torch.zeros(0, 3),
        "complex": torch.randn(2, generator=generator, dtype=torch.complex64),
        "parameter": torch.nn.Parameter(weight.double()),
    }


@pytest.mark.parametrize("new", [True, False])
def test_tensors_are_those_of_torch(tmp_path, new):
    torch = pytest.importorskip("torch")
    expected = state_dict(torch)
    path = tmp_path / "tensors.pt"
    torch.save(expected, path, _use_new_zipfile_serialization=new)
    found = read_pickle(path)
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        right = tensor.detach()
        right = right.float().numpy() if name == "bfloat16" else right.numpy()
        assert found[name].dtype == right.dtype, name
        np.testing.assert_array_equal(found[name], right)


@pytest.mark.parametrize("new", [True, False])
def test_weights_of_a_network(tmp_path, new):
    torch = pytest.importorskip("torch")
    theirs = torch.nn.Sequential(torch.nn.Linear(6, 4), torch.nn.BatchNorm1d(4)).eval()
    path = tmp_path / "tiny.pth"
    torch.save(theirs.state_dict(), path, _use_new_zipfile_serialization=new)
    ours = xpcnn.Model([xpcnn.Linear(6, 4), xpcnn.BatchNorm1d(4)], device="cpu")
    ours.build((None, 6))
    load_weights(ours, path)
    x = np.random.default_rng(0).normal(size=(5, 6)).astype(np.float32)
    expected = theirs(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(ours.predict(x), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("new", [True, False])
def test_nested_values_and_whole_networks(tmp_path, new):
    torch = pytest.importorskip("torch")
    path = tmp_path / "checkpoint.pt"
    checkpoint = {"epoch": 3, "model": {"w": torch.ones(2)}, "more": [torch.zeros(1), (1, "a")]}
    torch.save(checkpoint, path, _use_new_zipfile_serialization=new)
    found = read_pickle(path)
    assert found["epoch"] == 3
    np.testing.assert_array_equal(found["model"]["w"], np.ones(2))
    assert found["more"][1] == (1, "a")
    with pytest.raises(ModelFileError, match="'model'"):
        load_weights(xpcnn.Linear(2, 1), path)
    torch.save(torch.nn.Linear(2, 1), path, _use_new_zipfile_serialization=new)
    with pytest.raises(ModelFileError, match="nothing of it was executed"):
        read_pickle(path)


def archive(path, pickled: bytes, **members: bytes):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a/data.pkl", pickled)
        for name, content in members.items():
            file.writestr(f"a/data/{name[1:]}", content)
    return path


def tensor(key: str, count: int, offset: int, shape, stride) -> bytes:
    """Pickle a tensor by hand, protocol 0 with a persistent id."""

    def whole(numbers) -> bytes:
        return b"(" + b"".join(b"J" + struct.pack("<i", n) for n in numbers) + b"t"

    def word(text: str) -> bytes:
        return b"X" + struct.pack("<I", len(text)) + text.encode()

    storage = b"(" + word("storage") + b"ctorch\nFloatStorage\n" + word(key) + word("cpu")
    storage += b"J" + struct.pack("<i", count) + b"tQ"
    rest = b"J" + struct.pack("<i", offset) + whole(shape) + whole(stride)
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + rest + b"\x89Ntb"[:-1] + b"R"


def test_a_tensor_by_hand(tmp_path):
    numbers = np.arange(6, dtype="<f4").tobytes()
    path = archive(tmp_path / "x", tensor("0", 6, 1, (2, 2), (2, 1)) + b".", _0=numbers)
    np.testing.assert_array_equal(read_pickle(path), [[1, 2], [3, 4]])


BAD = {
    "beyond its storage": tensor("0", 6, 3, (2, 2), (2, 1)),
    "many times the same": tensor("0", 6, 0, (1000, 1000), (0, 0)),
    "overlapping": tensor("0", 6, 0, (3, 3), (1, 1)),
    "another length": tensor("0", 7, 0, (2,), (1,)),
    "a missing storage": tensor("1", 6, 0, (2,), (1,)),
    "a negative length": tensor("0", 6, 0, (-2,), (1,)),
    "no tensor": b"ctorch\nFloatStorage\n",
}


@pytest.mark.parametrize("name", BAD)
def test_hostile_tensors_are_refused(tmp_path, name):
    numbers = np.arange(6, dtype="<f4").tobytes()
    path = archive(tmp_path / "x", BAD[name] + b".", _0=numbers)
    with pytest.raises(ModelFileError):
        read_pickle(path)


def test_values_that_hold_each_other_many_times_take_no_time(tmp_path):
    nested: list = []
    for _ in range(60):
        nested = [nested, nested]
    path = archive(tmp_path / "x", pickle.dumps(nested, 2))
    found = read_pickle(path)
    assert found[0] is found[1]
