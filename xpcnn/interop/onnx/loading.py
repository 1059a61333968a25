"""Files, bytes and messages to models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xpcnn._files import read_whole
from xpcnn.device import Device
from xpcnn.errors import ModelFileError
from xpcnn.interop.onnx import proto
from xpcnn.interop.onnx.reading import Reader
from xpcnn.layers import Graph
from xpcnn.training import Model


def load(source: Any, *, device: str | Device = "auto") -> Model:
    """Read an ONNX model, from version 7 of ONNX's operators on.

    Parameters
    ----------
    source : str, Path, bytes, or an object with SerializeToString
        A file, what a file holds, or a ``ModelProto`` of the onnx package. Only a file can have
        arrays in other files, which must lie in its folder.
    device : str or Device
        As for :class:`xpcnn.Model`.

    Returns
    -------
    Model
        Its network is a :class:`xpcnn.Graph`, ready to predict, to train on and to save. Inputs
        and outputs are those of the file. Weights whose names end as PyTorch's do, in a dot and
        a word, have the same names in its ``state_dict()``; others have ``".value"`` behind it.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    UnsupportedModelError
        If nodes cannot be expressed here; it lists all of them.
    ModelFileError
        If the file is truncated, damaged, or no ONNX model. Nothing in a file is ever executed.

    Notes
    -----
    ONNX does not say what is trained. Here it is every array of floats that the file lists as an
    initializer and that has at least one axis, or keeps in a Constant node that plays the part of
    a weight; running statistics and other constants are not. Freeze others by
    ``model.freeze("conv1", "*.bias")``. Numbers in bfloat16 become float32, and so do those in
    float16 within a network whose inputs are float32.

    Examples
    --------
    >>> import xpcnn
    >>> from xpcnn.interop import onnx
    >>> data = onnx.to_bytes(xpcnn.Model([xpcnn.ReLU()], device="cpu"), input_shape=(None, 2))
    >>> model = onnx.load(data, device="cpu")  # or onnx.load("model.onnx")
    >>> model.predict([[-1.0, 2.0]])
    array([[0., 2.]], dtype=float32)
    """
    network, dtype, shapes = read(source)
    network.batch = _fixed_batch(network, shapes)
    model = Model(network, device=device, dtype=dtype)
    if network.nodes and _has_known_shapes(network, shapes):
        try:
            model.build(shapes[0] if len(shapes) == 1 else shapes)
        except (ValueError, TypeError) as error:
            raise ModelFileError(f"the ONNX model contradicts itself: {error}") from error
    return model


def _has_known_shapes(network: Graph, shapes: Sequence[tuple[int | None, ...] | None]) -> bool:
    """Whether the shapes of all values follow from those of the inputs.

    Where they depend on numbers the network would have to be run, and a hostile file must not be
    able to take memory when it is read; the first inputs that are given will build the model then.
    """
    known: dict[str, Any] = {}
    for name, shape in zip(network.inputs, shapes, strict=True):
        if not shape or not all(shape[1:]) or shape[0] == 0:
            return False
        known[name] = (1 if shape[0] is None else shape[0], *shape[1:])
    try:
        _all_shapes(network, known)
    except NotImplementedError:
        return False
    except (ValueError, TypeError, IndexError) as error:
        if any(shape is None or shape[0] is None for shape in shapes):
            return False  # one sample may be too few
        raise ModelFileError(f"the ONNX model contradicts itself: {error}") from error
    return True


def _fixed_batch(network: Graph, shapes: Sequence[tuple[int | None, ...] | None]) -> int | None:
    """Return the number of samples that the file gives, if the network works for no other.

    Many files say 1 where any number would do. It will if each value that depends on the inputs
    gets twice as long along its first axis, and no other, for twice as many samples, and no layer
    works along that axis.
    """
    counts = {shape[0] if shape else None for shape in shapes}
    batch = counts.pop()
    if counts or batch is None or batch < 1:
        return None
    if not all(shape and all(shape[1:]) for shape in shapes):
        return batch
    rests = {name: (shape or ())[1:] for name, shape in zip(network.inputs, shapes, strict=True)}
    try:
        once, twice = (
            _all_shapes(network, {name: (count, *rest) for name, rest in rests.items()})
            for count in (batch, 2 * batch)
        )
        depends = set(network.inputs)
        for node in network.in_order:
            if not depends.intersection(node.inputs):
                continue
            depends.update(node.outputs)
            for name in node.outputs:
                first, second = once[name], twice[name]
                along = getattr(node.layer, "dim", None) in (0, -len(first))
                if not first or second != (2 * first[0], *first[1:]) or along:
                    return batch
    except (NotImplementedError, ValueError, TypeError, IndexError):
        return batch
    return None


def _all_shapes(network: Graph, known: dict[str, Any]) -> dict[str, Any]:
    """Return the shapes of all values, given those of the inputs; nothing is run for it."""
    for node in network.in_order:
        found = node.output_shapes([known.get(name) for name in node.inputs])
        known |= zip(node.outputs, found, strict=True)
    return known


def read(source: Any) -> tuple[Any, str, list[tuple[int | None, ...] | None]]:
    """Return the network, its dtype, and the shapes of its inputs as far as they are known."""
    model, folder = parse(source)
    try:
        return Reader(model, folder).read()
    except RecursionError as error:
        raise ModelFileError("the ONNX model nests too deeply") from error


def parse(source: Any) -> tuple[proto.ModelProto, Path | None]:
    """Read the messages of an ONNX model, and return the folder it lies in."""
    folder = None
    if hasattr(source, "SerializeToString"):
        data = source.SerializeToString()
    elif isinstance(source, (bytes, bytearray, memoryview)):
        data = source
    elif isinstance(source, (str, Path)):
        path = Path(source)
        data, folder = read_whole(path), path.parent
    else:
        raise TypeError(
            "onnx.load takes a path, bytes, or an object with SerializeToString, got "
            f"{type(source).__name__}"
        )
    try:
        model = proto.ModelProto.parse(data)
    except ModelFileError as error:
        where = f"{str(source)!r}" if folder is not None else "the data"
        raise ModelFileError(f"{where} cannot be read as an ONNX model: {error}") from error
    if model.graph is None:
        raise ModelFileError("this is no ONNX model: it holds no graph")
    return model, folder
