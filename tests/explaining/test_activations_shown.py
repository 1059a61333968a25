"""Every activation: the printed formula, worked by Python, gives the numbers of the table."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

import xpcnn
from tests.explaining.lines import table_of
from xpcnn.explaining.elementwise import FORMULAS
from xpcnn.explaining.parts import Formula

X = [-7.0, -2.5, -1.0, -0.3, 0.2, 1.5, 4.0, 8.0]
MORE = [
    xpcnn.GELU("tanh"), xpcnn.LeakyReLU(0.3), xpcnn.ELU(2.0), xpcnn.CELU(3.0),
    xpcnn.Hardtanh(-2.0, 3.0), xpcnn.Threshold(1.0, -5.0), xpcnn.Softplus(2.0, 5.0),
    xpcnn.Softshrink(2.0), xpcnn.Hardshrink(0.1), xpcnn.PReLU(init=0.5),
]  # fmt: skip
PLAIN = [getattr(xpcnn, name)() for name in FORMULAS if name not in ("Threshold", "PReLU")]


@pytest.mark.parametrize("layer", [*PLAIN, *MORE], ids=repr)
def test_formulas_give_the_numbers_of_the_table(layer):
    shown = xpcnn.explain(layer, X, dy=[2.0] * len(X))
    formulas = [p.text for s in shown.sections for p in s.parts if isinstance(p, Formula)]
    columns = np.array([[float(v) for v in row] for row in table_of(shown, "").cells]).T
    for x, y, slope, _, dx in columns.T:
        names = {"a": 0.5}
        own_y = _worked(formulas[0], x, names)
        assert math.isclose(own_y, y, rel_tol=2e-3, abs_tol=2e-3)
        assert math.isclose(_worked(formulas[1], x, {**names, "y": own_y}), slope, abs_tol=4e-3)
        assert math.isclose(2 * slope, dx, abs_tol=4e-3)


def _worked(formula, x, names):
    """Work out a printed formula: ``y = a if x > 0, else b``, with what its letters mean behind."""
    text = formula.partition(" = ")[2]
    text = re.sub(r"\|([^|]*)\|", r"abs(\1)", text)
    for sign, ours in (("·", "*"), ("²", "**2"), ("³", "**3"), ("≤", "<="), ("≥", ">="),
                       ("√(2π)", "sqrt(2*pi)"), ("√2", "sqrt(2)"), ("√(", "sqrt("), ("π", "pi"),
                       ("σ(x)", "sig"), ("Φ(x)", "Phi"), ("φ(x)", "phi")):  # fmt: skip
        text = text.replace(sign, ours)
    text, *meanings = re.split(r", (?=\w+ = )", text)
    known = {name: getattr(math, name) for name in ("exp", "log", "tanh", "sqrt", "erf", "pi")}
    known |= {**names, "x": x, "abs": abs, "min": min, "max": max}
    known |= {"s": math.log1p(math.exp(x)), "sig": 1 / (1 + math.exp(-x))}
    known |= {"Phi": (1 + math.erf(x / math.sqrt(2))) / 2}
    known |= {"u": math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)}
    for meaning in meanings:
        name, _, value = meaning.partition(" = ")
        own = eval(value, dict(known))
        assert math.isclose(own, known.get(name, own))
        known[name] = own
    default, *cases = text.split("; ")  # "y = ...; y = x if ..."
    cases = [case.removeprefix("y = ") for case in cases]
    if " if " in default:
        *first, last = default.split(", ")
        cases, default = first, last.removeprefix("else ")
    for case in cases:
        value, _, condition = case.partition(" if ")
        if eval(condition, dict(known)):
            return float(eval(value, dict(known)))
    return float(eval(default, dict(known)))


def test_a_learned_slope():
    shown = xpcnn.explain(
        xpcnn.PReLU(2, init=0.5), [[-2.0, 3.0], [4.0, -6.0]], dy=[[1, 1], [1, 10]]
    )
    assert table_of(shown, "weight").cells == [["0.5", "0.5"]]
    assert table_of(shown, "dweight").cells == [["-2", "-60"]]
    assert "da = Σ g·x over the x ≤ 0" in str(shown)
    assert "had no weights yet" not in str(shown)
