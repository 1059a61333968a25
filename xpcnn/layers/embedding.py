"""Tables of vectors that are looked up by number."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np

from xpcnn._xp import Array
from xpcnn.initializers import normal
from xpcnn.layers.layer import Layer, Shape
from xpcnn.layers.parameter import Parameter
from xpcnn.ops.embedding import EMBEDDING, host_indices
from xpcnn.window import as_int


class Embedding(Layer):
    """A learned vector for each index, which may stand for a word, a class or a station.

    Parameters
    ----------
    num_embeddings : int
        How many things there are; they are numbered from 0.
    embedding_dim : int
        Length of a vector.
    padding_idx : int, optional
        The vector of this number starts as zeros and gets no gradient. Negative numbers count from
        the end.
    max_norm, norm_type, scale_grad_by_freq, sparse
        Present for PyTorch's order of arguments; they must be left at their defaults.

    Attributes
    ----------
    weight : Parameter of shape (num_embeddings, embedding_dim)

    Raises
    ------
    ValueError
        If an input has a number below 0 or from `num_embeddings` on.
    TypeError
        If an input does not hold integers.

    Notes
    -----
    Input (...) of integers, output (..., embedding_dim). There is no gradient of the input:
    ``backward`` returns ``None``.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> xpcnn.Embedding(1000, 16)(np.array([[5, 7, 5]])).shape
    (1, 3, 16)
    """

    takes_integers = True
    computes_with_operands = True

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
    ) -> None:
        self.num_embeddings = as_int(num_embeddings, "Embedding", "num_embeddings", 1)
        self.embedding_dim = as_int(embedding_dim, "Embedding", "embedding_dim", 1)
        self.padding_idx = self._row(padding_idx)
        if max_norm is not None or scale_grad_by_freq or sparse or norm_type != 2.0:
            raise ValueError(
                "Embedding: max_norm, norm_type, scale_grad_by_freq and sparse are not supported; "
                "leave them out"
            )
        self.max_norm, self.norm_type = None, 2.0
        self.scale_grad_by_freq = self.sparse = False
        self.weight = Parameter((self.num_embeddings, self.embedding_dim), self._init)

    def _row(self, index: int | None) -> int | None:
        if index is None:
            return None
        n = self.num_embeddings
        row = as_int(index, "Embedding", "padding_idx", -n)
        if row >= n:
            raise ValueError(f"Embedding: padding_idx must be below {n}, got {row}")
        return row % n

    def _init(self, shape: Shape, rng: np.random.Generator) -> np.ndarray:
        values = normal()(shape, rng)
        if self.padding_idx is not None:
            values[self.padding_idx] = 0.0
        return values

    def output_shape(self, input_shape: Sequence[int]) -> Shape:
        """Return (..., embedding_dim) for an input (...)."""
        return (*input_shape, self.embedding_dim)

    def _forward(self, xp: ModuleType, x: Array, training: bool) -> tuple[Array, Any]:
        return EMBEDDING.run(
            xp, self.weight.operand, host_indices(self.weight.operand, x, self.who)
        )

    def _backward(self, xp: ModuleType, dy: Array, saved: Any, need_dx: bool) -> Array | None:
        self.weight.accumulate(saved(dy, self.padding_idx))
        return None
