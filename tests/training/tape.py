"""Operations of PyTorch, noted and repeated: what a device that captures would do."""

from __future__ import annotations

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class Tape(TorchDispatchMode):
    """Notes operations while it is entered."""

    def __init__(self):
        super().__init__()
        self.noted, self.made, self.overwritten = [], set(), []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        # Of an array on the host a graph would keep the address, and not the numbers. (Single
        # numbers become arrays in PyTorch, and stay numbers in CuPy.)
        copied = "lift_fresh" in str(function) and args[0].ndim > 0
        assert not copied, "numbers are copied from the host"
        if function._schema.is_mutable:
            old = [a for a in each(args[:1]) if place(a) not in self.made]
            self.overwritten += [(a, a.clone()) for a in old]
        result = function(*args, **(kwargs or {}))
        self.noted.append((function, args, kwargs or {}, result))
        given = {place(a) for a in each(args)}
        self.made |= {place(a) for a in each(result)} - given
        return result

    def undo(self):
        """Take back what was written to memory from before: a capture computes nothing."""
        for array, before in reversed(self.overwritten):
            array.copy_(before)

    def repeat(self):
        for function, args, kwargs, result in self.noted:
            for old, new in zip(each(result), each(function(*args, **kwargs)), strict=True):
                if place(old) != place(new):  # else it is a view, or was written in place
                    old.copy_(new)


def each(arrays):
    """List the tensors in what ATen takes or returns."""
    if isinstance(arrays, (tuple, list)):
        return [b for a in arrays for b in each(a)]
    return [arrays] if isinstance(arrays, torch.Tensor) else []


def place(array):
    return array.untyped_storage().data_ptr()
