"""Models as files: weights, what training needs, and the architecture as JSON.

All of it is one safetensors file. Nothing in a file is ever executed: layers, losses and
optimizers are named, and only the names of a fixed list are known, and those that the user gives.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from xpcnn import _registry, _xp, losses, metrics, operations, optim
from xpcnn import layers as layer_module
from xpcnn._files import read_whole, replace_file
from xpcnn.data.images import ImageReader, reader_from_config
from xpcnn.device import Device
from xpcnn.errors import ModelFileError
from xpcnn.layers.freezing import freeze_parts, frozen_parts
from xpcnn.layers.graph import Graph
from xpcnn.layers.layer import Layer
from xpcnn.layers.operation import Operation
from xpcnn.training import compile_args
from xpcnn.training.history import History
from xpcnn.training.state import TrainingState
from xpcnn.window import as_int

FORMAT = "xpcnn-model"
VERSION = 1
OPTIMIZER_PREFIX = "optimizer:"
CALLBACK_PREFIX = "callback:"
State = TypeVar("State", bound=TrainingState)


def known_layers() -> dict[str, type[Layer]]:
    """Return the layer classes that a file may name."""
    return {
        name: cls
        for name, cls in (*vars(layer_module).items(), *vars(operations).items())
        if isinstance(cls, type) and issubclass(cls, Layer) and cls not in (Layer, Operation)
    }


def describe(model: TrainingState) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return the tensors and the description that a model's file holds.

    Raises
    ------
    ValueError, TypeError
        If a file of them could not be loaded again.
    """
    own = {**model.network.parameters(), **model.network.buffers()}
    tensors = {name: _xp.to_numpy(tensor.value) for name, tensor in own.items()}
    with _could_be_loaded():
        description = _describe_settings(model)
        description["callbacks"] = [
            _take_arrays(entry, tensors, f"{CALLBACK_PREFIX}{number}:")
            for number, entry in enumerate(model.states_of_callbacks())
        ]
        if model.optimizer is not None:
            slots = model.optimizer.state_dict()
            model.optimizer.check_state(slots, model.parameters())
            tensors |= {OPTIMIZER_PREFIX + n: _xp.to_numpy(array) for n, array in slots.items()}
        return tensors, _made_again(model, description)


def check_savable(model: TrainingState) -> None:
    """Raise what saving the model as it is would raise, but for what lies in its arrays."""
    with _could_be_loaded():
        _made_again(model, _describe_settings(model))


@contextmanager
def _could_be_loaded() -> Iterator[None]:
    """Turn the errors of making a model from its description into one that says what they mean."""
    try:
        yield
    except RecursionError as error:
        raise ValueError("the model cannot be saved: it nests its layers too deeply") from error
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(
            f"the model cannot be saved, since its file could not be loaded again: {error}"
        ) from error


def _describe_settings(model: TrainingState) -> dict[str, Any]:
    model.check_known_data()
    reader = model.image_input
    description: dict[str, Any] = {
        "version": VERSION,
        **_describe_network(model.network),
        "input_shape": model.input_shape,
        "dtype": model.dtype,
        "precision": model.precision,
        "loss_scale": None if model.scaling is None else model.scaling.state_dict(),
        "seed": model.seed,
        "epoch": as_int(model.epoch, "Model", "epoch", 0),
        "step": as_int(model.step, "Model", "step", 0),
        "forwards": as_int(model.forwards, "Model", "forwards", 0),
        "history": asdict(model.history),
        "loss": None if model.loss is None else losses.to_config(model.loss),
        "metrics": [metrics.to_config(metric) for metric in model.metrics],
        "frozen": frozen_parts(model.network),
        "class_names": model.class_names,
        "image_input": None if reader is None else _registry.to_config(reader),
        "optimizer": None,
        "callbacks": [],
    }
    if model.optimizer is not None:
        description["optimizer"] = optim.to_config(model.optimizer)
        if model.optimizer.schedule is not None:
            description["schedule_state"] = model.optimizer.schedule.state_dict()
    return description


def _describe_network(network: Layer) -> dict[str, Any]:
    if isinstance(network, Graph):
        return {"graph": _registry.to_config(network)}
    return {"layers": [_registry.to_config(layer) for layer in network.children().values()]}


def _made_again(model: TrainingState, description: dict[str, Any]) -> dict[str, Any]:
    """Return a description as JSON, of which all that is no array has been made again."""
    inside = [layer for _, layer in model.network.layers_within()]
    made_of = [*inside, model.loss, *model.metrics, model.optimizer]
    custom = _registry.by_name(c for obj in made_of for c in _registry.customs_of(obj))
    again: dict[str, Any] = json.loads(json.dumps(description))
    _network_of(again, custom)
    _training_of(again, custom)
    _history(again["history"])
    _image_input(again)
    _callbacks(again["callbacks"], {})
    return again


def _take_arrays(
    entry: dict[str, Any], tensors: dict[str, np.ndarray], prefix: str
) -> dict[str, Any]:
    """Put the arrays in the state of a callback among the tensors, and return what is left."""
    left = {}
    for name, value in entry["state"].items():
        if hasattr(value, "shape") and not isinstance(value, np.generic):
            tensors[prefix + name] = _xp.to_numpy(value)
        else:
            left[name] = value.item() if isinstance(value, np.generic) else value
    return {**entry, "state": left}


def _callbacks(entries: Any, tensors: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """Return the states of callbacks, each with its arrays."""
    found = []
    for number, entry in enumerate(entries):
        kinds = {"class": str, "settings": dict, "state": dict}
        if not isinstance(entry, dict) or {k: type(v) for k, v in entry.items()} != kinds:
            raise ValueError(f"expected the state of a callback, got {entry!r:.200}")
        prefix = f"{CALLBACK_PREFIX}{number}:"
        arrays = {n.removeprefix(prefix): a for n, a in tensors.items() if n.startswith(prefix)}
        found.append({**entry, "state": entry["state"] | arrays})
    return found


def weights_of(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the tensors of a file that are neither the optimizer's nor a callback's."""
    others = (OPTIMIZER_PREFIX, CALLBACK_PREFIX)
    return {n: a for n, a in tensors.items() if not n.startswith(others)}


def _network_of(description: Mapping[str, Any], custom: Mapping[str, Any]) -> Any:
    """Make the layers that a description has, or their graph."""
    known = known_layers()
    if "graph" in description:
        return _registry.from_config(_renamed(description["graph"]), known, "layer", custom)
    layers = _renamed(description["layers"])
    return [_registry.from_config(one, known, "layer", custom) for one in layers]


def _renamed(described: Any) -> Any:
    """Return the description of layers with the names that classes have now.

    ``operations.Resizing`` was called ``Resize``, as the layer is now that takes a `size`. Files
    have all arguments, so that one of them tells the two apart.
    """
    if isinstance(described, list):
        return [_renamed(item) for item in described]
    if not isinstance(described, Mapping):
        return described
    new = {key: _renamed(value) for key, value in described.items()}
    config = new.get("config")
    if new.get("class") == "Resize" and isinstance(config, Mapping) and "scales" in config:
        new["class"] = "Resizing"
    return new


def _training_of(
    description: Mapping[str, Any], custom: Mapping[str, Any]
) -> tuple[losses.Loss | None, list[metrics.Metric], optim.Optimizer | None]:
    """Make loss, metrics and optimizer, with the state of its schedule."""
    loss, optimizer = None, None
    if description["loss"] is not None:
        loss = losses.from_config(description["loss"], custom)
    chosen = [metrics.from_config(metric, custom) for metric in description["metrics"]]
    if description["optimizer"] is not None:
        optimizer = optim.from_config(description["optimizer"], custom)
        if not isinstance(optimizer, optim.Optimizer):
            raise ValueError(f"{optimizer!r} is not an optimizer")
        if optimizer.schedule is not None:
            optimizer.schedule.load_state_dict(description["schedule_state"])
    return loss, chosen, optimizer


def restore(
    cls: type[State],
    tensors: dict[str, np.ndarray],
    description: dict[str, Any],
    device: Device,
    custom: Mapping[str, Any],
    precision: str | None = None,
    compile: bool = True,
) -> State:
    """Make the model that :func:`describe` described.

    The weights are loaded before the model is built, so a description that does not fit them
    fails before anything of its sizes is allocated.
    """
    training = _training_of(description, custom) if compile else None
    model = cls(
        _network_of(description, custom),
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
    freeze_parts(model.network, description["frozen"])
    is_old = "forwards" not in description  # there was one training forward for each step then
    counts = {"forwards": description["step"], **description}
    for name in ("epoch", "step", "forwards"):
        if type(counts[name]) is not int or counts[name] < 0:
            raise ValueError(f"{name} must be a whole number, got {counts[name]!r:.80}")
        setattr(model, name, counts[name])
    model.history = _history(description["history"])
    # files of the first versions know nothing of the data
    model.class_names = description.get("class_names")
    model.image_input = _image_input(description)
    if training is None:
        return model
    model.loss, model.metrics, model.optimizer = training
    compile_args.bind(model.metrics, model.loss)
    if model.optimizer is not None:
        slots = {n.removeprefix(prefix): a for n, a in tensors.items() if n.startswith(prefix)}
        model.optimizer.load_state_dict(slots, device, parameters=model.parameters())
        if is_old:  # and schedules counted the epochs of the model
            model.optimizer.epochs = model.epoch
    model.keep_callback_states(_callbacks(description.get("callbacks", []), tensors))
    return model


def _image_input(description: Mapping[str, Any]) -> ImageReader | None:
    found = description.get("image_input")
    return None if found is None else reader_from_config(found)


def _history(description: Any) -> History:
    """Make a history, of which each column must be as long as the list of epochs."""
    history = History(**description)
    columns: list[Any] = [history.epoch, *history.history.values()]
    for column in columns:
        good = isinstance(column, list) and len(column) == len(history.epoch)
        if not good or not all(isinstance(value, (int, float)) for value in column):
            raise ValueError(f"the history has an invalid column: {column!r:.80}")
    return history


def write_file(
    path: str | Path, tensors: Mapping[str, np.ndarray], description: Mapping[str, Any]
) -> None:
    """Write a model file so that at any moment the old or the new one is there, whole."""
    from safetensors.numpy import save

    contiguous = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    # ascontiguousarray turns a 0-d array into a 1-d one.
    contiguous = {name: a.reshape(np.shape(tensors[name])) for name, a in contiguous.items()}
    text = json.dumps(description)
    check_json(text, len(text))
    replace_file(path, save(contiguous, metadata={FORMAT: text}))


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
        SafetensorError, ValueError, TypeError, AttributeError, KeyError, RecursionError,
    ) as error:  # fmt: skip
        raise ModelFileError(
            f"{str(path)!r} cannot be read as a safetensors file ({error}); it is truncated, "
            "damaged, or something else"
        ) from error
    return tensors, metadata


MOST_FOR_JSON = 128 * 2**20
"""Bytes that the objects of a header may take, whatever the size of the file."""


def check_json(text: str, size: int) -> None:
    """Raise unless the objects that a text in JSON describes are small beside its file.

    Raises
    ------
    ValueError
        If they would take more than four times its size, and more than `MOST_FOR_JSON`.
    """
    # about what an object, with the layer that is made of it, a list and one more entry take
    need = 1500 * text.count("{") + 100 * text.count("[") + 40 * text.count(",")
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
