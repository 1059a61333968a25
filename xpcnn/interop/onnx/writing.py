"""Models to ONNX files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xpcnn._files import replace_file
from xpcnn.errors import UnsupportedModelError
from xpcnn.interop.onnx import proto
from xpcnn.interop.onnx.ops import OPERATORS, WRITES
from xpcnn.interop.onnx.tensors import number_of
from xpcnn.interop.onnx.writer import LayerCall, Value, Writer
from xpcnn.layers.graph import Graph
from xpcnn.layers.layer import Shape
from xpcnn.training import Model, data_adapter
from xpcnn.window import as_int

OLDEST, DEFAULT, NEWEST = 11, 18, 28
"""Versions of ONNX's operators that are written."""

BFLOAT16_SINCE = 22
"""Before, convolution and others do not take it."""

# The version of the file format that came out together with a version of the operators.
_FORMATS = {11: 6, 12: 7, 13: 7, 14: 7, 19: 9, 20: 9, 21: 10, 22: 10, 23: 11, 24: 12}
_FORMATS |= {15: 8, 16: 8, 17: 8, 18: 8, 25: 13, 26: 13, 27: 13, 28: 14}

LARGEST = 2**31 - 1
"""Bytes that a protocol buffer can have."""

# The shapes are computed for two numbers of samples: where they differ, they depend on it.
_SAMPLES = (2, 3)


def save(model: Model, path: str | Path, *, opset: int = DEFAULT, input_shape: Any = None) -> None:
    """Write a model as an ONNX file, for inference with any program that reads them.

    The file is replaced in one move: at any moment the old or the new one is there, whole.

    Parameters
    ----------
    model : Model
    path : str or Path
    opset : int
        Version of ONNX's operators, from 11 to 28.
    input_shape : sequence of int, optional
        Shape of the inputs, as for :meth:`xpcnn.Model.build`, if the model was not built yet, or
        if the file is to take another one. With ``None`` as first length any number of samples
        will do, and with a number just so many.

    Raises
    ------
    UnsupportedModelError
        If layers cannot be expressed; it lists all of them.
    ValueError
        If the version is not supported, or the file would have more than 2 GiB.
    RuntimeError
        If the model was not built yet and `input_shape` is missing.

    Notes
    -----
    The file says what the network computes in inference: dropout is left out, and batch
    normalisation uses its running statistics. Parameters have their names of the state dict. The
    axis of the samples is called "N" and left open, unless the network works for one number of
    them only.

    Examples
    --------
    >>> import xpcnn
    >>> from xpcnn.interop import onnx
    >>> model = xpcnn.Model([xpcnn.Linear(4, 2), xpcnn.ReLU()], device="cpu")
    >>> data = onnx.to_bytes(model, input_shape=(None, 4))
    >>> onnx.load(data, device="cpu").predict([[0.0, 0.0, 0.0, 0.0]]).shape
    (1, 2)
    """
    replace_file(path, to_bytes(model, opset=opset, input_shape=input_shape))


def to_bytes(model: Model, *, opset: int = DEFAULT, input_shape: Any = None) -> bytes:
    """Return what :func:`save` writes to a file; the arguments are the same.

    Examples
    --------
    >>> import xpcnn
    >>> from xpcnn.interop import onnx
    >>> model = xpcnn.Model([xpcnn.Linear(4, 2)], device="cpu")
    >>> data = onnx.to_bytes(model, input_shape=(None, 4))
    >>> onnx.load(data, device="cpu").outputs
    ('y',)
    """
    message = _describe(model, opset, input_shape)
    assert message.graph is not None
    size = sum(len(tensor.raw_data) for tensor in message.graph.initializer)
    data = message.serialize() if size <= LARGEST else b""
    if not 0 < len(data) <= LARGEST:
        raise ValueError(
            f"onnx.save: the model has {size / 2**30:.1f} GiB of parameters, and an ONNX file can "
            "have 2 GiB; save it with model.save, or convert it to a shorter dtype with model.to"
        )
    return data


def _describe(model: Model, opset: int, input_shape: Any) -> proto.ModelProto:
    """Describe a model as the messages of an ONNX file."""
    if not isinstance(model, Model):
        raise TypeError(f"onnx.save takes a Model, got {type(model).__name__}; write Model([...])")
    if not OLDEST <= as_int(opset, "onnx.save", "opset", 1) <= NEWEST:
        raise ValueError(
            f"onnx.save: opset must be from {OLDEST} to {NEWEST}, got {opset}; {DEFAULT} is known "
            "to most programs"
        )
    if model.dtype == "bfloat16" and opset < BFLOAT16_SINCE:
        raise ValueError(
            f"onnx.save: ONNX's operators take bfloat16 from opset {BFLOAT16_SINCE} on, got {opset}"
        )
    shapes = _input_shapes(model, input_shape)
    # a network may work for one number of samples only; that is 1 unless told otherwise
    counts = [_SAMPLES, (1, 1)] if any(shape[:1] == (None,) for shape in shapes) else [_SAMPLES]
    problem = None
    for samples in counts:
        try:
            return _write(model, opset, [_for_samples(shape, samples) for shape in shapes])
        except UnsupportedModelError:
            raise
        except ValueError as error:
            problem = problem or error
    raise ValueError(
        f"onnx.save: the shapes in the network cannot be computed for inputs of shapes {shapes}, "
        f"which hold zeros: {problem}"
    ) from problem


def _input_shapes(model: Model, input_shape: Any) -> list[tuple[int | None, ...]]:
    """Return the shapes of the inputs, with ``None`` for the number of samples where it is open."""
    if input_shape is None:
        if model.input_shape is None or not model.network.is_built:
            raise RuntimeError(
                "onnx.save: the model is not built yet; call model.build, or give input_shape, "
                "such as (None, 1, 28, 28)"
            )
        input_shape = model.input_shape
    elif not model.network.is_built:
        model.build(input_shape)
    shapes = data_adapter.one_each(input_shape, model.inputs, "onnx.save", "input")
    checked = [data_adapter.as_shape(shape, "onnx.save") for shape in shapes]
    return [
        (None if given[0] is None else shape[0], *shape[1:]) if shape else ()
        for given, shape in zip(map(tuple, shapes), checked, strict=True)
    ]


def _for_samples(shape: tuple[int | None, ...], counts: tuple[int, int]) -> tuple[Shape, Shape]:
    first, second = (tuple(count if n is None else n for n in shape) for count in counts)
    return first, second


def _write(model: Model, opset: int, shapes: Sequence[tuple[Shape, Shape]]) -> proto.ModelProto:
    """Write all layers, for inputs of these shapes."""
    network = model.network
    names_layers = {name for name, row in OPERATORS.items() if row.names_layer}
    w = Writer(WRITES, names_layers, opset, model.dtype, [*model.inputs, *model.outputs])
    dtypes = network.input_dtypes(model.dtype)
    inputs = [
        Value(name, dtype, pair)
        for name, dtype, pair in zip(model.inputs, dtypes, shapes, strict=True)
    ]
    found = [_output_shapes(model, [pair[which] for pair in shapes]) for which in (0, 1)]
    pairs = list(zip(*found, strict=True))
    call = LayerCall(
        network, "", list(inputs), pairs, list(model.outputs), [model.dtype] * len(pairs)
    )
    made = w.emit(call)
    if w.problems:
        raise _unsupported(w.problems, opset)
    # a graph may give a value twice, and a file may not
    names = [
        w.unique(name) if name in model.outputs[:position] else name
        for position, name in enumerate(model.outputs)
    ]
    w.name_outputs([value.name for value in made], names)
    outputs = [
        Value(name, value.dtype, value.shapes) for name, value in zip(names, made, strict=True)
    ]
    return _message(w, inputs, outputs)


def _output_shapes(model: Model, shapes: Sequence[Shape]) -> Sequence[Shape]:
    if isinstance(model.network, Graph):
        return model.network.output_shapes(*shapes)
    return [model.network.output_shape(shapes[0])]


def _message(w: Writer, inputs: Sequence[Value], outputs: Sequence[Value]) -> proto.ModelProto:
    return proto.ModelProto(
        ir_version=_FORMATS[w.opset],
        producer_name="xpcnn",
        graph=proto.GraphProto(
            node=w.nodes,
            name="xpcnn",
            initializer=w.initializers,
            input=[_info(value) for value in inputs],
            output=[_info(value) for value in outputs],
        ),
        opset_import=[proto.OperatorSetIdProto(d, version) for d, version in w.domains.items()],
    )


def _info(value: Value) -> proto.ValueInfoProto:
    """Describe an input or output; an axis of all samples is called "N"."""
    lengths = []
    for first, second in zip(*value.shapes, strict=True):
        if first == second:
            lengths.append(proto.Dimension(dim_value=first))
        else:
            name = "N" if (first, second) == _SAMPLES else None
            lengths.append(proto.Dimension(dim_param=name))
    kind = proto.TensorType(number_of(value.dtype), proto.TensorShapeProto(lengths))
    return proto.ValueInfoProto(value.name, proto.TypeProto(tensor_type=kind))


def _unsupported(problems: list[tuple[str, str, str]], opset: int) -> UnsupportedModelError:
    lines = "\n".join(f"  {path!r} ({kind}): {reason}" for path, kind, reason in problems)
    count = f"{len(problems)} layers" if len(problems) > 1 else "one layer"
    hint = ""
    if "number of samples" in lines:
        hint = "\nGive input_shape with a number of samples in the place of None."
    return UnsupportedModelError(
        f"onnx.save: {count} cannot be expressed in version {opset} of ONNX's operators:\n"
        f"{lines}{hint}",
        problems,
    )
