"""Operations that give numbers of a dtype they name."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from xpcnn import _xp
from xpcnn.layers.operation import Operation


class OfDtype(Operation):
    """The base of operations with a `dtype`, which is that of the network if they `follow` it."""

    dtype: str | None
    follows: bool
    _half: str | None = None  # what the network computes in, with mixed precision

    def follow(self, dtype: str) -> None:
        """Take over the dtype of the network."""
        if self.follows:
            self.dtype = dtype

    def compute_in(self, dtype: str | None) -> None:
        """Take over what the network computes in."""
        super().compute_in(dtype)
        self._half = dtype if self.follows else None

    def _dtype(self, xp: ModuleType) -> Any:
        """Return the dtype as the library knows it."""
        name = self._half or self.dtype
        found = getattr(xp, name, None) if name else None
        if found is None:
            raise TypeError(f"{self.who}: {_xp.library(xp)} has no dtype {name!r}")
        return found
