"""Data sets: the embedded digits, folders of IDX files, and downloads from a local server."""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from xpcnn.data import datasets, download, load_digits_subset, load_mnist, read_idx, write_idx

NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
REAL = Path(__file__).parents[3] / "shared" / "data" / "mnist"

needs_pooch = pytest.mark.skipif(
    importlib.util.find_spec("pooch") is None, reason="pooch is not installed"
)


def tiny() -> dict[str, np.ndarray]:
    """A data set of three training images and two test images, 2 x 2."""
    return {
        NAMES[0]: np.array([[[0, 255], [51, 102]], [[1, 2], [3, 4]], [[5, 6], [7, 8]]], np.uint8),
        NAMES[1]: np.array([7, 0, 9], np.uint8),
        NAMES[2]: np.array([[[255, 255], [0, 0]], [[9, 9], [9, 9]]], np.uint8),
        NAMES[3]: np.array([1, 2], np.uint8),
    }


def write(folder: Path, suffix: str = "", dotted: bool = False) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in tiny().items():
        write_idx(folder / ((name.replace("-idx", ".idx") if dotted else name) + suffix), array)
    return folder


def check_tiny(loaded) -> None:
    (x_train, y_train), (x_test, y_test) = loaded
    assert x_train.shape == (3, 1, 2, 2)
    assert x_test.shape == (2, 1, 2, 2)
    assert x_train.dtype == x_test.dtype == np.float32
    assert y_train.dtype == y_test.dtype == np.int64
    np.testing.assert_array_equal(x_train[0, 0], np.array([[0, 1], [0.2, 0.4]], np.float32))
    assert y_train.tolist() == [7, 0, 9]
    assert y_test.tolist() == [1, 2]


def test_embedded_digits():
    (x_train, y_train), (x_test, y_test) = load_digits_subset()
    assert x_train.shape == (5000, 1, 28, 28)
    assert x_test.shape == (1000, 1, 28, 28)
    assert x_train.dtype == np.float32
    assert y_train.dtype == np.int64
    assert (x_train.min(), x_train.max()) == (0.0, 1.0)
    # The first labels of MNIST, as the course's notebooks show them.
    assert y_train[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert y_test[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert set(y_train.tolist()) == set(y_test.tolist()) == set(range(10))


def test_embedded_digits_are_fresh_each_time():
    (x, y), _ = load_digits_subset()
    x[:] = 0
    y[:] = 0
    (again, labels), _ = load_digits_subset()
    assert again.max() == 1
    assert labels.max() == 9


@pytest.mark.skipif(not REAL.is_dir(), reason="the MNIST files are not there")
def test_embedded_digits_are_the_first_of_mnist():
    (x_train, y_train), (x_test, y_test) = load_digits_subset()
    for name, part, count in (
        ("train-images-idx3-ubyte.gz", x_train[:, 0], 5000),
        ("t10k-images-idx3-ubyte.gz", x_test[:, 0], 1000),
    ):
        original = gzip.decompress((REAL / name).read_bytes())[16 : 16 + count * 784]
        assert original == np.rint(part * 255).astype(np.uint8).tobytes()
    for name, labels in (
        ("train-labels-idx1-ubyte.gz", y_train),
        ("t10k-labels-idx1-ubyte.gz", y_test),
    ):
        original = gzip.decompress((REAL / name).read_bytes())[8 : 8 + len(labels)]
        assert original == labels.astype(np.uint8).tobytes()


@pytest.mark.skipif(not REAL.is_dir(), reason="the MNIST files are not there")
def test_checksums_are_those_of_mnist():
    for file in datasets.FILES:
        content = gzip.decompress((REAL / f"{file.name}.gz").read_bytes())
        assert hashlib.sha256(content).hexdigest() == file.sha256
        assert len(content) == file.size


@pytest.mark.parametrize(
    ("suffix", "dotted"), [("", False), (".gz", False), ("", True), (".gz", True)]
)
def test_folder(tmp_path, suffix, dotted):
    check_tiny(load_mnist(write(tmp_path, suffix, dotted)))
    check_tiny(load_mnist(str(tmp_path)))


@pytest.mark.parametrize("below", ["", "mnist"])
def test_environment_variable(tmp_path, monkeypatch, below):
    monkeypatch.setenv("XPCNN_DATA", str(tmp_path))
    write(tmp_path / below, ".gz")
    check_tiny(load_mnist())


def test_missing_file_in_a_folder(tmp_path):
    write(tmp_path, ".gz")
    (tmp_path / f"{NAMES[2]}.gz").unlink()
    with pytest.raises(FileNotFoundError, match="t10k-images-idx3-ubyte .* is missing") as caught:
        load_mnist(tmp_path)
    assert str(tmp_path) in str(caught.value)
    with pytest.raises(FileNotFoundError, match="is no folder"):
        load_mnist(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        (NAMES[0], np.zeros((2, 2, 2), np.uint8), "2 images but .* has 3 labels"),
        (NAMES[0], np.zeros(3, np.uint8), "expected images of shape"),
        (NAMES[0], np.zeros((3, 0, 2), np.uint8), "expected images of shape"),
        (NAMES[0], np.zeros((3, 2, 2), np.float32), "expected images .* dtype float32"),
        (NAMES[3], np.zeros((2, 2, 2), np.uint8), "expected labels of shape"),
    ],
)
def test_files_that_do_not_fit(tmp_path, name, array, message):
    write(tmp_path)
    write_idx(tmp_path / name, array)
    with pytest.raises(ValueError, match=message):
        load_mnist(tmp_path)


class Server:
    """An HTTP server on this machine that serves given bytes."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                content = outer.files.get(self.path)
                self.send_response(404 if content is None else 200)
                self.send_header("Content-Length", str(len(content or b"")))
                self.end_headers()
                self.wfile.write(content or b"")

            def log_message(self, *args: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/"
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.01,))
        self.thread.start()

    def serve(self, mirror: str) -> str:
        """Serve the tiny data set below a folder; return the folder's address."""
        for name, content in contents().items():
            self.files[f"/{mirror}/{name}.gz"] = gzip.compress(content)
        return f"{self.url}{mirror}/"

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


def contents() -> dict[str, bytes]:
    return {
        name: bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + bytes(array)
        for name, array in tiny().items()
    }


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """Point the loader at an empty cache, and at the checksums of the tiny data set."""
    monkeypatch.setenv("XPCNN_DATA", str(tmp_path))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    files = [
        download.RemoteFile(name, hashlib.sha256(content).hexdigest(), len(content))
        for name, content in contents().items()
    ]
    monkeypatch.setattr(datasets, "FILES", tuple(files))
    return tmp_path / "mnist"


@needs_pooch
def test_download_once(server, cache, monkeypatch):
    monkeypatch.setattr(datasets, "MIRRORS", (server.serve("a"), server.serve("b")))
    check_tiny(load_mnist())
    assert server.asked == [f"/a/{name}.gz" for name in NAMES]
    assert sorted(path.name for path in cache.iterdir()) == sorted(f"{n}.gz" for n in NAMES)
    check_tiny(load_mnist())
    assert len(server.asked) == 4


@needs_pooch
@pytest.mark.parametrize("bad", ["missing", "not gzip", "other content", "cut", "longer"])
def test_next_mirror_if_one_is_bad(server, cache, monkeypatch, bad):
    mirrors = (server.serve("a"), server.serve("b"))
    monkeypatch.setattr(datasets, "MIRRORS", mirrors)
    path = f"/a/{NAMES[2]}.gz"
    right = contents()[NAMES[2]]
    if bad == "missing":
        del server.files[path]
    else:
        server.files[path] = {
            "not gzip": b"not gzip",
            "other content": gzip.compress(right[:-1] + b"?"),
            "cut": gzip.compress(right)[:-10],
            "longer": gzip.compress(right + b"more"),
        }[bad]
    check_tiny(load_mnist())
    assert f"/b/{NAMES[2]}.gz" in server.asked
    assert read_idx(cache / f"{NAMES[2]}.gz").tolist() == tiny()[NAMES[2]].tolist()


@needs_pooch
def test_no_mirror_left(server, cache, monkeypatch):
    first = server.serve("a")
    server.files[f"/a/{NAMES[0]}.gz"] = gzip.compress(b"changed")
    monkeypatch.setattr(datasets, "MIRRORS", (first, f"{server.url}empty/"))
    with pytest.raises(FileNotFoundError) as caught:
        load_mnist()
    message = str(caught.value)
    assert "the content differs from the original (SHA-256 expected" in message
    assert "404" in message
    assert f"put it at {cache / NAMES[0]}.gz" in message
    assert "XPCNN_DATA" in message
    assert list(cache.iterdir()) == []  # nothing half-done stays behind


@needs_pooch
def test_nobody_listens(cache, monkeypatch):
    with socket.socket() as taken:  # bound, so nobody else gets the port, but not listening
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        monkeypatch.setattr(datasets, "MIRRORS", (f"http://127.0.0.1:{port}/",))
        check_unreachable()


def check_unreachable() -> None:
    with pytest.raises(FileNotFoundError, match="could not download train-images-idx3-ubyte.gz"):
        load_mnist()


@needs_pooch
def test_cache_cannot_be_written(cache, monkeypatch):
    cache.write_text("a file where the folder should be")
    with pytest.raises(FileNotFoundError, match="could not download"):
        load_mnist()


def test_without_pooch(cache, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match=r'needs pooch; run: pip install "xpcnn\[data\]"'):
        load_mnist()


def test_the_real_mirrors_are_several():
    hosts = {mirror.split("/")[2] for mirror in datasets.MIRRORS}
    assert len(hosts) >= 2
    assert all(mirror.endswith("/") for mirror in datasets.MIRRORS)


def test_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("XPCNN_DATA", "~/somewhere")
    assert download.cache_folder() == Path.home() / "somewhere"
    monkeypatch.setenv("XPCNN_DATA", "")
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert download.cache_folder() == tmp_path / "xpcnn"
