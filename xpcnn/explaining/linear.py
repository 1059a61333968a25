"""The fully connected layer: one matrix product forward, two backward."""

from __future__ import annotations

import numpy as np

from xpcnn.explaining.common import (
    gradient_section,
    in_shape,
    lines,
    plain_input,
    plain_output,
    work,
)
from xpcnn.explaining.parts import Formula, Index, Made, Part, Section, Text, array_tables, places
from xpcnn.explaining.running import Run
from xpcnn.explaining.words import Words


def explain_linear(run: Run, say: Words, limit: int) -> list[Section]:
    """Explain Linear, forward and backward."""
    weight, bias = run.params["weight"], run.params.get("bias")
    w, x, dy = weight.values, run.x.values, run.dy.values
    own_rows = weight.axes == (0, 1)  # as in PyTorch: a row of weights for each output
    product = "x · Wᵀ" if own_rows else "x · W"

    def y_line(index: Index) -> str:
        pairs: list[tuple[float, ...]] = [*zip(x[index[:-1]], w[index[-1]], strict=True)]
        terms = [*pairs, *([(bias.values[index[-1]],)] if bias else [])]
        return work(run.y.at(*index), terms, run.y.values[index], say)

    weights: list[Part] = [Text(say("shape", name=weight.name, shape=weight.shape))]
    weights += array_tables(weight.as_owned(), limit, say("tables_left_out"))
    if bias:
        weights += array_tables(bias.as_row(), limit, say("tables_left_out"))
    else:
        weights.append(Text(say("no_bias")))
    text = say("linear_product", bias=say("plus_bias") if bias else "")
    forward = Formula(f"y = {product}{' + b' if bias else ''}")
    worked = lines(places(run.y.values.shape), y_line, limit, say)
    sections = [
        plain_input(run, say, limit),
        Section(say("weights_heading"), weights),
        Section(say("product_heading"), [Text(text), forward, worked]),
        plain_output(run, say, limit),
        gradient_section(run, say, limit),
    ]
    rows, gradients = x.reshape(-1, x.shape[-1]), dy.reshape(-1, dy.shape[-1])
    if bias:
        sections.append(_bias(run, gradients, say, limit))
    sections.append(_weight(run, rows, gradients, own_rows, say, limit))

    def dx_line(index: Index) -> str:
        pairs = zip(dy[index[:-1]], w[:, index[-1]], strict=True)
        return work(run.dx.at(*index), list(pairs), run.dx.values[index], say)

    worked = lines(places(run.dx.values.shape), dx_line, limit, say)
    formula = Formula("dx = dy · W" if own_rows else "dx = dy · Wᵀ")
    tables = in_shape(run.dx, say, limit)
    sections.append(Section(say("dx_heading"), [Text(say("linear_dx")), formula, worked, *tables]))
    return sections


def _bias(run: Run, dy: np.ndarray, say: Words, limit: int) -> Section:
    db = run.grads["bias"]

    def line(index: Index) -> str:
        return work(db.at(*index), [(v,) for v in dy[:, index[0]]], db.values[index], say)

    worked = lines(places(db.values.shape), line, limit, say)
    formula = Formula("db[o] = Σ dy[n, o]")
    return Section(say("db_heading"), [Text(say("linear_db")), formula, worked])


def _weight(
    run: Run, x: np.ndarray, dy: np.ndarray, own_rows: bool, say: Words, limit: int
) -> Section:
    dw = run.grads["weight"]

    def line(index: Index) -> str:
        o, i = index
        return work(dw.at(o, i), list(zip(x[:, i], dy[:, o], strict=True)), dw.values[o, i], say)

    order = places(dw.shape)
    if not own_rows:  # the course's W[i, o]
        order = Made(len(order), lambda k: places(dw.shape)[k][::-1])
    worked = lines(order, line, limit, say)
    formula = Formula("dW = dyᵀ · x" if own_rows else "dW = xᵀ · dy")
    tables = array_tables(dw.as_owned(), limit, say("tables_left_out"))
    text = Text(say("in_its_shape", name=dw.name, shape=dw.shape))
    parts: list[Part] = [Text(say("linear_dw")), formula, worked, text, *tables]
    return Section(say("dw_heading"), parts)
