"""Models as files: weights, what training needs, and the architecture as JSON.

All of it is one safetensors file. Nothing in a file is ever executed: layers, losses and
optimizers are named, and only the names of a fixed list are known.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xpcnn import _registry, _xp, losses, metrics, operations, optim
from xpcnn import layers as layer_module
from xpcnn._files import read_whole, replace_file
from xpcnn.device import Device
from xpcnn.errors import ModelFileError
from xpcnn.layers.graph import Graph
from xpcnn.layers.layer import Layer
from xpcnn.layers.operation import Operation
from xpcnn.training import choices
from xpcnn.training.history import History

if TYPE_CHECKING:
    from xpcnn.training.model import Model

FORMAT = "xpcnn-model"
VERSION = 1
OPTIMIZER_PREFIX = "optimizer:"


def known_layers() -> dict[str, type[Layer]]:
    """Return the layer classes that a file may name."""
    found = {name: getattr(layer_module, name) for name in layer_module.__all__}
    found |= {name: getattr(operations, name) for name in operations.__all__}
    return {
        name: cls
        for name, cls in found.items()
        if isinstance(cls, type) and issubclass(cls, Layer) and cls not in (Layer, Operation)
    }


def describe(model: Model) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return the tensors and the description that a model's file holds."""
    own = model._network._tensors()
    tensors = {name: _xp.to_numpy(tensor.value) for name, tensor in own.items()}
    description: dict[str, Any] = {
        "version": VERSION,
        **_describe_network(model._network),
        "input_shape": model.input_shape,
        "dtype": model.dtype,
        "precision": model.precision,
        "loss_scale": None if model.scaling is None else model.scaling.state_dict(),
        "seed": model.seed,
        "epoch": model.epoch,
        "step": model.step,
        "history": asdict(model.history),
        "loss": None if model.loss is None else losses.to_config(model.loss),
        "metrics": [metrics.to_config(metric) for metric in model.metrics],
        "frozen": [name for name, p in model.parameters().items() if not p.requires_grad],
        "optimizer": None,
    }
    if model.optimizer is not None:
        description["optimizer"] = optim.to_config(model.optimizer)
        if model.optimizer.schedule is not None:
            description["schedule_state"] = model.optimizer.schedule.state_dict()
        slots = model.optimizer.state_dict().items()
        tensors |= {OPTIMIZER_PREFIX + name: _xp.to_numpy(array) for name, array in slots}
    return tensors, description


def _describe_network(network: Layer) -> dict[str, Any]:
    if isinstance(network, Graph):
        return {"graph": _registry.to_config(network)}
    return {"layers": [_registry.to_config(layer) for layer in network.children().values()]}


def weights_of(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the tensors of a file that are not the optimizer's."""
    return {n: a for n, a in tensors.items() if not n.startswith(OPTIMIZER_PREFIX)}


def restore(
    cls: type[Model],
    tensors: dict[str, np.ndarray],
    description: dict[str, Any],
    device: Device,
    custom_layers: Mapping[str, type[Layer]],
    precision: str | None = None,
) -> Model:
    """Make the model that :func:`describe` described.

    The weights are loaded before the model is built, so a description that does not fit them
    fails before anything of its sizes is allocated.
    """
    known = known_layers() | dict(custom_layers)
    kind = "layer (classes of your own must be given as custom_layers={'Name': Class})"
    network: Any
    if "graph" in description:
        network = _registry.from_config(description["graph"], known, kind)
    else:
        network = [_registry.from_config(layer, known, kind) for layer in description["layers"]]
    model = cls(
        network,
        device=device,
        dtype=description["dtype"],
        seed=description["seed"],
        # files of the first versions do not know of it
        precision=precision or description.get("precision", "float32"),
    )
    if model.scaling is not None and description.get("loss_scale") is not None:
        model.scaling.load_state_dict(description["loss_scale"])
    prefix = OPTIMIZER_PREFIX
    model.load_state_dict(weights_of(tensors))
    model.build(description["input_shape"])
    frozen = set(description["frozen"])
    for name, parameter in model.parameters().items():
        parameter.requires_grad = name not in frozen
    for name in ("epoch", "step"):
        if type(description[name]) is not int or description[name] < 0:
            raise ValueError(f"{name} must be a whole number, got {description[name]!r:.80}")
        setattr(model, name, description[name])
    model.history = _history(description["history"])
    if description["loss"] is not None:
        model.loss = losses.from_config(description["loss"])
    model.metrics = [metrics.from_config(metric) for metric in description["metrics"]]
    choices.bind(model.metrics, model.loss)
    if description["optimizer"] is not None:
        model.optimizer = optim.from_config(description["optimizer"])
        slots = {n.removeprefix(prefix): a for n, a in tensors.items() if n.startswith(prefix)}
        model.optimizer.load_state_dict(slots, device, parameters=model.parameters())
        if model.optimizer.schedule is not None:
            model.optimizer.schedule.load_state_dict(description["schedule_state"])
    return model


def _history(description: Any) -> History:
    """Make a history, of which each column must be as long as the list of epochs."""
    history = History(**description)
    columns: list[Any] = [history.epoch, *history.history.values()]
    for column in columns:
        good = isinstance(column, list) and len(column) == len(history.epoch)
        if not good or not all(isinstance(value, (int, float)) for value in column):
            raise ValueError(f"the history has a column that is none: {column!r:.80}")
    return history


def write_file(
    path: str | Path, tensors: Mapping[str, np.ndarray], description: Mapping[str, Any]
) -> None:
    """Write a model file so that at any moment the old or the new one is there, whole."""
    from safetensors.numpy import save

    contiguous = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    # ascontiguousarray turns a 0-d array into a 1-d one.
    contiguous = {name: a.reshape(np.shape(tensors[name])) for name, a in contiguous.items()}
    replace_file(path, save(contiguous, metadata={FORMAT: json.dumps(description)}))


def read_tensors(path: str | Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Read the arrays and the metadata of a safetensors file.

    Raises
    ------
    FileNotFoundError
        If there is none.
    ModelFileError
        If it is truncated, damaged, or something else.
    PermissionError
        If it may not be read.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        content = read_whole(path)
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no model file {str(path)!r}") from None
    except PermissionError:
        raise
    except OSError as error:
        raise ModelFileError(f"{str(path)!r} cannot be read as a model file: {error}") from error
    try:
        size = int.from_bytes(content[:8], "little")
        header = content[8 : 8 + size].decode() if size < len(content) else ""
        check_json(header, len(content))
        tensors = load(content)
        metadata = json.loads(header).get("__metadata__") or {}
    except (
        SafetensorError,
        ValueError,
        TypeError,
        AttributeError,
        KeyError,
        RecursionError,
    ) as error:
        raise ModelFileError(
            f"{str(path)!r} cannot be read as a safetensors file ({error}); it is truncated, "
            "damaged, or something else"
        ) from error
    return tensors, metadata


_NOT_WHAT_WAS_WRITTEN = (ValueError, TypeError, AttributeError, KeyError, RecursionError)

MOST_FOR_JSON = 128 * 2**20
"""Bytes that the objects of a header may take, whatever the size of the file."""


def check_json(text: str, size: int) -> None:
    """Raise unless the objects that a text in JSON describes are small beside its file.

    Raises
    ------
    ValueError
        If they would take more than four times its size, and more than `MOST_FOR_JSON`.
    """
    # what an object, a list and one more entry take in Python, about
    need = 300 * text.count("{") + 100 * text.count("[") + 40 * text.count(",")
    if need > max(4 * size, MOST_FOR_JSON):
        raise ValueError(
            f"its header describes objects of about {need / 2**20:.0f} MiB, and the file has "
            f"{size / 2**20:.1f} MiB"
        )


def read_file(path: str | Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read a model file.

    Raises
    ------
    FileNotFoundError
        If there is none.
    ModelFileError
        If it is truncated, damaged, or not one of ours.
    """
    tensors, metadata = read_tensors(path)
    if FORMAT not in metadata:
        raise ModelFileError(
            f"{str(path)!r} holds arrays but no xpcnn model; to load weights into a model of your "
            "own use model.load_state_dict(path)"
        )
    try:
        check_json(metadata[FORMAT], len(metadata[FORMAT]))
        description = json.loads(metadata[FORMAT])
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"{str(path)!r}: the description of the model is damaged") from error
    if not isinstance(description, dict) or description.get("version") != VERSION:
        found = description.get("version") if isinstance(description, dict) else None
        raise ModelFileError(
            f"{str(path)!r} has format version {found!r}, this xpcnn reads version {VERSION}; "
            "update xpcnn"
        )
    return tensors, description
