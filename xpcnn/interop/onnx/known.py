"""What is known of the values in an ONNX graph before the network runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np

from xpcnn.interop.onnx.node import OnnxNode, numpy_dtype


class KnownValues:
    """Arrays, ranks, shapes and dtypes of the values of a graph, by name.

    Attributes
    ----------
    dtype : str
        What the network computes in.
    constants : dict of str to array
        Values that do not depend on the inputs, and are not trained.
    initializers : dict of str to array
        Values that the file brings along; those of floats may be trained.
    weights_in_nodes : set of str
        Values of Constant nodes that are as good as initializers.
    ranks : dict of str to int
        Numbers of axes, where they are known.
    shapes : dict of str to tuple
        Shapes of values that the file tells, with ``None`` for open lengths.
    dtypes : dict of str to str
        Types of values that hold something else than floats, where they are known.
    """

    def __init__(
        self, initializers: Mapping[str, np.ndarray], uses: Counter[str], dtype: str
    ) -> None:
        self.dtype = dtype
        # a network of float32 with weights of half precision computes in float32
        self._widens = dtype == "float32" and any(
            array.dtype == np.float16 for array in initializers.values()
        )
        self.initializers = {name: self.widen(array) for name, array in initializers.items()}
        self.weights_in_nodes: set[str] = set()
        self.constants: dict[str, np.ndarray] = {}
        self.ranks: dict[str, int] = {}
        self.shapes: dict[str, tuple[int | None, ...]] = {}
        self.dtypes: dict[str, str] = {}
        self._uses = uses
        self._aliases: dict[str, str] = {}

    def alias(self, name: str, of: str) -> None:
        """Note that a value is another one under a second name."""
        self._aliases[name] = self.resolve(of)

    def resolve(self, name: str) -> str:
        """Return the name under which a value is made."""
        return self._aliases.get(name, name)

    def widen(self, array: np.ndarray) -> np.ndarray:
        """Return an array of the file in the dtype that it has here."""
        is_half = self._widens and array.dtype == np.float16
        return array.astype(np.float32) if is_half else array

    def numpy_dtype(self, number: int | None) -> str:
        """Return the dtype that a value of this type has here."""
        name = numpy_dtype(number)
        return "float32" if self._widens and name == "float16" else name

    def rank(self, name: str) -> int | None:
        """Return the number of axes of a value, if it is known."""
        name = self.resolve(name)
        array = self.array(name)
        return array.ndim if array is not None else self.ranks.get(name)

    def dtype_of(self, name: str) -> str | None:
        """Return the dtype of a value where it is known, and is not that of the network."""
        name = self.resolve(name)
        array = self.array(name)
        return array.dtype.name if array is not None else self.dtypes.get(name)

    def array(self, name: str) -> np.ndarray | None:
        """Return what a value holds if that does not depend on the inputs of the network."""
        name = self.resolve(name)
        found = self.constants.get(name)
        return self.initializers.get(name) if found is None else found

    def ints(self, name: str) -> tuple[int, ...] | None:
        """Return the whole numbers in a value that does not depend on the inputs."""
        array = self.array(name) if name else None
        return None if array is None else tuple(int(n) for n in array.reshape(-1))

    def weight(self, name: str, *, shared: bool = False) -> np.ndarray | None:
        """Return an array that a layer may take over as its weight.

        One that several nodes use is no such array unless `shared`: each layer would go on to
        train its own.
        """
        original = self.resolve(name)
        if original in self.initializers and self._uses[name] > 1 and not shared:
            return None
        return self.array(original)

    def weight_and_bias(
        self, node: OnnxNode, *, shared: bool = False
    ) -> dict[str, np.ndarray] | None:
        """Return the second and third input of a node as the state of a layer, if they are known.

        A bias may belong to several nodes: files have equal ones once.
        """
        weight = self.weight(node.input(1), shared=shared)
        if weight is None or not node.input(2):
            return None if weight is None else {"weight": weight}
        bias = self.weight(node.input(2), shared=True)
        return None if bias is None else {"weight": weight, "bias": bias}

    def changes_nothing(self, scale: str, shift: str) -> bool:
        """Whether a file scales by ones and shifts by zeros that are constants, not weights."""
        names = [self.resolve(name) for name in (scale, shift) if name]
        arrays = [self.constants.get(name) for name in names]
        if any(name in self.initializers for name in names) or any(a is None for a in arrays):
            return False
        return all(bool(np.all(a == number)) for a, number in zip(arrays, (1, 0), strict=False))
