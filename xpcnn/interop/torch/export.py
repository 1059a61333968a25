"""From a model to a PyTorch module."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xpcnn import _xp
from xpcnn.interop.network import network_of
from xpcnn.interop.torch import modules
from xpcnn.interop.torch.problems import Problems, UnsupportedError
from xpcnn.layers import Graph, Layer, Parallel, Residual, Sequential
from xpcnn.operations.weights import Weights
from xpcnn.training.model import Model


def to_torch(model: Model | Layer) -> Any:
    """Make a PyTorch module of a model, with its weights and the same names for them.

    Parameters
    ----------
    model : Model or Layer
        Built, or with all widths given and weights loaded.

    Returns
    -------
    torch.nn.Module
        On the CPU, in the model's dtype, and in training mode, as PyTorch makes modules; call its
        ``eval()`` before predicting.

    Raises
    ------
    ValueError
        Listing every layer that PyTorch has nothing like.
    RuntimeError
        If the model is not built yet.

    Examples
    --------
    ::

        module = xpcnn.interop.to_torch(model)
        torch.save(module.state_dict(), "weights.pth")

    >>> import torch
    >>> import xpcnn
    >>> model = xpcnn.Model([xpcnn.Linear(4, 2), xpcnn.ReLU()], device="cpu")
    >>> model.build((None, 4))
    (1, 2)
    >>> module = xpcnn.interop.to_torch(model)
    >>> module(torch.zeros(3, 4)).shape
    torch.Size([3, 2])
    """
    network = network_of(model)
    if not network.is_built:
        raise RuntimeError(
            "to_torch: the model is not built yet; build it, or run it on an input, first"
        )
    problems = Problems()
    module = _module(network, "", problems)
    problems.check("to_torch")
    _load(module, network)
    return module


def _load(module: Any, network: Layer) -> None:
    import torch

    state = {}
    for name, tensor in network._tensors().items():
        # a copy, since arrays of some libraries come as memory that must not be written to
        value = torch.as_tensor(_xp.to_numpy(tensor.value).copy())
        kept = _xp.dtype_name(tensor.value)
        state[name] = value.to(getattr(torch, kept))
        if value.is_floating_point():
            module = module.to(state[name].dtype)
    module.load_state_dict(state)
    theirs = dict(module.named_parameters(remove_duplicate=False))
    for name, ours in network.parameters().items():
        theirs[name].requires_grad = ours.requires_grad


def _module(layer: Layer, where: str, problems: Problems) -> Any:
    import torch

    from xpcnn.interop.torch import composites

    def inside(child: Layer, name: str) -> Any:
        return _module(child, f"{where}.{name}" if where else name, problems)

    try:
        if isinstance(layer, Sequential):
            parts = [inside(part, str(n)) for n, part in enumerate(layer.layers)]
            return torch.nn.Sequential(*parts)
        if isinstance(layer, Residual):
            past = None if layer.shortcut is None else inside(layer.shortcut, "shortcut")
            return composites.ResidualModule(inside(layer.body, "body"), past)
        if isinstance(layer, Parallel):
            branches = [inside(b, f"branches.{n}") for n, b in enumerate(layer.branches)]
            return composites.ParallelModule(branches, layer.join)
        if isinstance(layer, Graph):
            return _graph(layer, inside)
        return composites.simple(layer) or modules.to_module(layer)
    except UnsupportedError as error:
        problems.add(where or "the model", error)
        return torch.nn.Identity()


def _graph(graph: Graph, inside: Callable[[Layer, str], Any]) -> Any:
    """Make a module that runs the nodes in order; dots in their names are modules in modules."""
    from xpcnn.interop.torch import composites

    steps: list[Any] = []
    made: dict[str, Any] = {}
    root = composites.GraphModule(list(graph.inputs), steps, list(graph.outputs))
    for node in graph.in_order:
        if isinstance(node.layer, Weights):
            owner = _owner(root, node.name)
            composites.register(owner, node.layer)
            run: Any = composites.reader(owner, [name for name, _ in node.layer.arrays])
        else:
            first = graph.first_with(node) or node.name  # one module for all that share a layer
            run = made[first] = made.get(first) or inside(node.layer, node.name)
            path, _, name = node.name.rpartition(".")
            owner = _owner(root, path)
            if name in dict(owner.named_children()):
                raise UnsupportedError(f"the node {node.name} has the name of a part of another")
            owner.add_module(name, run)
        steps.append((run, node.inputs, node.outputs))
    return root


def _owner(root: Any, path: str) -> Any:
    """Return the module at a path, which is made where there is none."""
    import torch

    for name in path.split(".") if path else []:
        if name not in dict(root.named_children()):
            root.add_module(name, torch.nn.Module())
        root = root.get_submodule(name)
    return root
