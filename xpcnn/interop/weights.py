"""Weights from files: safetensors, NumPy's npz, Keras' HDF5, and pickles without their code."""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from xpcnn._archives import open_zip, read_member
from xpcnn._files import read_whole
from xpcnn.errors import ModelFileError
from xpcnn.interop._torch_files import is_from_torch
from xpcnn.interop.network import network_of
from xpcnn.interop.pickles import read_pickle
from xpcnn.layers.conv import Conv
from xpcnn.layers.layer import Layer
from xpcnn.layers.linear import Linear
from xpcnn.layers.loading import LoadedNames
from xpcnn.layers.norm import BatchNorm
from xpcnn.training import saving
from xpcnn.training.model import Model

HDF5 = b"\x89HDF\r\n\x1a\n"
ZIP = b"PK\x03\x04"
COURSE_KEY = re.compile(r"(W|b|gamma|beta)([0-9]+)")


def load_weights(
    model: Model | Layer,
    source: str | Path | Mapping[str, Any],
    *,
    strict: bool = True,
    skip_mismatch: bool = False,
) -> LoadedNames:
    """Load weights into a model from a file or from a dict of arrays.

    What the file is is read from its content, not from its name.

    Parameters
    ----------
    model : Model or Layer
        One that has the architecture the weights were saved from.
    source : str, Path or mapping of str to array
        - a safetensors or npz file, or a mapping, with PyTorch's state-dict keys,
        - a ``.keras``, ``.weights.h5`` or ``.h5`` file (see :mod:`xpcnn.interop.keras`; this
          needs h5py),
        - what ``torch.save`` wrote of a state dict, in its new or its old format; nothing of it is
          executed, and torch is not needed,
        - a pickled dict, of which nothing is executed (see :func:`read_pickle`). Keys as ``W1``,
          ``b1``, ``gamma1`` and ``beta1`` are the courses': the numbers count the layers of a kind,
          and a linear layer's matrix has its inputs in front.
    strict : bool
        ``False`` ignores missing and unexpected names, where the file has names.
    skip_mismatch : bool
        ``True``, with ``strict=False``, leaves what is of another shape as it is, such as the head
        of a network for another number of classes. Files of Keras are loaded whole.

    Returns
    -------
    LoadedNames
        What did not match; see :meth:`xpcnn.layers.Layer.load_state_dict`.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ModelFileError
        If the file is damaged or of another kind.
    ValueError
        If the weights do not fit; the message lists every difference. Nothing has changed then.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn import Linear, interop
    >>> layer = Linear(3, 2)
    >>> interop.load_weights(layer, {"weight": np.ones((2, 3)), "bias": np.zeros(2)})
    LoadedNames(missing_keys=[], unexpected_keys=[], mismatched_keys=[])
    >>> layer(np.ones((1, 3)))
    array([[3., 3.]])
    """
    if isinstance(source, Mapping):
        state = source
    elif not _is_keras(path := Path(source)):
        state = _pytorch_names(model, read_arrays(path))
    else:
        from xpcnn.interop.keras import load_keras_weights

        if skip_mismatch:
            raise ValueError(
                f"load_weights: {str(path)!r} is a file of Keras, whose arrays go by their "
                "order, so that all must fit; leave out skip_mismatch"
            )
        load_keras_weights(model, path)
        return LoadedNames([], [])
    return model.load_state_dict(_with_counts(model, state), strict, skip_mismatch=skip_mismatch)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read the named arrays of a safetensors file, an npz file, or a pickled dict.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ModelFileError
        If it is damaged, something else, or holds anything but named arrays.
    """
    start = read_whole(path)[:10]
    if not start:
        raise ModelFileError(f"{str(path)!r} is empty")
    if start.startswith(ZIP) and not is_from_torch(path):
        return _read_zip(path)
    if path.suffix == ".onnx":
        raise ModelFileError(
            f"{str(path)!r} is an ONNX model, network and weights in one; read it with "
            "xpcnn.interop.onnx.load"
        )
    # eight bytes with the length of the header, and the header, which is JSON
    if start[8:9] == b"{":
        return saving.weights_of(saving.read_tensors(path)[0])
    found = read_pickle(path)
    if not isinstance(found, dict):
        raise ModelFileError(
            f"{str(path)!r}: expected a dict of arrays by name, got a {type(found).__name__}"
        )
    arrays = {name: np.asarray(value) for name, value in found.items() if _is_numeric(value)}
    others = [name for name in found if name not in arrays or not isinstance(name, str)]
    if others:
        raise ModelFileError(
            f"{str(path)!r}: the entry {others[0]!r:.60} is not an array of numbers with a name"
        )
    return arrays


def _is_numeric(value: Any) -> bool:
    return isinstance(value, (np.ndarray, np.generic, int, float))


def _read_zip(path: Path) -> dict[str, np.ndarray]:
    with open_zip(path) as archive:
        names = archive.namelist()
        if not any(name.endswith(".npy") for name in names):
            inside = ", ".join(names[:3]) or "nothing"
            raise ModelFileError(
                f"{str(path)!r} is a zip archive of {inside:.200}; expected what numpy.savez, "
                "torch.save or Keras writes"
            )
        try:
            return {
                name.removesuffix(".npy"): _npy(read_member(archive, name), name) for name in names
            }
        except ModelFileError as error:
            raise ModelFileError(f"{str(path)!r} is not an npz file of arrays: {error}") from error


def _npy(content: bytes, name: str) -> np.ndarray:
    """Return the array in a npy file, whose bytes must be there."""
    stream = io.BytesIO(content)
    try:
        version = np.lib.format.read_magic(stream)
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, is_fortran, dtype = read(stream)
    except (
        ValueError, TypeError, KeyError, SyntaxError, EOFError, AttributeError,
        RecursionError, MemoryError, OverflowError, tokenize.TokenError,
    ) as error:  # fmt: skip
        raise ModelFileError(f"{name!r:.100} has a damaged header ({error!r:.200})") from None
    if dtype.kind not in "biufc":
        raise ModelFileError(f"{name!r:.100} holds {dtype}; only numbers are read")
    start = stream.tell()
    if any(n < 0 for n in shape) or prod(shape) * dtype.itemsize != len(content) - start:
        raise ModelFileError(
            f"{name!r:.100} says shape {shape!r:.100} and dtype {dtype}, and has "
            f"{len(content) - start} bytes"
        )
    flat = np.frombuffer(content, dtype, offset=start)
    flat = flat.astype(dtype.newbyteorder("="), copy=False)
    return flat.reshape(shape, order="F" if is_fortran else "C")


def _is_keras(path: Path) -> bool:
    content = read_whole(path)
    if content.startswith(ZIP):
        with open_zip(path) as archive:
            return "model.weights.h5" in archive.namelist()
    return content.startswith(HDF5)


def _with_counts(model: Model | Layer, state: Mapping[str, Any]) -> Mapping[str, Any]:
    """Add the counts of batches, which files of PyTorch before 0.4.1 do not have."""
    complete = dict(state)
    for name, layer in network_of(model).layers_within():
        front = f"{name}." if name else ""
        if isinstance(layer, BatchNorm) and f"{front}running_mean" in state:
            complete.setdefault(f"{front}num_batches_tracked", np.zeros((), np.int64))
    return complete


def _pytorch_names(
    model: Model | Layer, arrays: Mapping[str, np.ndarray]
) -> Mapping[str, np.ndarray]:
    """Rename, and for linear layers turn, what the courses call W1, b1, gamma1 and beta1."""
    if not arrays or not all(COURSE_KEY.fullmatch(key) for key in arrays):
        return arrays
    inside = list(network_of(model).layers_within())
    weighted = [(name, layer) for name, layer in inside if isinstance(layer, (Conv, Linear))]
    norms = [(name, layer) for name, layer in inside if isinstance(layer, BatchNorm)]
    renamed: dict[str, np.ndarray] = {}
    for key, array in arrays.items():
        kind, number = COURSE_KEY.fullmatch(key).groups()  # type: ignore[union-attr]
        owners = weighted if kind in ("W", "b") else norms
        if not 1 <= int(number) <= len(owners):
            renamed[key] = array  # which the model then lists as unexpected
            continue
        name, layer = owners[int(number) - 1]
        ending = "weight" if kind in ("W", "gamma") else "bias"
        turn = kind == "W" and isinstance(layer, Linear)
        renamed[f"{name}.{ending}" if name else ending] = array.T if turn else array
    for name, norm in norms:  # the courses' files have no running statistics
        for ending, buffer in norm.buffers().items():
            if buffer.is_built:
                renamed.setdefault(f"{name}.{ending}", buffer.value)
    return renamed
