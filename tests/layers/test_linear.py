"""Linear layers, drawn at random, against PyTorch in float64: outputs and all gradients."""

from __future__ import annotations

import xpcnn
from tests.pytorch import Pair, compare_draws, draw, drawn, nn


def linear(rng):
    widths, bias = draw(rng, 2, 1, 7), bool(rng.random() < 0.7)
    given = widths if rng.random() < 0.7 else (None, widths[1])
    shape = (*draw(rng, int(rng.integers(1, 4)), 1, 4), widths[0])
    return Pair(xpcnn.Linear(*given, bias=bias), nn.Linear(*widths, bias=bias), shape)


FAMILIES = {linear: 1}


@drawn(FAMILIES)
def test_agrees_with_torch(family, number):
    compare_draws(family, number)
