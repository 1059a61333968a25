"""Channels that become pixels, and pixels that become channels."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

from xpcnn.layers.layer import Shape
from xpcnn.layers.operation import Arrays, Needs, Operation


class DepthToSpace(Operation):
    """Blocks of channels become blocks of pixels.

    Parameters
    ----------
    block_size : int
        Side of a block.
    mode : {"DCR", "CRD"}
        Whether the position in the block is the first part of a channel's number (ONNX's
        default) or the last (that of PyTorch's PixelShuffle).
    """

    def __init__(self, block_size: int, mode: str = "DCR") -> None:
        self.block_size = int(block_size)
        self.mode = mode

    def output_shapes(self, *input_shapes: Shape | None) -> tuple[Shape, ...]:
        """Return (N, C / b^2, H b, W b)."""
        n, c, h, w = self._check(input_shapes[0] or ())
        b = self.block_size
        return ((n, c // (b * b), h * b, w * b),)

    def _check(self, shape: Shape) -> Shape:
        if len(shape) != 4 or shape[1] % self.block_size**2:
            raise ValueError(
                f"{self.who}: expected an input (N, C, H, W) with channels in blocks of "
                f"{self.block_size**2}, got shape {shape}"
            )
        return shape

    def _run(self, xp: ModuleType, inputs: Arrays, training: bool) -> tuple[Arrays, Any]:
        n, c, h, w = self._check(tuple(inputs[0].shape))
        b = self.block_size
        if self.mode == "DCR":
            apart, order = (n, b, b, c // (b * b), h, w), (0, 3, 4, 1, 5, 2)
        else:
            apart, order = (n, c // (b * b), b, b, h, w), (0, 1, 4, 2, 5, 3)
        y = xp.permute_dims(xp.reshape(inputs[0], apart), order)
        y = xp.reshape(y, (n, c // (b * b), h * b, w * b))
        return (y,), (apart, order, (n, c, h, w))

    def _run_backward(self, xp: ModuleType, dys: Arrays, saved: Any, need: Needs) -> Arrays:
        apart, order, shape = saved
        dx = xp.reshape(dys[0], tuple(apart[a] for a in order))
        dx = xp.permute_dims(dx, tuple(int(a) for a in np.argsort(order)))
        return (xp.reshape(dx, shape),)


class SpaceToDepth(Operation):
    """Blocks of pixels become blocks of channels; the inverse of :class:`DepthToSpace`.

    Parameters
    ----------
    block_size : int
        Side of a block.
    mode : {"DCR", "CRD"}
        Whether the position in the block becomes the first part of a channel's number or the
        last (that of PyTorch's PixelUnshuffle).
    """

    def __init__(self, block_size: int, mode: str = "DCR") -> None:
        self.block_size = int(block_size)
        self.mode = mode

    def output_shapes(self, *input_shapes: Shape | None) -> tuple[Shape, ...]:
        """Return (N, C b^2, H / b, W / b)."""
        n, c, h, w = self._check(input_shapes[0] or ())
        b = self.block_size
        return ((n, c * b * b, h // b, w // b),)

    def _check(self, shape: Shape) -> Shape:
        if len(shape) != 4 or shape[2] % self.block_size or shape[3] % self.block_size:
            raise ValueError(
                f"{self.who}: expected an input (N, C, H, W) with height and width in blocks of "
                f"{self.block_size}, got shape {shape}"
            )
        return shape

    def _run(self, xp: ModuleType, inputs: Arrays, training: bool) -> tuple[Arrays, Any]:
        n, c, h, w = self._check(tuple(inputs[0].shape))
        b = self.block_size
        apart = (n, c, h // b, b, w // b, b)
        order = (0, 3, 5, 1, 2, 4) if self.mode == "DCR" else (0, 1, 3, 5, 2, 4)
        y = xp.permute_dims(xp.reshape(inputs[0], apart), order)
        y = xp.reshape(y, (n, c * b * b, h // b, w // b))
        return (y,), (apart, order, (n, c, h, w))

    _run_backward = DepthToSpace._run_backward
