"""Winograd's convolution against direct sums in float64."""

import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from tests.compiled import needs_compiled_kernels
from tests.kernels.arrays import error
from xpcnn.kernels.cpu import winograd
from xpcnn.kernels.cpu.epilogue import NOTHING, RELU
from xpcnn.kernels.cpu.layout import Image

needs_compiled_kernels()

LIMIT = 1e-5


@pytest.fixture(autouse=True, params=["apart", "together"])
def way(request, monkeypatch):
    """Transform, multiply and transform back one after the other, or for a few tiles at a time."""
    monkeypatch.setattr(winograd, "FEW_CHANNELS", 1024 if request.param == "together" else 0)
    monkeypatch.setattr(winograd, "MANY", 0)
    return request.param


def padded(x, padding):
    """Return x (N, H, W, C) in float64 with zeros around it."""
    return np.pad(x.astype(float), ((0, 0), *padding, (0, 0)))


def reference(x, w, padding):
    """Convolve x (N, H, W, C), tap by tap."""
    x = padded(x, padding)
    h, wd = x.shape[1] - 2, x.shape[2] - 2
    taps = [(i, j) for i in range(3) for j in range(3)]
    return sum(x[:, i : i + h, j : j + wd] @ w[:, :, i, j].astype(float).T for i, j in taps)


def reference_gradients(x, w, dy, padding):
    """Return the gradients of x and w, tap by tap."""
    x, dy = padded(x, padding), dy.astype(float)
    h, wd = dy.shape[1:3]
    dx, dw = np.zeros(x.shape), np.zeros(w.shape)
    for i in range(3):
        for j in range(3):
            seen = (slice(None), slice(i, i + h), slice(j, j + wd))
            dx[seen] += dy @ w[:, :, i, j].astype(float)
            dw[:, :, i, j] = np.einsum("nhwo,nhwc->oc", dy, x[seen])
    (top, bottom), (left, right) = padding
    return dx[:, top : x.shape[1] - bottom, left : x.shape[2] - right], dw


def as_image(x, gap=0, around=np.nan):
    """Lay x (N, H, W, C) out with `gap` numbers between pixels, and no room at the end."""
    n, h, w, c = x.shape
    full = np.full((n, h, w, c + gap), around, np.float32)
    full[..., :c] = x
    flat = full.reshape(-1)[: full.size - gap]
    return Image(flat, h * w * (c + gap), w * (c + gap), c + gap)


class Output:
    """Room for (N, H, W, C) between numbers that must stay."""

    def __init__(self, shape, gap=0):
        n, h, w, c = shape
        self.shape, self.pixel = shape, c + gap
        self.memory = np.full(n * h * w * self.pixel + 64, 7.5, np.float32)
        self.flat = self.memory[32:-32]
        self.strides = (h * w * self.pixel, w * self.pixel, self.pixel)

    def get(self):
        pixels = self.flat.reshape(*self.shape[:3], self.pixel)
        between = pixels[..., self.shape[3] :]
        assert (self.memory[:32] == 7.5).all()
        assert (self.memory[-32:] == 7.5).all()
        assert (between == 7.5).all()
        return pixels[..., : self.shape[3]].copy()


def draw(seed, n=None, spatial=None, channels=None, filters=None, padding=None):
    """Draw what is not given: x (N, H, W, C), w, b, dy and padding."""
    rng = np.random.default_rng(seed)
    n = n or int(rng.integers(1, 5))
    spatial = spatial or tuple(int(v) for v in rng.integers(3, 20, 2))
    channels, filters = channels or int(rng.integers(8, 100)), filters or int(rng.integers(8, 100))
    pads = rng.integers(0, 4, (2, 2))
    padding = padding or tuple((int(a), int(b)) for a, b in pads)
    x = rng.standard_normal((n, *spatial, channels)).astype("float32")
    w = rng.standard_normal((filters, channels, 3, 3)).astype("float32")
    b = rng.standard_normal(filters).astype("float32")
    out = tuple(s + sum(p) - 2 for s, p in zip(spatial, padding, strict=True))
    dy = rng.standard_normal((n, *out, filters)).astype("float32")
    return x, w, b, dy, padding


def forward(x, w, b, padding, relu=False, gap=0):
    n, h, wd, _ = x.shape
    out = (h + sum(padding[0]) - 2, wd + sum(padding[1]) - 2)
    y = Output((n, *out, w.shape[0]), gap)
    before = (padding[0][0], padding[1][0])
    epilogue = RELU if relu else NOTHING
    winograd.forward(as_image(x, gap), n, (h, wd), before, w, b, epilogue, y.flat, y.strides, out)
    return y.get()


def input_gradient(x, w, dy, padding, gap=0):
    n, h, wd, _ = x.shape
    dx = Output(x.shape, gap)
    before = (2 - padding[0][0], 2 - padding[1][0])
    winograd.input_gradient(
        as_image(dy, gap), n, dy.shape[1:3], before, w, dx.flat, dx.strides, (h, wd)
    )
    return dx.get()


def weight_gradient(x, w, dy, padding, gap=0):
    before = (padding[0][0], padding[1][0])
    return winograd.weight_gradient(
        as_image(x, gap), x.shape[0], x.shape[1:3], before, as_image(dy, gap), dy.shape[1:3],
        *w.shape[:2],
    )  # fmt: skip


def check(x, w, b, dy, padding, gap=0):
    y = reference(x, w, padding)
    assert error(forward(x, w, None, padding, gap=gap), y) < LIMIT
    y += b
    assert error(forward(x, w, b, padding, gap=gap), y) < LIMIT
    assert error(forward(x, w, b, padding, relu=True, gap=gap), np.maximum(y, 0)) < LIMIT
    dx, dw = reference_gradients(x, w, dy, padding)
    assert error(input_gradient(x, w, dy, padding, gap), dx) < LIMIT
    assert error(weight_gradient(x, w, dy, padding, gap), dw) < LIMIT


@pytest.mark.parametrize("seed", range(30))
def test_drawn_configurations_agree_with_direct_sums(seed):
    check(*draw(seed), gap=seed % 3 * 5)


@pytest.mark.parametrize(
    "shape",
    [
        {"n": 1, "spatial": (1, 1), "padding": ((1, 1), (1, 1))},
        {"n": 2, "spatial": (1, 5), "padding": ((2, 0), (0, 1))},
        {"n": 3, "spatial": (3, 3), "padding": ((0, 0), (0, 0))},
        {"n": 1, "spatial": (2, 30), "padding": ((0, 1), (3, 0))},
        {"n": 1, "spatial": (8, 8), "channels": 8, "filters": 8},
        {"n": 2, "spatial": (8, 8), "channels": 64, "filters": 64, "padding": ((1, 1), (1, 1))},
        {"n": 1, "spatial": (9, 7), "channels": 49, "filters": 97, "padding": ((1, 1), (1, 1))},
    ],
    ids=str,
)  # fmt: skip
def test_edges_of_tiles_and_blocks(shape):
    check(*draw(5, **shape))


def test_several_pieces_of_tiles_and_groups_of_filters(monkeypatch):
    arguments = draw(6, 3, (26, 29), 40, 90)
    whole = [
        forward(*arguments[:3], arguments[4]),
        weight_gradient(arguments[0], arguments[1], arguments[3], arguments[4]),
    ]
    monkeypatch.setattr(winograd, "GROUP", 0)
    monkeypatch.setattr(winograd, "_held", lambda tiles, row: 25)
    check(*arguments)
    # Pieces change no output, and the sums over tiles only by rounding.
    assert (forward(*arguments[:3], arguments[4]) == whole[0]).all()
    pieces = weight_gradient(arguments[0], arguments[1], arguments[3], arguments[4])
    assert 0 < error(pieces, whole[1]) < LIMIT


def test_the_image_may_hold_its_padding():
    x, w, b, _, _ = draw(7, 2, (9, 10), 32, 40, ((1, 1), (1, 1)))
    full = padded(x, ((1, 1), (1, 1))).astype("float32")
    expected = forward(x, w, b, ((1, 1), (1, 1)))
    assert (forward(full, w, b, ((0, 0), (0, 0))) == expected).all()


GUARDED = """
import ctypes
import mmap
import sys
sys.path.insert(0, {folder!r})
import numpy as np
import test_cpu_winograd as tests
page = mmap.PAGESIZE
pages = []
def guard(flat):
    # Put numbers at the end of a page, before one that may not be touched.
    size = -(-flat.nbytes // page) * page
    pages.append(mmap.mmap(-1, size + page))
    memory = np.frombuffer(pages[-1], np.float32)
    end = ctypes.c_void_p(memory.ctypes.data + size)
    assert ctypes.CDLL(None).mprotect(end, ctypes.c_size_t(page), 0) == 0
    out = memory[size // 4 - flat.size : size // 4]
    out[:] = flat
    return out
plain = tests.as_image
tests.as_image = lambda *a: plain(*a)._replace(flat=guard(plain(*a).flat))
class Output(tests.Output):
    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.flat = guard(self.flat)
tests.Output = Output
tests.winograd.FEW_CHANNELS, tests.winograd.MANY = 1024 * ({way!r} == "together"), 0
for channels, filters in ((32, 32), (33, 47), (40, 31)):
    for width in (7, 8):
        arguments = tests.draw(13, 2, (8, width), channels, filters, ((1, 1), (1, 1)))
        tests.check(*arguments)
print("untouched")
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mprotect is called as on Linux")
def test_nothing_behind_the_buffers_is_touched(way):
    code = GUARDED.format(folder=os.path.dirname(__file__), way=way)
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stdout == "untouched\n", run.stderr


def test_scratch_is_written_before_it_is_read_and_not_left(monkeypatch):
    taken = []

    def guarded(shape, dtype=np.float32):
        size = int(np.prod(shape))
        taken.append(np.full(size + 128, np.nan, dtype))
        return taken[-1][64:-64].reshape(shape)

    monkeypatch.setattr(winograd.buffers, "empty", guarded)
    monkeypatch.setattr(winograd, "_held", lambda tiles, row: 5)
    for channels, filters in ((33, 100), (100, 33), (64, 16)):
        check(*draw(14, 2, (10, 7), channels, filters))
    assert len(taken) > 30
    for memory in taken:
        assert np.isnan(memory[:64]).all()
        assert np.isnan(memory[-64:]).all()


def test_transposed_weights():
    x, w, b, dy, padding = draw(8, 2, (9, 10), 32, 40)
    turned = np.asfortranarray(w)
    assert (forward(x, turned, b, padding) == forward(x, w, b, padding)).all()
    assert (input_gradient(x, turned, dy, padding) == input_gradient(x, w, dy, padding)).all()


def test_no_images_give_zeros():
    x, w, b, dy, padding = draw(9, 1, (6, 6), 8, 16)
    assert forward(x[:0], w, b, padding).size == 0
    assert input_gradient(x[:0], w, dy[:0], padding).size == 0
    assert (weight_gradient(x[:0], w, dy[:0], padding) == 0).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_spoil_a_tile_and_no_more(value):
    x, w, b, dy, padding = draw(10, 2, (16, 16), 40, 48, ((1, 1), (1, 1)))
    x[1, 6, 7, 3] = value
    with np.errstate(invalid="ignore"):
        bad = ~np.isfinite(forward(x, w, b, padding))
        seen = ~np.isfinite(reference(x, w, padding))
    # The whole tile of rows and columns 4 to 7; of its neighbour, the windows that hold it.
    expected = np.zeros(bad.shape, bool)
    expected[1, 4:8, 4:9] = True
    assert seen[1, 5:8, 6:9].all()
    assert (bad == expected).all()
    if np.isnan(value):
        assert (np.isnan(forward(x, w, b, padding, relu=True)) == expected).all()
    dw = weight_gradient(x, w, dy, padding)
    assert np.isnan(dw[:, 3]).all()
    assert np.isfinite(np.delete(dw, 3, axis=1)).all()


def test_a_nan_in_a_filter_spoils_its_channel_alone():
    x, w, b, dy, padding = draw(11, 1, (8, 8), 40, 48)
    w[5, 7, 1, 1] = np.nan
    y = forward(x, w, b, padding)
    assert np.isnan(y[..., 5]).all()
    assert np.isfinite(np.delete(y, 5, axis=-1)).all()
    dx = input_gradient(x, w, dy, padding)
    assert np.isfinite(np.delete(dx, 7, axis=-1)).all()


def test_what_pays():
    assert winograd.pays(8, 64, 64, (56, 56))
    assert winograd.pays(8, 512, 512, (7, 7))
    assert not winograd.pays(8, 3, 64, (56, 56))
    assert not winograd.pays(1, 512, 512, (2, 2))
    assert not winograd.pays(32, 512, 512, (2, 2))
    assert winograd.pays(32, 512, 512, (2, 2), weights=True)
    assert not winograd.pays(0, 64, 64, (56, 56))


PRINT = """
import hashlib
import sys
sys.path.insert(0, {folder!r})
import xpcnn
from test_cpu_winograd import draw, forward, input_gradient, weight_gradient
xpcnn.set_num_threads({threads})
x, w, b, dy, padding = draw(12, 3, (33, 30), 50, 70)
for result in (forward(x, w, b, padding), input_gradient(x, w, dy, padding),
               weight_gradient(x, w, dy, padding)):
    print(hashlib.sha256(result.tobytes()).hexdigest())
"""


def test_bits_depend_neither_on_the_run_nor_on_the_threads():
    folder = os.path.dirname(__file__)
    environment = {**os.environ, "XPCNN_NUM_THREADS": "3"}
    found = set()
    for threads in (1, 2, 2, 3):
        code = textwrap.dedent(PRINT).format(folder=folder, threads=threads)
        run = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True
        )
        assert run.returncode == 0, run.stderr
        found.add(run.stdout)
    assert len(found) == 1
