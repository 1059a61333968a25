"""Who took an operation, and why others did not."""

import numpy as np
import pytest

from tests.compiled import needs_compiled_kernels
from xpcnn import _xp, kernels
from xpcnn.kernels import Decision, Declined
from xpcnn.kernels.dispatch import OpPair
from xpcnn.kernels.native import choice


def pair(answer):
    return OpPair(lambda xp, x: answer, lambda *args: None)


@pytest.fixture
def three_sets(monkeypatch):
    """Two kernel sets that decline, with and without a reason, in front of one that does not."""
    pairs = [
        ("first", pair(Declined("rank 7"))),
        ("second", pair(NotImplemented)),
        ("third", pair(("result", "state"))),
    ]
    monkeypatch.setattr(kernels.dispatch, "_candidates", lambda *_: pairs)
    monkeypatch.setattr(kernels.dispatch, "_own_set", lambda xp: None)
    monkeypatch.setattr(kernels.dispatch, "why_not_compiled", lambda xp: "for NumPy arrays only")
    return pairs


NOT_NUMPY = ("cpu", "for NumPy arrays only")


def test_reasons_are_recorded(three_sets):
    with kernels.trace() as decisions:
        y, saved = kernels.run(None, "op", 1)
        del three_sets[1:]
        assert kernels.run(None, "other", 1) is None
    assert (y, saved.state, saved.kernel_set) == ("result", "state", "third")
    kernels.run(None, "op", 1)  # after the trace
    assert decisions == [
        Decision(
            "op",
            "third",
            (NOT_NUMPY, ("first", "rank 7"), ("second", "does not take these arguments")),
        ),
        Decision("other", None, (NOT_NUMPY, ("first", "rank 7"))),
    ]


def test_an_inner_trace_keeps_its_decisions_for_itself():
    xp = _xp.numpy_namespace()
    with kernels.force("generic"), kernels.trace() as outer:
        kernels.run(xp, "relu", np.ones(3))
        with kernels.trace() as inner:
            kernels.run(xp, "tanh", np.ones(3))
    assert [d.op for d in outer] == ["relu"]
    assert [d.op for d in inner] == ["tanh"]


def test_why_the_compiled_kernels_are_not_asked(monkeypatch):
    xp = _xp.numpy_namespace()
    nothing = choice.Choice(None, None, "there is no library")
    monkeypatch.setattr(choice, "chosen", lambda: nothing)
    with kernels.trace() as decisions:
        kernels.run(xp, "relu", np.ones(3))
    assert decisions == [Decision("relu", "generic", (("cpu", "there is no library"),))]


def test_an_operation_that_the_compiled_kernels_lack():
    needs_compiled_kernels()
    with kernels.trace() as decisions:
        kernels.run(_xp.numpy_namespace(), "no such operation")
    assert decisions == [
        Decision("no such operation", None, (("cpu", "has no kernel for no such operation"),))
    ]


def test_a_kernel_may_say_which_way_it_takes(monkeypatch):
    def forward(xp, x):
        kernels.note("backwards")
        return x, None

    pairs = [("set", OpPair(forward, forward))]
    monkeypatch.setattr(kernels.dispatch, "_candidates", lambda *_: pairs)
    monkeypatch.setattr(kernels.dispatch, "_own_set", lambda xp: "set")
    kernels.run(None, "op", 1)
    with kernels.trace() as decisions:
        kernels.run(None, "op", 1)
        del pairs[:]
        kernels.run(None, "op", 1)
    assert [d.notes for d in decisions] == [("backwards",), ()]
