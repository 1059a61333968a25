"""Files that claim, or unpack to, far more than they are, and files that cannot be read."""

from __future__ import annotations

import gzip
import io
import os
import struct
import zipfile

import numpy as np
import pytest

import xpcnn
from xpcnn.data import read_idx
from xpcnn.errors import ModelFileError, UnsupportedModelError
from xpcnn.interop import load_weights, onnx, read_pickle


def npz(path, header: bytes, content: bytes = b"", compress: bool = True):
    """Write an archive with one array of this header."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED) as f:
        start = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header))
        f.writestr("weight.npy", start + header + content)
    return path


def header(shape: str, descr: str = "'<f4'") -> bytes:
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()


HEADERS = {
    "brackets": b"[" * 500,
    "nothing": b"",
    "a huge shape": header(f"({2**40},)"),
    "a shape beyond all numbers": header("(9" + "9" * 40 + ",)"),
    "a negative shape": header("(-1,)"),
    "objects": header("(1,)", "'O'"),
    "records": header("(1,)", "[('a', '<f4')]"),
    "too few numbers": header("(2,)"),
    "no dict": b"5\n",
}


@pytest.mark.parametrize("name", HEADERS)
def test_damaged_npz_files_are_refused(tmp_path, name):
    path = npz(tmp_path / "a.npz", HEADERS[name], b"abc")
    with pytest.raises(ModelFileError, match=r"a\.npz"):
        load_weights(xpcnn.Linear(2, 1), path)


def test_a_damaged_directory_is_refused(tmp_path):
    path = npz(tmp_path / "a.npz", header("(1,)"), b"1234")
    content = path.read_bytes()
    for cut in range(4, len(content)):
        path.write_bytes(content[:cut])
        with pytest.raises(ModelFileError):
            load_weights(xpcnn.Linear(2, 1), path)


def test_bombs_are_refused_unopened(tmp_path):
    zeros = bytes(100 * 2**20)
    path = npz(tmp_path / "a.npz", header(f"({len(zeros) // 4},)"), zeros)
    assert path.stat().st_size < 2**20
    with pytest.raises(ModelFileError, match="unpack"):
        load_weights(xpcnn.Linear(2, 1), path)
    idx = tmp_path / "a.gz"
    idx.write_bytes(gzip.compress(b"\0\0\x08\x01" + struct.pack(">I", len(zeros)) + zeros, 1))
    with pytest.raises(ValueError, match="unpack"):
        read_idx(idx)


def test_compressed_arrays_are_read(tmp_path):
    buffer = io.BytesIO()
    weight = np.asfortranarray(np.arange(6, dtype=">f8").reshape(2, 3))
    np.savez_compressed(buffer, weight=weight, bias=np.zeros(2))
    path = tmp_path / "a.npz"
    path.write_bytes(buffer.getvalue())
    layer = xpcnn.Linear(3, 2)
    load_weights(layer, path)
    np.testing.assert_array_equal(layer.weight.data, weight)


def test_what_the_file_is_instead_is_named(tmp_path):
    path = tmp_path / "model.onnx"
    model = xpcnn.Model([xpcnn.Linear(3, 2)], device="cpu")
    model.build((None, 3))
    onnx.save(model, path)
    with pytest.raises(ModelFileError, match="onnx.load"):
        load_weights(model, path)
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as file:
        file.writestr("readme.txt", "hello")
    with pytest.raises(ModelFileError, match="readme.txt"):
        load_weights(model, tmp_path / "other.zip")


READERS = {
    "load_weights": lambda path: load_weights(xpcnn.Linear(2, 1), path),
    "read_pickle": read_pickle,
    "onnx.load": onnx.load,
    "read_idx": read_idx,
}


@pytest.mark.parametrize("name", READERS)
def test_files_that_cannot_be_read_say_why(tmp_path, name):
    read = READERS[name]
    with pytest.raises(FileNotFoundError, match="missing"):
        read(tmp_path / "missing")
    with pytest.raises(IsADirectoryError, match=tmp_path.name):
        read(tmp_path)
    empty = tmp_path / "empty"
    empty.touch()
    with pytest.raises(ValueError, match="empty|truncated|no bytes|none|not an ONNX"):
        read(empty)
    if hasattr(os, "geteuid") and os.geteuid() != 0:
        empty.chmod(0)
        with pytest.raises(PermissionError):
            read(empty)


def test_keys_that_get_in_each_others_way_take_no_time():
    keys = b"".join(b"L%dL\nN" % (k * (2**61 - 1)) for k in range(30_000))
    with pytest.raises(ModelFileError, match="numbers as keys"):
        read_pickle(b"}(" + keys + b"u.")
    memo = b"N" + b"".join(b"p%d\n" % (k * (2**61 - 1)) for k in range(1, 30_000))
    with pytest.raises(ModelFileError):
        read_pickle(memo + b".")


def test_a_graph_of_empty_nodes_is_refused_early():
    nodes = b"\x0a\x00" * 1_000_000
    graph = b"\x3a" + _varint(len(nodes)) + nodes
    with pytest.raises(ModelFileError, match="objects"):
        onnx.load(graph + b"\x42\x02\x10\x11", device="cpu")


def test_a_long_list_of_problems_is_cut_in_the_message():
    from tests.interop.onnx_models import model, node, value

    nodes = [node("Unheard", "x", f"y{k}") for k in range(500)]
    described = model(nodes, [value("x", [1])], "y0")
    with pytest.raises(UnsupportedModelError, match="470 more") as caught:
        onnx.load(described.serialize(), device="cpu")
    assert len(caught.value.nodes) == 500
    assert len(str(caught.value)) < 5000


def _varint(number: int) -> bytes:
    found = bytearray()
    while number >= 0x80:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(found) + bytes([number])
