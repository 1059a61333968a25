"""Convolution, drawn at random, against PyTorch in float64: outputs and all gradients."""

from __future__ import annotations

from typing import Any

import pytest

import xpcnn
from tests import reference
from tests.pytorch import (
    Pair,
    argument,
    compare_draws,
    draw,
    draw_rank,
    draw_spatial,
    drawn,
    module_of,
    nn,
    torch_pad,
)


def conv(rng, modes=("zeros",)):
    ndim = draw_rank(rng)
    kernel, stride = draw(rng, ndim, 1, 4 if ndim < 3 else 3), draw(rng, ndim, 1, 3)
    dilation = draw(rng, ndim, 1, 3 if ndim == 1 else 2)
    groups = int(rng.choice([1, 1, 2, 3]))
    depthwise = rng.random() < 0.2
    per_in = 1 if depthwise else int(rng.integers(1, 4))
    if depthwise:
        groups = int(rng.integers(2, 5))
    widths = groups * per_in, groups * int(rng.integers(1, 4))
    spatial = draw_spatial(rng, kernel, dilation, ndim, 7)
    mode = str(rng.choice(modes))
    kind = str(rng.choice(["integers", "pairs", "same", "valid"]))
    largest = min(3, *(n - 1 for n in spatial)) if mode == "reflect" else min(3, *spatial)
    if kind == "same":
        sides = tuple(
            reference.same_sides(*a) for a in zip(spatial, kernel, stride, dilation, strict=True)
        )
        if mode != "zeros" and max(max(s) for s in sides) > largest:
            kind, sides = "valid", ((0, 0),) * ndim
        padding: Any = kind
    elif kind == "valid":
        padding, sides = "valid", ((0, 0),) * ndim
    elif kind == "pairs":
        padding = sides = tuple(draw(rng, 2, 0, largest) for _ in range(ndim))
    else:
        values = draw(rng, ndim, 0, largest)
        padding, sides = argument(rng, values), tuple((v, v) for v in values)
    bias = bool(rng.random() < 0.8)
    options = {
        "stride": argument(rng, stride),
        "dilation": argument(rng, dilation),
        "groups": groups,
        "bias": bias,
    }
    names = getattr(xpcnn, f"Conv{ndim}d"), getattr(nn, f"Conv{ndim}d")
    given = widths if rng.random() < 0.7 else (None, widths[1])
    ours = names[0](*given, argument(rng, kernel), padding=padding, padding_mode=mode, **options)
    native = kind in ("integers", "valid") or (kind == "same" and set(stride) == {1})
    if native:
        theirs = names[1](*widths, kernel, padding=padding, padding_mode=mode, **options)
    else:
        # PyTorch has neither sides of their own nor "same" with a stride: pad beforehand
        module = names[1](*widths, kernel, **options)
        how = "constant" if mode == "zeros" else mode
        theirs = module_of(lambda self, x: self.conv(torch_pad(x, sides, how)), conv=module)
    return Pair(ours, theirs, (int(rng.integers(1, 4)), widths[0], *spatial))


def conv_padding_modes(rng):
    return conv(rng, ("reflect", "replicate", "circular"))


FAMILIES = {conv: 8, conv_padding_modes: 3}


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@drawn(FAMILIES)
def test_agrees_with_torch(family, number):
    compare_draws(family, number)
