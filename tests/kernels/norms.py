"""What the tests of batch normalisation draw."""

import numpy as np

from xpcnn.kernels.cpu import norm

LARGE = 1000
"""Draws more numbers than a cache holds, which are summed in another order of memory."""


def draw(seed):
    """Return a generator, an input of some shape, and perhaps weights and fixed statistics."""
    rng = np.random.default_rng(seed)
    channels = (1, 3, 8, 16, 30, 64, 7, 17, 100)[seed % 9]
    spatial = [(), (13,), (6, 5), (9, 11), (2, 3, 4)][seed % 5]
    count = int(rng.integers(2, 40))
    if seed == LARGE:
        count, channels, spatial = 9, 64, (61, 61)
        assert count * channels * 61 * 61 > norm.FROM_MEMORY
    x = rng.standard_normal((count, channels, *spatial)) * 3 + 2
    gamma, beta = rng.standard_normal((2, channels)).astype("float32")
    if seed % 4 == 3:
        gamma = beta = None
    statistics = None
    if seed % 3 == 2:
        statistics = (
            rng.standard_normal(channels).astype("float32"),
            rng.random(channels, dtype="float32") + 0.1,
        )
    return rng, x.astype("float32"), gamma, beta, statistics
