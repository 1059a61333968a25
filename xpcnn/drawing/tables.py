"""What a notebook shows of models and layers: tables, and a drawing to unfold.

It is one piece of HTML with its own style: no scripts, no ids, nothing from the network. Nothing is
computed for it but shapes, and nothing waits for a device.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from xpcnn import _xp
from xpcnn._markup import SANS, escape, variables
from xpcnn._registry import function_name
from xpcnn.drawing.drawing import draw, input_shapes, known_shapes
from xpcnn.drawing.structure import Structure, open_shape, structure_of
from xpcnn.drawing.svg import shorten
from xpcnn.drawing.theme import DARK, LIGHT
from xpcnn.drawing.wording import (
    class_name,
    main_arguments,
    parameters_of,
    parameters_text,
    shape_text,
)
from xpcnn.layers.layer import Layer
from xpcnn.layers.parameter import Parameter
from xpcnn.training.model import Model
from xpcnn.training.summary import rows_of

ROOT = "xpcnn-view"
HOW_TO_BUILD = (
    "Not built yet: shapes and the rest of the parameters are known after <code>model.build((None, "
    "1, 28, 28))</code> with the shape of your input, or after the first <code>fit</code> or "
    "<code>predict</code>."
)
Cells = Sequence[str]


def view(thing: Model | Layer) -> str:
    """Return the HTML for a model or a layer."""
    if isinstance(thing, Model):
        return _model(thing)
    return _network(thing) if thing.children() else _layer(thing)


def _model(model: Model) -> str:
    structure = structure_of(model.network)
    shapes = known_shapes(structure, model.input_shape)
    facts = [str(model.device), model.dtype, f"seed {model.seed}"]
    if model.precision != "float32":
        facts.insert(2, f"computes in {model.precision}")
    if model.input_shape is not None:
        shown = [shape_text(shapes[value]) for _, value in structure.inputs]
        facts.append("input " + ", ".join(shown))
    if model.optimizer is not None:
        facts.append(f"{type(model.optimizer).__name__}, lr {model.optimizer.lr:g}")
    if model.loss is not None:
        facts.append(shorten(_loss_text(model.loss), 80))
    if model.epoch:
        facts.append(f"{model.epoch} epoch{'s' * (model.epoch != 1)} trained")
    parts = [_heading("Model", facts)]
    if model.input_shape is not None and None not in shapes.values():
        parts.append(_table_of_rows(model, structure))
    else:
        parts.append(_table_of_children(model.network))
        if model.input_shape is None:
            parts.append(f"<p>{HOW_TO_BUILD}</p>")
    return _page([*parts, _drawing(structure, shapes)])


def _loss_text(loss: Any) -> str:
    """Name a loss; of several outputs all, and of a function its name."""
    several = getattr(loss, "losses", None)
    if several:
        return ", ".join(map(_loss_text, several))
    function = getattr(loss, "function", None)
    return repr(loss) if function is None else f"loss {function_name(function)}"


def _table_of_rows(model: Model, structure: Structure) -> str:
    """Write the table of :meth:`xpcnn.Model.summary`, for one sample."""
    one, two = input_shapes(structure, model.input_shape)
    rows = rows_of(model.network, one)
    try:
        others = rows_of(model.network, two)
    except ValueError:  # the network is for batches of one sample
        others = rows
    lines = []
    for row, other in zip(rows, others, strict=True):
        outputs = [open_shape(a, b) for a, b in zip(row.outputs, other.outputs, strict=True)]
        shown = escape(", ".join(map(shape_text, outputs)))
        counts = (f"{row.parameters:,}", f"{row.multiply_adds:,}")
        lines.append((*_name_and_layer(row.name, row.layer, row.state), shown, *counts))
    totals = (sum(row.parameters for row in rows), sum(row.multiply_adds for row in rows))
    trained = sum(row.trained for row in rows)
    note = f"{trained:,} of the parameters are trained" if trained < totals[0] else "all together"
    foot = ("", note, "", *(f"{total:,}" for total in totals))
    samples = "one sample" if structure.batch is None else f"{structure.batch} samples"
    head = ("name", "layer", "output shape", "parameters", f"multiply-adds, {samples}")
    return _table(head, lines, foot, numbers=2)


def _network(network: Layer) -> str:
    structure = structure_of(network)
    count = sum(len(box.layers) for box in structure.boxes)
    facts = [f"{count} layer{'s' * (count != 1)}", parameters_text(parameters_of([network]))]
    parts = [_heading(class_name(network), facts), _table_of_children(network)]
    return _page([*parts, _drawing(structure, {})])


def _table_of_children(network: Layer) -> str:
    lines = [
        (*_name_and_layer(name, layer, ""), escape(parameters_text(parameters_of([layer]))))
        for name, layer in network.children().items()
    ]
    return _table(("name", "layer", "parameters"), lines)


def _name_and_layer(name: str, layer: Layer, state: str) -> tuple[str, str]:
    more = shorten(", ".join(filter(None, (main_arguments(layer), state))), 90)
    shown = f"<b>{escape(class_name(layer))}</b>"
    if more:
        shown += f' <span class="soft">{escape(more)}</span>'
    return escape(shorten(name, 60)), shown


def _layer(layer: Layer) -> str:
    """Show a single layer: what it was made with, and its arrays."""
    facts = [f"{layer.name!r} of its model"] if layer.name else []
    parts = [_heading(type(layer).__name__, [*facts, parameters_text(parameters_of([layer]))])]
    try:
        arguments = layer.arguments()
    except AttributeError:  # a class of somebody who keeps them otherwise
        arguments = {}
    if arguments:
        lines = [(escape(k), escape(shorten(repr(v), 90))) for k, v in arguments.items()]
        parts.append(_table(("argument", "value"), lines))
    tensors = {**layer.parameters(), **layer.buffers()}
    if tensors:
        arrays = [(escape(name), *_tensor(tensor)) for name, tensor in tensors.items()]
        parts.append(_table(("array", "shape", "dtype", "what"), arrays))
    return _page(parts)


def _tensor(tensor: Any) -> Cells:
    shape = tensor.shape
    if shape is None and tensor.pattern is not None:
        shape = ["?" if n is None else n for n in tensor.pattern]
    dtype = _xp.dtype_name(tensor.value) if tensor.is_built else "no values yet"
    if not isinstance(tensor, Parameter):
        what = "buffer, not trained"
    else:
        what = "parameter" if tensor.requires_grad else "parameter, frozen"
    return escape(shape_text(shape)), dtype, what


# -- Pieces ----------------------------------------------------------------------------------------


def _heading(title: str, facts: Iterable[str]) -> str:
    shown = " · ".join(escape(fact) for fact in facts if fact)
    return f'<p><b class="title">{escape(title)}</b> <span class="soft">{shown}</span></p>'


def _table(head: Cells, lines: Sequence[Cells], foot: Cells = (), numbers: int = 0) -> str:
    """Write a table of cells that are HTML; the last `numbers` columns are set to the right."""

    def line(cells: Cells, tag: str) -> str:
        first = len(cells) - numbers
        shown = (
            f"<{tag}{' class=number' * (n >= first)}>{cell}</{tag}>" for n, cell in enumerate(cells)
        )
        return f"<tr>{''.join(shown)}</tr>"

    body = "\n".join(line(cells, "td") for cells in lines)
    last = f"<tfoot>{line(foot, 'td')}</tfoot>" if foot else ""
    return (
        f'<div class="scroll"><table><thead>{line(head, "th")}</thead>\n'
        f"<tbody>{body}</tbody>{last}</table></div>"
    )


def _drawing(structure: Structure, shapes: Any) -> str:
    if not structure.boxes:
        return ""
    svg, _ = draw(structure.at_depth(None), shapes, "Network")
    return f'<details><summary>drawing</summary><div class="scroll wide">{svg}</div></details>'


def _page(parts: Iterable[str]) -> str:
    return f'<div class="{ROOT}"><style>{_STYLE}</style>\n' + "\n".join(parts) + "\n</div>"


_STYLE = (
    variables(ROOT, LIGHT, DARK)
    + f"""
.{ROOT}{{background:var(--xp-page);color:var(--xp-ink);font:13px/1.4 {SANS};padding:8px 12px;
border-radius:8px;width:fit-content;max-width:100%;box-sizing:border-box}}
.{ROOT} p{{margin:2px 0 8px;color:var(--xp-ink)}}
.{ROOT} .title{{font-size:15px;margin-right:6px}}
.{ROOT} .soft{{color:var(--xp-soft)}}
.{ROOT} code{{background:var(--xp-other);color:var(--xp-ink);padding:0 3px;border-radius:3px}}
.{ROOT} .scroll{{max-height:440px;overflow:auto;margin:0 0 8px}}
.{ROOT} .wide{{max-height:none}}
.{ROOT} .wide svg{{max-width:none}}
.{ROOT} table{{border-collapse:collapse;border:0;margin:0;font-size:13px;width:auto;
color:var(--xp-ink);background:var(--xp-page)}}
.{ROOT} table tr,.{ROOT} table tbody tr:nth-child(n),.{ROOT} table tbody tr:hover{{
background:var(--xp-page);border:0}}
.{ROOT} table th,.{ROOT} table td{{text-align:left;padding:3px 14px 3px 2px;border:0;
border-bottom:1px solid var(--xp-rule);color:var(--xp-ink);background:var(--xp-page);
white-space:nowrap;vertical-align:top;max-width:none}}
.{ROOT} table th{{position:sticky;top:0;font-weight:600;color:var(--xp-soft)}}
.{ROOT} table tfoot td{{position:sticky;bottom:0;font-weight:600;border-bottom:0;
border-top:1px solid var(--xp-line)}}
.{ROOT} table .number{{text-align:right;font-variant-numeric:tabular-nums;padding:3px 2px 3px 14px}}
.{ROOT} summary{{cursor:pointer;color:var(--xp-soft)}}
"""
)
