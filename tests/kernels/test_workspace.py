"""The workspace limit cuts the batch into pieces, and nothing else."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest

import xpcnn
from xpcnn.kernels.workspace import batch_chunks


@pytest.fixture(autouse=True)
def _limit_restored() -> Iterator[None]:
    limit = xpcnn.get_workspace_limit()
    yield
    xpcnn.set_workspace_limit(limit)


def test_default_and_errors():
    assert xpcnn.get_workspace_limit() == 64 * 2**20
    xpcnn.set_workspace_limit(1000)
    assert xpcnn.get_workspace_limit() == 1000
    for wrong in (0, -5):
        with pytest.raises(ValueError, match=f"must be positive, got {wrong}"):
            xpcnn.set_workspace_limit(wrong)
    assert xpcnn.get_workspace_limit() == 1000


@pytest.mark.parametrize("n", [1, 2, 7, 64])
@pytest.mark.parametrize("bytes_per_sample", [0, 1, 300, 10**9])
def test_chunks_cover_the_batch_under_the_limit(device, n, bytes_per_sample):
    xpcnn.set_workspace_limit(1000)
    x = device.zeros((n, 1), "float32")
    chunks = list(batch_chunks(x, bytes_per_sample))
    covered = [i for chunk in chunks for i in range(chunk.start, chunk.stop)]
    assert covered == list(range(n))
    longest = max(chunk.stop - chunk.start for chunk in chunks)
    assert longest == 1 or longest * bytes_per_sample <= 1000


LAYERS = {
    "conv": (lambda: xpcnn.Conv2d(4, 6, 3, padding=1, groups=2), (5, 4, 8, 8)),
    "strided": (lambda: xpcnn.Conv1d(3, 4, 3, stride=2, dilation=2, padding="same"), (7, 3, 19)),
    "reflect": (lambda: xpcnn.Conv2d(2, 3, 3, padding=1, padding_mode="reflect"), (5, 2, 6, 6)),
    "max": (lambda: xpcnn.MaxPool2d(3, 2, 1), (5, 2, 8, 8)),
    "avg": (lambda: xpcnn.AvgPool2d(2), (5, 2, 8, 8)),
}


@pytest.mark.parametrize("limit", [1, 5000])
@pytest.mark.parametrize("name", LAYERS)
def test_results_do_not_depend_on_the_limit(rng, name, limit):
    make, shape = LAYERS[name]
    layer = make()
    layer.build(shape, dtype="float64", rng=rng)
    x = rng.normal(size=shape)
    results = []
    for size in (None, limit):
        if size is not None:
            xpcnn.set_workspace_limit(size)
        layer.zero_grad()
        y = layer.forward(x, training=True)
        dx = layer.backward(np.cos(np.arange(y.size)).reshape(y.shape))
        results.append([y, dx, *(p.grad for p in layer.parameters().values())])
    for whole, pieces in zip(*results, strict=True):
        np.testing.assert_allclose(pieces, whole, rtol=1e-12, atol=1e-12)


def test_columns_of_the_whole_batch_are_never_there():
    # 49 taps: all columns at once would be 40 MB, for an input and an output of 0.8 MB each
    layer = xpcnn.Conv2d(4, 4, 7, padding=3)
    x = np.ones((50, 4, 32, 32), dtype="float32")
    layer.build(x.shape)
    xpcnn.set_workspace_limit(2**20)
    tracemalloc.start()
    try:
        y = layer.forward(x, training=True)
        layer.backward(y)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 * 2**20
