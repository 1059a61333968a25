"""What a Keras file holds: layers, and their arrays."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from xpcnn._archives import open_zip, read_member
from xpcnn._files import read_whole
from xpcnn._registry import snake_case
from xpcnn.errors import ModelFileError

WEIGHTS = "model.weights.h5"
# Where the layers are: in Keras 3, and in the last versions of Keras 2.
CONTAINERS = ("layers", "_layer_checkpoint_dependencies")


@dataclass
class Stored:
    """A layer in a file that has weights.

    Attributes
    ----------
    kind : str or None
        Keras' class, such as "Conv2D"; with ``None`` the file does not say.
    roles : list of str or None
        What the arrays are, such as "kernel" and "bias", where the file says so.
    settings : dict
        The layer's configuration, where there is one.
    """

    name: str
    kind: str | None
    arrays: list[np.ndarray]
    roles: list[str] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Contents:
    """The layers of a file; they are in the network's order only if `ordered`."""

    layers: list[Stored]
    ordered: bool


def read(path: Path) -> Contents:
    """Read the layers with weights from a file.

    Raises
    ------
    ImportError
        If h5py is not installed.
    ModelFileError
        If the file is damaged, or not one of Keras.
    """
    try:
        import h5py
    except ImportError as error:
        raise ImportError(
            "reading Keras files needs h5py, which is not installed; run: pip install h5py"
        ) from error
    try:
        content: Any = io.BytesIO(read_whole(path))
        if zipfile.is_zipfile(content):
            with open_zip(path) as archive:
                described = read_member(archive, "config.json")
                content = io.BytesIO(read_member(archive, WEIGHTS))
            config = json.loads(described)
            with h5py.File(content, "r") as file:
                return Contents(list(_with_config(file, "", _layers_of(config))), ordered=True)
        with h5py.File(content, "r") as file:
            return _read_hdf5(file)
    except (FileNotFoundError, IsADirectoryError, PermissionError):
        raise
    except ModelFileError as error:
        raise ModelFileError(f"{str(path)!r}: {error}") from error
    except (
        OSError, RuntimeError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError,
        MemoryError,
    ) as error:  # fmt: skip
        raise ModelFileError(
            f"{str(path)!r} cannot be read as a Keras file ({error}); it is truncated, damaged, "
            "or something else"
        ) from error
    except (zipfile.BadZipFile, RecursionError) as error:
        raise ModelFileError(f"{str(path)!r} is a damaged Keras file ({error})") from error


def _read_hdf5(file: Any) -> Contents:
    """Read a file of its own: weights alone, or the format that Keras had before."""
    if any(name in file for name in CONTAINERS):
        return Contents(list(_by_class(file)), ordered=False)
    inside = _inside(file, "model_weights")
    weights = file if inside is None else inside
    if not _attribute_names(weights, "layer_names"):
        raise ModelFileError("it holds no layers of Keras")
    settings: dict[str, Any] = {}
    if "model_config" in file.attrs:
        text = file.attrs["model_config"]
        config = json.loads(text.decode() if isinstance(text, bytes) else text)
        settings = {layer["config"].get("name"): layer for layer in _flattened(config)}
    return Contents(list(_legacy(weights, settings)), ordered=True)


# -- Keras 3 ---------------------------------------------------------------------------------------


def _layers_of(config: Any) -> list[Any]:
    """Return the layers that a configuration describes."""
    if not isinstance(config, dict) or config.get("class_name") != "Sequential":
        found = config.get("class_name") if isinstance(config, dict) else type(config).__name__
        raise ModelFileError(
            f"it holds a model of the class {found!r:.60}; only weights of Sequential models are "
            "read"
        )
    inside = config["config"]
    return list(inside["layers"] if isinstance(inside, dict) else inside)


def _flattened(config: Any) -> Iterator[Any]:
    """Yield the layers of a configuration, and those of the networks inside it."""
    for layer in _layers_of(config):
        if layer["class_name"] == "Sequential":
            yield from _flattened(layer)
        else:
            yield layer


def _with_config(file: Any, where: str, layers: list[Any]) -> Iterator[Stored]:
    """Yield the layers in order: each has its class's name, and a number from the second on."""
    container = next((name for name in CONTAINERS if f"{where}{name}" in file), CONTAINERS[0])
    counts: dict[str, int] = {}
    for layer in layers:
        kind = layer["class_name"]
        short = snake_case(kind)
        number = counts[short] = counts.get(short, -1) + 1
        path = f"{where}{container}/{short}" + (f"_{number}" if number else "")
        if kind == "Sequential":
            yield from _with_config(file, f"{path}/", _layers_of(layer))
            continue
        arrays = _variables(file, path)
        if arrays:
            settings = layer["config"]
            yield Stored(str(settings.get("name", path)), kind, arrays, None, settings)


def _by_class(file: Any) -> Iterator[Stored]:
    """Yield the layers of a file without a configuration, those of a class in their order."""
    container = next(name for name in CONTAINERS if name in file)
    found = []
    for short in _inside(file, container):
        base, _, number = short.rpartition("_")
        is_numbered = number.isdigit() and base != ""
        kind, place = (base, int(number)) if is_numbered else (short, 0)
        found.append((kind, place, f"{container}/{short}"))
    for kind, _, path in sorted(found):
        arrays = _variables(file, path)
        if arrays:
            yield Stored(path, kind, arrays)
        elif any(name in file[path] for name in CONTAINERS):
            raise ModelFileError(
                f"{path} is a network inside the network, whose layers have no order in a file of "
                "weights alone; save the whole model as .keras"
            )


def _variables(file: Any, path: str) -> list[np.ndarray]:
    """Return the arrays 0, 1, 2, ... of a layer."""
    group = _inside(file, f"{path}/vars")
    if group is None:
        return []
    return [_array(group, str(number)) for number in range(len(group))]


# -- Before Keras 3 --------------------------------------------------------------------------------


def _legacy(weights: Any, settings: Mapping[str, Any]) -> Iterator[Stored]:
    for name in _attribute_names(weights, "layer_names"):
        group = _inside(weights, name)
        if group is None:
            raise ModelFileError(f"the layer {name!r} is missing")
        # A network inside the network is one group with the weights of all its layers.
        by_owner: dict[str, list[str]] = {}
        for full in _attribute_names(group, "weight_names"):
            by_owner.setdefault(full.rpartition("/")[0], []).append(full)
        for owner, names in by_owner.items():
            roles = [full.rpartition("/")[2].partition(":")[0] for full in names]
            own_name = owner.rpartition("/")[2] if len(by_owner) > 1 else name
            layer = settings.get(own_name, {})
            arrays = [_array(group, full) for full in names]
            yield Stored(own_name, layer.get("class_name"), arrays, roles, layer.get("config", {}))


def _attribute_names(group: Any, name: str) -> list[str]:
    """Return a list of names; a long one is kept in pieces."""
    if name in group.attrs:
        pieces = [group.attrs[name]]
    else:
        pieces = []
        while f"{name}{len(pieces)}" in group.attrs:
            pieces.append(group.attrs[f"{name}{len(pieces)}"])
    found = [entry for piece in pieces for entry in np.asarray(piece).ravel().tolist()]
    return [entry.decode() if isinstance(entry, bytes) else str(entry) for entry in found]


# -- HDF5 ------------------------------------------------------------------------------------------


def _inside(group: Any, path: str) -> Any:
    """Return what stands at a path, if anything does; links to other files are refused."""
    import h5py

    here = group
    for name in path.strip("/").split("/"):
        if name not in ("", ".") and here.get(name, getlink=True) is None:
            return None
        if not isinstance(here.get(name, getlink=True), h5py.HardLink):
            raise ModelFileError(f"{path!r:.100} is a link to another place or file")
        here = here[name]
    return here


def _array(group: Any, path: str) -> np.ndarray:
    """Read an array, if the file itself has all of its numbers."""
    import h5py

    found = _inside(group, path)
    if not isinstance(found, h5py.Dataset):
        raise ModelFileError(f"the array {path!r:.100} is missing")
    if found.external or found.is_virtual:
        raise ModelFileError(f"the array {path!r:.100} is kept in another file")
    if found.dtype.kind not in "fiub":
        raise ModelFileError(f"the array {path!r:.100} holds no numbers, but {found.dtype}")
    packed = found.id.get_storage_size()
    if found.nbytes > 100 * packed + 1_000:
        raise ModelFileError(
            f"the array {path!r:.100} claims {found.nbytes} bytes, of which the file has {packed}"
        )
    return np.asarray(found[()])
