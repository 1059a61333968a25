"""Channels that become pixels, and pixels that become channels."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from xpcnn.functional import rearrange
from xpcnn.layers.layer import Shape
from xpcnn.layers.operation import Arrays, Needs, Operation
from xpcnn.layers.shape import rearrange_back


class Blocks(Operation):
    """What exchanges channels and pixels, block by block.

    A subclass says how by `output_shapes` and by `plan`.
    """

    def __init__(self, block_size: int, mode: str = "DCR") -> None:
        self.block_size = int(block_size)
        self.mode = mode

    def plan(self, shape: Shape) -> tuple[Shape, Shape]:
        """Return the shape with the axes cut, and the new order of the pieces."""
        raise NotImplementedError

    def _run(self, xp: ModuleType, inputs: Arrays, training: bool) -> tuple[Arrays, Any]:
        shape = tuple(inputs[0].shape)
        (merged,) = self.output_shapes(shape)
        plan = self.plan(shape)
        return (rearrange(inputs[0], *plan, merged),), (*plan, shape)

    def _run_backward(self, xp: ModuleType, dys: Arrays, saved: Any, need: Needs) -> Arrays:
        return (rearrange_back(dys[0], *saved),)


class DepthToSpace(Blocks):
    """Blocks of channels become blocks of pixels.

    Parameters
    ----------
    block_size : int
        Side of a block.
    mode : {"DCR", "CRD"}
        Whether the position in the block is the first part of a channel's number (ONNX's
        default) or the last (that of PyTorch's PixelShuffle).

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.operations import DepthToSpace
    >>> x = np.array([1.0, 2.0, 3.0, 4.0]).reshape(1, 4, 1, 1)
    >>> DepthToSpace(2)(x).tolist()  # four channels of one pixel become one of 2 x 2
    [[[[1.0, 2.0], [3.0, 4.0]]]]
    """

    def output_shapes(self, *input_shapes: Shape | None) -> tuple[Shape, ...]:
        """Return (N, C / b^2, H b, W b)."""
        shape, b = input_shapes[0] or (), self.block_size
        if len(shape) != 4 or shape[1] % b**2:
            raise ValueError(
                f"{self.who}: expected an input (N, C, H, W) with channels in blocks of {b**2}, "
                f"got shape {shape}"
            )
        n, c, h, w = shape
        return ((n, c // b**2, h * b, w * b),)

    def plan(self, shape: Shape) -> tuple[Shape, Shape]:
        (n, c, h, w), b = shape, self.block_size
        if self.mode == "DCR":
            return (n, b, b, c // b**2, h, w), (0, 3, 4, 1, 5, 2)
        return (n, c // b**2, b, b, h, w), (0, 1, 4, 2, 5, 3)


class SpaceToDepth(Blocks):
    """Blocks of pixels become blocks of channels; the inverse of :class:`DepthToSpace`.

    Parameters
    ----------
    block_size : int
        Side of a block.
    mode : {"DCR", "CRD"}
        Whether the position in the block becomes the first part of a channel's number or the
        last (that of PyTorch's PixelUnshuffle).

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.operations import SpaceToDepth
    >>> SpaceToDepth(2)(np.array([[[[1.0, 2.0], [3.0, 4.0]]]])).tolist()
    [[[[1.0]], [[2.0]], [[3.0]], [[4.0]]]]
    """

    def output_shapes(self, *input_shapes: Shape | None) -> tuple[Shape, ...]:
        """Return (N, C b^2, H / b, W / b)."""
        shape, b = input_shapes[0] or (), self.block_size
        if len(shape) != 4 or shape[2] % b or shape[3] % b:
            raise ValueError(
                f"{self.who}: expected an input (N, C, H, W) with height and width in blocks of "
                f"{b}, got shape {shape}"
            )
        n, c, h, w = shape
        return ((n, c * b**2, h // b, w // b),)

    def plan(self, shape: Shape) -> tuple[Shape, Shape]:
        (n, c, h, w), b = shape, self.block_size
        order = (0, 3, 5, 1, 2, 4) if self.mode == "DCR" else (0, 1, 3, 5, 2, 4)
        return (n, c, h // b, b, w // b, b), order
