"""From a PyTorch module to a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from xpcnn import _xp, rng
from xpcnn.device import Device
from xpcnn.interop.torch import modules
from xpcnn.interop.torch.problems import Problems, UnsupportedError
from xpcnn.interop.torch.trace import to_graph
from xpcnn.layers import Graph, Layer, Sequential
from xpcnn.training.model import Model


def from_torch(
    module: Any, example: Any = None, *, device: str | Device = "cpu", verbose: bool = True
) -> Model:
    """Convert a PyTorch module, with its weights, into a model that can be trained further.

    Parameters
    ----------
    module : torch.nn.Module
        A module of torch.nn that xpcnn has a layer for, an ``nn.Sequential`` of such modules, or
        any module that ``torch.fx`` can trace, made of these and of common functions.
    example : tensor, array, tuple of int, or list of these for several inputs, optional
        Input, or its shape, batch axis included. With it, shapes that the module computes with
        are known, and the outputs of both are compared on random numbers of that shape.
    device : str or Device
        Of the model.
    verbose : bool
        Whether to print the largest difference of the outputs.

    Returns
    -------
    Model
        With the names of weights, the dtype and the frozen parameters of the module. It has
        `largest_difference`, or ``None`` there without an example.

    Raises
    ------
    ValueError
        Listing every module and function that cannot be converted.

    Notes
    -----
    The batch may have any size later. Other lengths that the module's forward reads from shapes
    stay as they are with the example. A module of which ``forward`` takes another path in training
    than otherwise is refused.

    Examples
    --------
    ::

        model = xpcnn.interop.from_torch(module, (2, 3, 64, 64))
        model.fit(images, labels, optimizer="adam", loss="cross_entropy", epochs=3)

    >>> import torch
    >>> import xpcnn
    >>> module = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU())
    >>> converted = xpcnn.interop.from_torch(module)
    >>> [type(layer).__name__ for layer in converted.layers]
    ['Conv2d', 'ReLU']
    """
    import torch

    if not isinstance(module, torch.nn.Module):
        raise TypeError(f"from_torch: expected a torch.nn.Module, got {type(module).__name__}")
    inputs = None if example is None else _inputs(module, example)
    layer: Any = to_layer(module, inputs)
    model = Model(layer, device=device, dtype=_dtype_of(module, inputs))
    copy_weights(module, layer)
    model.largest_difference = None
    if inputs is not None:
        _compare(module, model, inputs, verbose)
    return model


def to_layer(module: Any, example: Sequence[Any] | None = None) -> Graph | Sequential:
    """Make a layer of a PyTorch module, without its weights.

    Parameters
    ----------
    module : torch.nn.Module
    example : sequence of torch.Tensor, optional
        The inputs of the module.

    Returns
    -------
    Layer
        A :class:`xpcnn.Sequential` of what is one, a :class:`xpcnn.Graph` of anything else.

    Raises
    ------
    ValueError
        Listing every module and function that cannot be converted.
    """
    problems = Problems()
    layer: Graph | Sequential
    if _is_plain_sequence(module):
        layer = _sequence(module, "", problems)
    elif modules.is_known(module) or modules.is_transform(module):
        layer = _alone(module, problems)
    else:
        return to_graph(module, example, "from_torch")
    problems.check("from_torch")
    return layer


def _is_plain_sequence(module: Any) -> bool:
    """Whether a module is an nn.Sequential of sequences and single modules, used once each."""
    import torch

    inside = [part for _, part in module.named_modules(remove_duplicate=False)]
    if len({id(part) for part in inside}) != len(inside):
        return False
    shared = [id(p) for _, p in module.named_parameters(remove_duplicate=False)]
    if len(set(shared)) != len(shared):
        return False

    def plain(part: Any) -> bool:
        if type(part) is not torch.nn.Sequential:
            return modules.is_known(part)
        names = [name for name, _ in part.named_children()]
        if modules.has_hooks(part):
            return False
        return names == [str(n) for n in range(len(names))] and all(map(plain, part))

    return type(module) is torch.nn.Sequential and plain(module)


def _alone(module: Any, problems: Problems) -> Graph | Sequential:
    """Make a graph of one layer, whose weights have no name of a node in front."""
    try:
        return Graph("x", [("", modules.to_layer(module), "x", "y")], "y")
    except UnsupportedError as error:
        problems.add("the module", error)
        return Sequential()


def _sequence(module: Any, where: str, problems: Problems) -> Sequential:
    import torch

    layers: list[Layer] = []
    for name, part in module.named_children():
        path = f"{where}.{name}" if where else name
        if type(part) is torch.nn.Sequential:
            layers.append(_sequence(part, path, problems))
            continue
        try:
            layers.append(modules.to_layer(part))
        except UnsupportedError as error:
            problems.add(f"module {path}", error)
    return Sequential(*layers)


def copy_weights(module: Any, layer: Layer) -> None:
    """Load the module's state, of which parts without a use are left out."""
    state = dict(module.state_dict())
    for name, buffer in module.named_buffers():  # those that are in no state, too
        state.setdefault(name, buffer)
    own = layer._tensors()
    layer.load_state_dict({name: state[name] for name in own if name in state})
    frozen = {name for name, p in module.named_parameters() if not p.requires_grad}
    for name, parameter in layer.parameters().items():
        parameter.requires_grad = name not in frozen


def _dtype_of(module: Any, inputs: Sequence[Any] | None) -> str:
    """Return the dtype of the weights, or of the inputs where there are none."""
    for tensor in (*module.parameters(), *module.buffers(), *(inputs or ())):
        if tensor.is_floating_point():
            return str(tensor.dtype).removeprefix("torch.")
    return "float32"


def _inputs(module: Any, example: Any) -> list[Any]:
    """Return tensors like the examples, where the module is."""
    import torch

    several = example if isinstance(example, list) else [example]
    first = next(module.parameters(), None)
    draw = rng.generator(0, "example")
    inputs = []
    for entry in several:
        if isinstance(entry, tuple) and all(isinstance(n, int) for n in entry):
            entry = draw.normal(size=entry).astype("float32")
        x = torch.as_tensor(np.array(_xp.to_numpy(entry)))
        if first is not None:
            x = x.to(first.device, first.dtype if x.is_floating_point() else x.dtype)
        inputs.append(x)
    return inputs


def _compare(module: Any, model: Model, inputs: list[Any], verbose: bool) -> None:
    """Run both on the same numbers, and note how far apart the outputs are."""
    import torch

    with modules.keeping_modes(module), torch.no_grad():
        module.eval()
        expected = module(*(x.clone() for x in inputs))
    found = model(*(_xp.to_numpy(x) for x in inputs))
    pairs = list(zip(_several(found), _several(expected), strict=True))
    differences = [_largest(_xp.to_numpy(a), _xp.to_numpy(b)) for a, b in pairs]
    model.largest_difference = max(differences)
    if verbose:
        size = max(float(np.abs(_xp.to_numpy(b)).max()) for _, b in pairs)
        print(
            f"from_torch: outputs up to {size:.3g} differ by {max(differences):.1e} at most, for "
            f"random inputs of shape {', '.join(str(tuple(x.shape)) for x in inputs)}"
        )


def _several(outputs: Any) -> list[Any]:
    outputs = outputs.values() if isinstance(outputs, dict) else outputs
    return [*outputs] if isinstance(outputs, (tuple, list, type({}.values()))) else [outputs]


def _largest(a: np.ndarray, b: np.ndarray) -> float:
    if a.shape != b.shape:
        raise RuntimeError(
            f"from_torch: the module gives an output of shape {b.shape}, the model {a.shape}; "
            "please report this module"
        )
    return float(np.abs(a.astype("float64") - b.astype("float64")).max()) if a.size else 0.0
