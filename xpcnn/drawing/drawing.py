"""A network drawn: the function for users, and what it returns."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import Any

from xpcnn._files import replace_file
from xpcnn.drawing.layout import place
from xpcnn.drawing.structure import Box, Structure, open_batch, shapes_in, structure_of
from xpcnn.drawing.svg import SMALL, Label, paint, shorten, text_width
from xpcnn.drawing.wording import (
    class_name,
    contents_text,
    family_of,
    main_arguments,
    parameters_of,
    parameters_text,
    shape_text,
)
from xpcnn.layers.layer import Layer, Shape
from xpcnn.training.data_adapter import as_shape, one_each
from xpcnn.training.model import Model
from xpcnn.window import as_int

_Shapes = dict[int, tuple[Any, ...] | None]


class Drawing:
    """A drawing, which notebooks show.

    ``str(drawing)`` is the SVG, ``drawing.save("network.svg")`` writes it to a file that browsers
    and word processors open.

    Examples
    --------
    >>> import xpcnn
    >>> from xpcnn import drawing
    >>> picture = drawing.network(xpcnn.Sequential(xpcnn.Linear(3, 2)), (None, 3))
    >>> "3 → 2" in str(picture)
    True
    """

    def __init__(self, svg: str, what: str) -> None:
        self._svg, self._what = svg, what

    def save(self, path: str | PathLike[str]) -> None:
        """Write the SVG to a file; one that is there is replaced whole.

        Raises
        ------
        ValueError
            If the name does not end in ``.svg``.
        OSError
            If there can be no such file.
        """
        name = str(path)
        if isinstance(path, (str, PathLike)) and not name.lower().endswith(".svg"):
            raise ValueError(
                f"Drawing.save: path must end in '.svg', got {name!r}; for other formats open the "
                "SVG in a browser or in Inkscape and export it"
            )
        replace_file(path, (self._svg + "\n").encode())  # type: ignore[arg-type]

    def __str__(self) -> str:
        return self._svg

    def __repr__(self) -> str:
        return f"<drawing of {self._what}>"

    def _repr_svg_(self) -> str:
        return self._svg


def network(model: Model | Layer, input_shape: Any = None, *, depth: int | None = None) -> Drawing:
    """Draw a network: layers from top to bottom, with the shapes of what they pass on.

    Parameters
    ----------
    model : Model or Layer
        Such as a :class:`~xpcnn.Model`, a :class:`~xpcnn.Sequential`, a :class:`~xpcnn.Graph` or
        a network of :mod:`xpcnn.zoo`.
    input_shape : tuple of int, optional
        Of the input with its batch axis, as ``(None, 3, 224, 224)``; a tuple or a dict of shapes
        where there are several inputs. A model that is built knows it. Without one no shapes are
        shown.
    depth : int, optional
        How many parts of names are shown, of ``layer1.0.conv1`` three: 2 makes one box of
        ``layer1.0``. If left out, as many as make a drawing that is not too large: no more than
        60 boxes, and no more than 24 where lines go past all of them.

    Returns
    -------
    Drawing
        A notebook shows it; ``save("network.svg")`` writes it to a file. It has nothing to do
        with matplotlib's axes, and takes none.

    Raises
    ------
    TypeError
        If the first argument is no model and no layer.
    ValueError
        If a layer does not take an input of this shape.

    Notes
    -----
    A shape stands beside a line where it changes. N is the number of samples.

    Examples
    --------
    >>> import xpcnn
    >>> from xpcnn import drawing
    >>> net = xpcnn.Sequential(xpcnn.Conv2d(1, 8, 3), xpcnn.ReLU(), xpcnn.Flatten())
    >>> picture = drawing.network(net, (None, 1, 28, 28))
    >>> picture
    <drawing of Sequential, 3 boxes>
    >>> str(picture).startswith("<svg")
    True
    """
    if not isinstance(model, (Model, Layer)):
        got = f"the class {model.__name__}" if isinstance(model, type) else type(model).__name__
        raise TypeError(f"network: model must be a Model or a Layer, got {got}")
    if depth is not None:
        depth = as_int(depth, "network", "depth", 1)
    layer = model.network if isinstance(model, Model) else model
    if input_shape is None and isinstance(model, Model):
        input_shape = model.input_shape
    structure = structure_of(layer)
    shapes = known_shapes(structure, input_shape)
    svg, count = draw(structure.at_depth(depth), shapes, type(model).__name__)
    return Drawing(svg, f"{type(model).__name__}, {count} box{'es' * (count != 1)}")


def known_shapes(structure: Structure, input_shape: Any) -> _Shapes:
    """Return the shape of every value, with "N" for an open batch; none without an input's."""
    if input_shape is None:
        return {}
    one, two = input_shapes(structure, input_shape)
    shapes = shapes_in(structure, one)
    try:
        return open_batch(shapes, shapes_in(structure, two))
    except ValueError:  # the network is for batches of one sample
        return dict(shapes)


def input_shapes(structure: Structure, input_shape: Any) -> tuple[list[Shape], list[Shape]]:
    """Return the shape of each input, for one and for two samples where their number is open."""
    names = [name for name, _ in structure.inputs]
    given = one_each(input_shape, names, "network", "input")
    whos = ["network" if len(names) == 1 else f"network: input {name!r}" for name in names]
    one = [as_shape(shape, who) for shape, who in zip(given, whos, strict=True)]
    for shape, who in zip(given, whos, strict=True):
        if None in tuple(shape)[1:]:
            raise ValueError(
                f"{who}: of input_shape only the first axis, the number of samples, may be None, "
                f"got {tuple(shape)}; give a length for the others, of which shapes can be drawn"
            )
    found: list[list[Shape]] = []
    for samples in (1, 2):
        count = structure.batch or samples
        found.append(
            [
                (count, *shape[1:]) if shape and was[0] is None else shape
                for shape, was in zip(one, given, strict=True)
            ]
        )
    return found[0], found[1]


def draw(structure: Structure, shapes: _Shapes, title: str) -> tuple[str, int]:
    """Return the SVG, and how many boxes it has besides inputs and outputs."""
    ins = [_end(name, value, shapes) for name, value in structure.inputs]
    outs = [_end(name, value, shapes) for name, value in structure.outputs]
    labels = [*ins, *_labels(structure.boxes), *outs]
    takes: list[list[int]] = [[] for _ in ins]
    takes += [box.taken for box in structure.boxes]
    takes += [[value] for _, value in structure.outputs]
    makers = {value: number for number, (_, value) in enumerate(structure.inputs)}
    for number, box in enumerate(structure.boxes, start=len(ins)):
        makers |= dict.fromkeys(box.outputs, number)
    texts = _beside_lines(structure, shapes)
    wide = {makers[value]: 2 * text_width(text, SMALL) + 16 for value, text in texts.items()}
    sizes = [(max(x.size[0], wide.get(n, 0.0)), x.size[1]) for n, x in enumerate(labels)]
    placed = place(sizes, makers, takes, set(texts))
    parameters = parameters_text(parameters_of(x for box in structure.boxes for x in box.layers))
    count = sum(len(box.layers) for box in structure.boxes)
    subtitle = f"{count} layer{'s' * (count != 1)}, {parameters or 'no parameters'}"
    return paint(placed, labels, texts, title, subtitle), len(structure.boxes)


def _beside_lines(structure: Structure, shapes: _Shapes) -> dict[int, str]:
    """Return what is written beside lines: shapes where they change, but for those of ends."""
    used = {value for box in structure.boxes for value in box.taken}
    texts = {}
    for box in structure.boxes:
        before = [shapes.get(value) for value in box.taken]
        for value in used.intersection(box.outputs, shapes):
            if any(shape is None or shape != shapes[value] for shape in before):
                texts[value] = shape_text(shapes[value])
    return texts


def _end(name: str, value: int, shapes: _Shapes) -> Label:
    return Label("end", shorten(name), shape_text(shapes[value]) if value in shapes else "")


def _labels(boxes: Sequence[Box]) -> list[Label]:
    owners: dict[int, str] = {}
    labels = []
    for box in boxes:
        parameters = parameters_of(box.layers)
        others = {owners.get(id(parameter)) for parameter in parameters}
        owner = others.pop() if len(others) == 1 else None
        told = parameters_text(parameters) if owner is None else f"parameters of {owner}"
        labels.append(_label(box, told))
        owners |= {id(p): box.name for p in parameters if id(p) not in owners}
    return labels


def _label(box: Box, parameters: str) -> Label:
    name = shorten(box.name, 40)
    if len(box.layers) > 1:
        contents = contents_text(box.layers)
        below = parameters
        if box.block is not None:
            below = (
                f"{class_name(box.block)} · {parameters}" if parameters else class_name(box.block)
            )
        return Label("block", name, shorten(contents), below, tip=f"{box.name}: {contents}")
    (layer,) = box.layers
    what, more = shorten(class_name(layer), 30), shorten(main_arguments(layer))
    tip = shorten(repr(layer), 600)
    if parameters or len(what) + len(more) + len(name) > 36:
        below = f"{name} · {parameters}" if parameters else name
        return Label(family_of(layer), what, more, below, tip=tip)
    return Label(family_of(layer), what, more, aside=name, tip=tip)
