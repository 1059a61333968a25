"""The array libraries, one record each: all that is not in the Array API standard.

A library that is not in the table works too, by what :class:`Backend` does for any; it only has no
device to ask for.
"""

from __future__ import annotations

from types import ModuleType

from xpcnn.backends.base import OR_CPU, OTHER_DTYPES, Backend
from xpcnn.backends.cupy import CuPy
from xpcnn.backends.jax import JAX
from xpcnn.backends.numpy import NumPy
from xpcnn.backends.strict import Strict
from xpcnn.backends.torch import PyTorch

__all__ = ["BACKENDS", "OR_CPU", "OTHER_DTYPES", "Backend", "backend_of", "library_of"]

BACKENDS: dict[str, Backend] = {
    "cpu": NumPy("numpy"),
    "cuda": CuPy("cupy"),
    "torch": PyTorch("torch"),
    "jax": JAX("jax"),
    "strict": Strict("array_api_strict"),
}
"""By what the spelling of a device begins with."""


def library_of(xp: ModuleType) -> str:
    """Return the name of the package behind a namespace: "jax" for ``jax.numpy``."""
    return xp.__name__.removeprefix("array_api_compat.").partition(".")[0]


def backend_of(xp: ModuleType) -> Backend:
    """Return the record of the library behind a namespace."""
    library = library_of(xp)
    for backend in BACKENDS.values():
        if backend.library == library:
            return backend
    return Backend(library)
