"""What a model knows of its data: the names of its classes, and how image files become arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xpcnn.data.folders import as_class_names
from xpcnn.data.images import ImageReader
from xpcnn.training.doubts import warn


def check_class_names(names: Any, model: Any) -> tuple[str, ...] | None:
    """Return the names of a model's classes as a tuple; ``None`` stays.

    Raises
    ------
    TypeError
        If they are no strings.
    ValueError
        If two are the same, one is empty, or the network is built and has not one output for each.
    """
    if names is None:
        return None
    found = as_class_names(names, "model.class_names")
    problem = _misfit(found, model.output_shape()) if model.is_built else None
    if problem is not None:
        raise ValueError(f"model.class_names: {problem}")
    return found


def check_image_input(reader: Any, model: Any) -> ImageReader | None:
    """Return the reader of a model's images; ``None`` stays.

    Raises
    ------
    TypeError
        If it is something else.
    ValueError
        If the network is built and takes arrays of another kind.
    """
    if reader is not None and not isinstance(reader, ImageReader):
        raise TypeError(
            f"model.image_input must be an ImageReader, such as ImageReader(64), got {reader!r}"
        )
    if reader is None or not model.is_built:
        return reader
    takes = model.input_shape
    size = ("height", "width") if reader.size is None else reader.size
    makes = f"{reader!r} makes arrays of shape (N, {reader.channels}, {size[0]}, {size[1]})"
    if len(model.inputs) != 1 or len(takes) != 4 or takes[1] != reader.channels:
        raise ValueError(
            f"model.image_input: {makes}, and the network takes {takes}; mode='RGB' makes three "
            "channels, 'L' one"
        )
    if reader.size is not None:
        try:
            model.output_shape((model.batch, reader.channels, *reader.size))
        except ValueError as error:
            raise ValueError(f"model.image_input: {makes}; {error}") from error
    return reader


def take_over(model: Any, data: Any) -> None:
    """Let a model know what the data set that it is trained on knows.

    Class names and reader are taken over where the model has none.

    Raises
    ------
    ValueError
        If the model has others.
    """
    agree_on_names(model, data, "fit: x")
    names, reader = _known_by(data, "class_names"), _known_by(data, "image_reader")
    if names is not None and model.class_names is None:
        found = as_class_names(names, "fit: x.class_names")
        problem = _misfit(found, model.output_shape())
        if problem is None:
            model.class_names = found
        else:
            warn(f"the model does not take over the names of the classes: {problem}")
    if not isinstance(reader, ImageReader):
        return
    if model.image_input is None:
        model.image_input = reader
    elif model.image_input.config() != reader.config():
        raise ValueError(
            f"fit: the data reads images with {reader!r}, and the model has {model.image_input!r}; "
            "if that is meant, set model.image_input = data.image_reader first"
        )


def agree_on_names(model: Any, data: Any, who: str) -> None:
    """Raise unless a data set and a model have the same class names, as far as they have some.

    Raises
    ------
    ValueError
    """
    if isinstance(data, (tuple, list)) and data:  # (x, y)
        data = data[0]
    given = _known_by(data, "class_names")
    if given is None or model.class_names is None:
        return
    names = as_class_names(given, f"{who}.class_names")
    if names != model.class_names:
        same = "the same classes in another order" if set(names) == set(model.class_names) else ""
        raise ValueError(
            f"{who} has {same or 'other classes'}, {', '.join(names)}, than model.class_names, "
            f"{', '.join(model.class_names)}; bring them in line, as with "
            "folder.with_class_names(model.class_names), or set model.class_names"
        )


def _known_by(data: Any, name: str) -> Any:
    """Return an attribute of a data set, or of that from which something loads batches."""
    found = getattr(data, name, None)
    return getattr(getattr(data, "dataset", None), name, None) if found is None else found


def _misfit(names: Sequence[str], output_shape: Any) -> str | None:
    """Say how the names of classes do not fit the output of a network, or None if they do."""
    shown = ", ".join(names)
    if isinstance(output_shape[0], tuple):
        return f"{shown} are names for one output, and the network has {len(output_shape)}"
    columns = output_shape[1] if len(output_shape) > 1 else 1
    if len(names) == columns or (columns == 1 and len(names) == 2):
        return None
    return (
        f"there are {len(names)} names ({shown}) and {columns} columns of output; give one for each"
        + (", or two for the answers no and yes" if columns == 1 else "")
        + f", or let the last layer have {len(names)}"
    )
