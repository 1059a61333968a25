"""The IDX format: files written out by hand, and damaged ones."""

from __future__ import annotations

import gzip
import struct

import numpy as np
import pytest

from xpcnn.data import read_idx, write_idx

# Two dimensions, 2 x 3, of unsigned bytes.
BY_HAND = b"\0\0\x08\x02" + b"\0\0\0\x02" + b"\0\0\0\x03" + bytes([1, 2, 3, 250, 251, 252])


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_read_by_hand(tmp_path, pack):
    path = tmp_path / "data"
    path.write_bytes(pack(BY_HAND))
    got = read_idx(path)
    assert got.dtype == np.uint8
    assert got.tolist() == [[1, 2, 3], [250, 251, 252]]
    got[0, 0] = 9  # the caller owns the array


def test_write_by_hand(tmp_path):
    path = tmp_path / "data"
    write_idx(path, np.array([[1, 2, 3], [250, 251, 252]], np.uint8))
    assert path.read_bytes() == BY_HAND


@pytest.mark.parametrize(
    ("code", "form", "dtype"),
    [
        (0x09, "b", "int8"),
        (0x0B, "h", "int16"),
        (0x0C, "i", "int32"),
        (0x0D, "f", "float32"),
        (0x0E, "d", "float64"),
    ],
)
def test_every_type_of_number(tmp_path, code, form, dtype):
    numbers = (-3, 0, 100)
    path = tmp_path / "data"
    path.write_bytes(bytes([0, 0, code, 1]) + struct.pack(f">I3{form}", 3, *numbers))
    got = read_idx(path)
    assert got.dtype == np.dtype(dtype)
    assert got.tolist() == list(numbers)
    again = tmp_path / "again"
    write_idx(again, got)
    assert again.read_bytes() == path.read_bytes()


def test_compressed_bytes_repeat(tmp_path):
    array = np.arange(100, dtype=np.uint8)
    write_idx(tmp_path / "one.gz", array)
    write_idx(tmp_path / "two.gz", array)
    first = (tmp_path / "one.gz").read_bytes()
    assert first == (tmp_path / "two.gz").read_bytes()
    assert first[4:8] == b"\0\0\0\0"  # no date
    assert b"one" not in first


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an IDX file"),
        (b"\0\0", "not an IDX file"),
        (b"<html>404</html>", "not an IDX file"),
        (b"\0\0\x07\x01\0\0\0\x01\0", "not an IDX file"),
        (b"\0\0\x08\x00\x05", "0 dimensions"),
        (b"\0\0\x08\xff" + b"\0\0\0\x01" * 255 + b"\x05", "255 dimensions"),
        (b"\0\0\x08\x02\0\0\0\x02\0", "ends within its header"),
        (BY_HAND[:-1], "only 5 follow"),
        (BY_HAND + b"\0", "more follow"),
        (b"\0\0\x08\x03" + b"\xff" * 12 + b"\0", "more than the"),
        (b"\0\0\x0e\x08" + b"\xff" * 32, "more than the"),
    ],
)
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_damaged_files(tmp_path, content, message, pack):
    path = tmp_path / "data"
    path.write_bytes(pack(content))
    with pytest.raises(ValueError, match=message) as caught:
        read_idx(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        gzip.compress(BY_HAND)[:-9],
        gzip.compress(BY_HAND)[:12],
        gzip.compress(BY_HAND)[:-8] + b"\0" * 8,
        b"\x1f\x8b" + b"\xff" * 20,
    ],
    ids=["cut", "cut early", "wrong checksum", "nonsense"],
)
def test_damaged_gzip(tmp_path, content):
    path = tmp_path / "data.gz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="the gzip file is damaged or cut off"):
        read_idx(path)


def test_false_header_reserves_no_memory(tmp_path):
    import tracemalloc

    path = tmp_path / "data"
    path.write_bytes(b"\0\0\x08\x01" + struct.pack(">I", 1 << 30) + b"only this")
    tracemalloc.start()
    with pytest.raises(ValueError, match="only 9 follow"):
        read_idx(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 << 20


def test_compressed_bomb_is_not_unpacked(tmp_path):
    import tracemalloc

    path = tmp_path / "data.gz"
    path.write_bytes(gzip.compress(BY_HAND + bytes(64 << 20)))
    tracemalloc.start()
    with pytest.raises(ValueError, match="more follow"):
        read_idx(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 << 20


def test_max_bytes(tmp_path):
    path = tmp_path / "data"
    path.write_bytes(BY_HAND)
    assert read_idx(path, max_bytes=6).size == 6
    with pytest.raises(ValueError, match="6 bytes, more than the 5 allowed"):
        read_idx(path, max_bytes=5)


def test_write_refuses_what_the_format_has_not(tmp_path):
    with pytest.raises(TypeError, match="dtype must be one of .*; got int64"):
        write_idx(tmp_path / "data", np.arange(3))
