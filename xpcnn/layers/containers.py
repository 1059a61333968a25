"""Layers made of layers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any, Self

from xpcnn._xp import Array
from xpcnn.errors import choice_error
from xpcnn.layers.layer import Layer, Shape
from xpcnn.layers.parameter import Tensor

DEEPEST = 100
"""Levels of layers inside layers: each takes several calls within calls, of which Python allows a
thousand."""


def check_layers(layers: Iterable[Any], who: str) -> tuple[Layer, ...]:
    """Return the layers, or say which entry is not one or stands twice."""
    checked: list[Layer] = []
    for position, layer in enumerate(layers):
        if isinstance(layer, type):
            raise TypeError(
                f"{who}: entry {position} is the class {layer.__name__}; write {layer.__name__}()"
            )
        if not isinstance(layer, Layer):
            raise TypeError(f"{who}: entry {position} is not a layer: {layer!r}")
        checked.append(layer)
    _check_depth(checked, who)
    seen: dict[int, int] = {}
    for position, top in enumerate(checked):
        for _, layer in top.layers_within():
            if seen.setdefault(id(layer), position) != position:
                raise ValueError(
                    f"{who}: one {type(layer).__name__} instance stands at two places "
                    f"({seen[id(layer)]} and {position}); make a new layer for each place, or "
                    "give it to several nodes of one Graph, which then share its weights"
                )
    return tuple(checked)


def _check_depth(layers: Sequence[Layer], who: str) -> None:
    level, depth = layers, 0
    while level:
        depth += 1
        if depth > DEEPEST:
            raise ValueError(
                f"{who}: layers are nested more than {DEEPEST} deep, which is more than can be "
                "run; put them side by side, as in Sequential(layer1, layer2, ...)"
            )
        level = [child for layer in level for child in layer.children().values()]


class Sequential(Layer):
    """Layers run one after the other.

    Parameters
    ----------
    *layers : Layer
        Or one list of them.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> net = xpcnn.Sequential(xpcnn.Linear(4, 8), xpcnn.ReLU(), xpcnn.Linear(8, 2))
    >>> net(np.zeros((1, 4), dtype="float32")).shape
    (1, 2)
    """

    def __init__(self, *layers: Layer | Iterable[Layer]) -> None:
        if len(layers) == 1 and not isinstance(layers[0], (Layer, type)):
            layers = tuple(layers[0])
        self.layers = check_layers(layers, type(self).__name__)

    @property
    def takes_integers(self) -> bool:  # type: ignore[override]
        """Whether the first layer takes indices."""
        return bool(self.layers) and self.layers[0].takes_integers

    def children(self) -> dict[str, Layer]:
        """Return the layers by their position, as PyTorch names them."""
        return {str(i): layer for i, layer in enumerate(self.layers)}

    def replace_child(self, name: str, layer: Layer) -> None:
        """Put another layer in the place of one."""
        layers = list(self.layers)
        layers[int(name)] = layer
        self.layers = check_layers(layers, type(self).__name__)

    def _own_tensors(self) -> Iterator[tuple[str, Tensor]]:
        return iter(())

    def arguments(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {"layers": self.layers}

    @classmethod
    def from_arguments(cls, arguments: Mapping[str, Any]) -> Self:
        """Make a layer from what :meth:`arguments` returned."""
        return cls(*arguments["layers"])

    def input_dtypes(self, dtype: str) -> tuple[str, ...]:
        """Return what the first layer takes."""
        return self.layers[0].input_dtypes(dtype) if self.layers else (dtype,)

    def output_shape(self, input_shape: Sequence[int]) -> Shape:
        """Return the shape after the last layer."""
        shape = tuple(input_shape)
        for layer in self.layers:
            shape = layer.output_shape(shape)
        return shape

    def multiply_adds(self, input_shape: Sequence[int]) -> int:
        """Return the sum over the layers."""
        total, shape = 0, tuple(input_shape)
        for layer in self.layers:
            total += layer.multiply_adds(shape)
            shape = layer.output_shape(shape)
        return total

    def build(self, input_shape: Sequence[int], **options: Any) -> Shape:
        """Build the layers one after the other."""
        shape = tuple(input_shape)
        for layer in self.layers:
            shape = layer.build(shape, **options)
        return shape

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.layers)

    def __getitem__(self, index: int) -> Layer:
        return self.layers[index]

    def _forward(self, xp: ModuleType, x: Array, training: bool) -> tuple[Array, Any]:
        for layer in self.layers:
            x = layer.forward(x, training=training)
        return x, None

    def _backward(self, xp: ModuleType, dy: Array, saved: Any, need_dx: bool) -> Array | None:
        gradient: Array | None = dy
        for position in reversed(range(len(self.layers))):
            gradient = self.layers[position].backward(gradient, need_dx=need_dx or position > 0)
        return gradient

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self.layers))})"


class SideBySide(Layer):
    """Layers that all take the same input."""

    def multiply_adds(self, input_shape: Sequence[int]) -> int:
        """Return the sum over the layers."""
        return sum(layer.multiply_adds(input_shape) for layer in self.children().values())

    def build(self, input_shape: Sequence[int], **options: Any) -> Shape:
        """Build all layers for the same input."""
        for layer in self.children().values():
            layer.build(input_shape, **options)
        return self.output_shape(input_shape)


class Residual(SideBySide):
    """Add a shortcut to what a body computes: ``body(x) + shortcut(x)`` (He et al., 2015).

    Parameters
    ----------
    body : Layer
    shortcut : Layer, optional
        Brings x to the shape of the body's output; x itself is added if left out.

    Raises
    ------
    ValueError
        If the two outputs differ in shape.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> layer = xpcnn.Residual(xpcnn.ReLU())
    >>> layer(np.array([[-1.0, 2.0]])).tolist()  # ReLU(x) + x
    [[-1.0, 4.0]]
    """

    def __init__(self, body: Layer, shortcut: Layer | None = None) -> None:
        check_layers([body] if shortcut is None else [body, shortcut], "Residual")
        self.body = body
        self.shortcut = shortcut

    def output_shape(self, input_shape: Sequence[int]) -> Shape:
        """Return the shape of the sum."""
        through = self.body.output_shape(input_shape)
        past = tuple(input_shape)
        if self.shortcut is not None:
            past = self.shortcut.output_shape(input_shape)
        self.check_join(through, past)
        return through

    def check_join(self, through: Shape, past: Shape) -> None:
        """Raise unless what the body gives and what the shortcut gives have one shape."""
        if tuple(through) != tuple(past):
            raise ValueError(
                f"{self.who}: the body gives shape {tuple(through)} but the shortcut "
                f"{tuple(past)}; give a shortcut that fits, e.g. Conv2d with kernel_size=1 and "
                "the stride of the body"
            )

    def _forward(self, xp: ModuleType, x: Array, training: bool) -> tuple[Array, Any]:
        through = self.body.forward(x, training=training)
        past = x if self.shortcut is None else self.shortcut.forward(x, training=training)
        if through.shape != past.shape:
            self.output_shape(x.shape)
        return through + past, None

    def _backward(self, xp: ModuleType, dy: Array, saved: Any, need_dx: bool) -> Array | None:
        dx: Any = self.body.backward(dy, need_dx=need_dx)
        past: Any = dy
        if self.shortcut is not None:
            past = self.shortcut.backward(dy, need_dx=need_dx)
        return dx + past if need_dx else None


class Parallel(SideBySide):
    """Run several branches on the same input and join what they give.

    Parameters
    ----------
    branches : sequence of Layer
    join : {"concat", "sum"}
        Concatenate along the channel axis (axis 1), or add.

    Raises
    ------
    ValueError
        If the outputs do not fit together.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> branches = [xpcnn.Identity(), xpcnn.ReLU()]
    >>> xpcnn.Parallel(branches)(np.array([[-1.0, 2.0]])).tolist()
    [[-1.0, 2.0, 0.0, 2.0]]
    >>> xpcnn.Parallel(branches, join="sum")(np.array([[-1.0, 2.0]])).tolist()
    [[-1.0, 4.0]]
    """

    def __init__(self, branches: Sequence[Layer], join: str = "concat") -> None:
        if join not in ("concat", "sum"):
            raise choice_error("Parallel", "join", join, ("concat", "sum"))
        self.branches = check_layers(branches, "Parallel")
        if not self.branches:
            raise ValueError("Parallel needs at least one branch")
        self.join = join

    def output_shape(self, input_shape: Sequence[int]) -> Shape:
        """Return the shape of the joined output."""
        shapes = [branch.output_shape(input_shape) for branch in self.branches]
        first = shapes[0]
        compare = [s[:1] + s[2:] for s in shapes] if self.join == "concat" else shapes
        if any(s != compare[0] for s in compare):
            where = "outside the channel axis" if self.join == "concat" else "in any axis"
            raise ValueError(
                f"{self.who}: with join={self.join!r} the branches may not differ {where}, got "
                f"shapes {shapes}"
            )
        if self.join == "sum":
            return first
        return (first[0], sum(s[1] for s in shapes), *first[2:])

    def _forward(self, xp: ModuleType, x: Array, training: bool) -> tuple[Array, Any]:
        self.output_shape(x.shape)
        outputs = [branch.forward(x, training=training) for branch in self.branches]
        if self.join == "concat":
            return xp.concat(outputs, axis=1), [y.shape[1] for y in outputs]
        total = outputs[0]
        for y in outputs[1:]:
            total = total + y
        return total, None

    def _backward(self, xp: ModuleType, dy: Array, saved: Any, need_dx: bool) -> Array | None:
        total: Array | None = None
        start = 0
        for position, branch in enumerate(self.branches):
            part = dy
            if saved is not None:
                part = dy[:, start : start + saved[position], ...]
                start += saved[position]
            dx = branch.backward(part, need_dx=need_dx)
            if need_dx:
                total = dx if total is None else total + dx
        return total
