"""What the tests of the compiled kernels share: distances, memory orders, guarded storage."""

import numpy as np


def error(a, b):
    """Relative distance in the Euclidean norm."""
    assert a.shape == b.shape
    return np.linalg.norm(a - b) / max(np.linalg.norm(b), 1e-30)


def error32(a, b):
    """The same, and `a` is float32."""
    assert a.dtype == np.float32
    return error(a, b)


def lay(x, how):
    """Return x with its memory in another order; `how` is from 0 to 6."""
    if how == 1:
        return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)
    if how == 2:  # channels-last with room between the pixels
        wide = np.full((x.shape[0], *x.shape[2:], x.shape[1] + 5), np.nan, np.float32)
        wide[..., : x.shape[1]] = np.moveaxis(x, 1, -1)
        return np.moveaxis(wide[..., : x.shape[1]], -1, 1)
    if how == 3:
        return np.ascontiguousarray(x[..., ::-1])[..., ::-1]
    if how == 4:
        x = x.copy()
        x.flags.writeable = False
    if how == 5:  # the inner part of larger channels-last images
        sides = [(0, 0), (0, 0)] + [(2, 1)] * (x.ndim - 2)
        inside = (slice(None),) * 2 + (slice(2, -1),) * (x.ndim - 2)
        return lay(np.pad(x, sides, constant_values=np.nan), 1)[inside]
    if how == 6:  # every second image of a larger array
        twice = np.full((2 * x.shape[0], *x.shape[1:]), np.nan, np.float32)
        twice[::2] = x
        return lay(twice, 1)[::2]
    return x


class Guards:
    """Storage in the place of ``buffers.empty``: filled with one byte, between sentinels of it."""

    ROOM = 64

    def __init__(self, filler):
        self.filler = filler
        self.taken = []

    def __call__(self, shape, dtype=np.float32):
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        memory = np.full(size + 2 * self.ROOM, self.filler, np.uint8)
        self.taken.append(memory)
        return memory[self.ROOM : self.ROOM + size].view(dtype).reshape(shape)

    def assert_whole(self, at_least):
        """Check that so many arrays were taken, and no sentinel was written to."""
        assert len(self.taken) >= at_least
        for memory in self.taken:
            assert (memory[: self.ROOM] == self.filler).all()
            assert (memory[-self.ROOM :] == self.filler).all()
