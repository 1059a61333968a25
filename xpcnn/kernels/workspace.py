"""How much scratch memory a kernel may use, and the batch chunks that follow from it.

Also how much memory kernels may keep to use it again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType

from xpcnn import _xp
from xpcnn._xp import Array

_limit = 64 * 2**20
_most_idle: int | None = None
CACHE_SIZED = 2 * 2**20
"""Bytes of a piece in host memory, where columns had better stay in a cache."""


def set_workspace_limit(n_bytes: int) -> None:
    """Set the most scratch memory, in bytes, that one operation may use (default 64 MiB).

    One sample's columns are the least a convolution can work with, so a limit below that is
    exceeded rather than refused.

    Raises
    ------
    ValueError
        If `n_bytes` is not positive.

    Examples
    --------
    >>> import xpcnn
    >>> before = xpcnn.get_workspace_limit()
    >>> xpcnn.set_workspace_limit(16 * 2**20)  # 16 MiB
    >>> xpcnn.get_workspace_limit()
    16777216
    >>> xpcnn.set_workspace_limit(before)
    """
    global _limit
    if n_bytes <= 0:
        raise ValueError(f"the workspace limit must be positive, got {n_bytes}")
    _limit = int(n_bytes)


def get_workspace_limit() -> int:
    """Return the most scratch memory, in bytes, that one operation may use.

    Examples
    --------
    >>> import xpcnn
    >>> xpcnn.get_workspace_limit() // 2**20  # in MiB
    64
    """
    return _limit


@contextmanager
def limited(workspace: int, idle: int) -> Iterator[None]:
    """Limit memory, for the whole process, while what is in the ``with`` runs.

    Parameters
    ----------
    workspace : int
        As for :func:`set_workspace_limit`.
    idle : int
        The most bytes that kernels keep to use them again, when they take more.
    """
    global _most_idle
    before = _limit, _most_idle
    set_workspace_limit(workspace)
    _most_idle = idle
    try:
        yield
    finally:
        set_workspace_limit(before[0])
        _most_idle = before[1]


def idle_limit() -> int | None:
    """Return how many bytes kernels may keep that nobody uses; ``None`` is any number."""
    return _most_idle


def joined(xp: ModuleType, pieces: Sequence[Array], axis: int) -> Array:
    """Put pieces together along an axis; a single one is not copied."""
    return pieces[0] if len(pieces) == 1 else xp.concat(pieces, axis=axis)


def batch_chunks(x: Array, bytes_per_sample: int) -> list[slice]:
    """Cut the batch axis so that the scratch memory of one piece stays under the limit.

    In host memory the pieces are smaller still, about the size of a cache: columns that are read
    back from a cache cost a fraction of columns that went out to memory.
    """
    budget = min(_limit, CACHE_SIZED) if _xp.on_host(x) else _limit
    step = max(1, budget // max(1, bytes_per_sample))
    n = x.shape[0]
    pieces = max(1, -(-n // step))
    step = max(1, -(-n // pieces))
    if step == n:
        return [slice(0, n)]
    return [slice(start, min(start + step, n)) for start in range(0, n, step)]
