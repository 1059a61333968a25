"""Classes that do what no layer should: each gives a report that can be read, or an error."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import xpcnn
from tests.grading.courses import SoftmaxWithLoss


class Affine:
    """A right one, which the others break."""

    def __init__(self, W: Any, b: Any) -> None:
        self.W, self.b = W, b

    def forward(self, x: Any) -> Any:
        self.x = x
        return x @ self.W + self.b

    def backward(self, dout: Any) -> Any:
        self.dW, self.db = self.x.T @ dout, dout.sum(axis=0)
        return dout @ self.W.T


class Lists(Affine):
    def forward(self, x: Any) -> Any:
        return super().forward(x).tolist()

    def backward(self, dout: Any) -> Any:
        dx = super().backward(dout).tolist()
        self.dW, self.db = self.dW.tolist(), self.db.tolist()
        return dx


class Talks(Affine):
    def forward(self, x: Any) -> Any:
        print("shape of x:", x.shape)
        return super().forward(x)


class KeepsDx(Affine):
    def backward(self, dout: Any) -> None:
        self.dx = super().backward(dout)


class ReturnsNone(Affine):
    def forward(self, x: Any) -> None:
        self.x = x


class Ragged(Affine):
    def forward(self, x: Any) -> Any:
        return [[1.0, 2.0], [3.0]]


class Complex(Affine):
    def forward(self, x: Any) -> Any:
        return super().forward(x) * 1j


class BackwardOfNothing(Affine):
    def backward(self, dout: Any) -> None:
        dout @ self.W.T


class NotANumber(Affine):
    def forward(self, x: Any) -> Any:
        return super().forward(x) * np.nan


class NoForward:
    def __init__(self, W: Any, b: Any) -> None:
        self.W, self.b = W, b


class FailsWhenMade:
    def __init__(self, W: Any, b: Any) -> None:
        raise RuntimeError("not written yet")


class Exits(Affine):
    def forward(self, x: Any) -> Any:
        raise SystemExit(3)


class IntegerOutput(Affine):
    """The output array is like x, so that integers cut the results off."""

    def forward(self, x: Any) -> Any:
        self.x = x
        out = np.zeros((len(x), self.W.shape[1])).astype(x.dtype)
        out[:] = x @ self.W + self.b
        return out


@pytest.mark.parametrize("theirs", [Affine, Lists, Talks, KeepsDx])
def test_odd_but_right(theirs: type, capsys: pytest.CaptureFixture[str]) -> None:
    report = xpcnn.check(theirs, like="linear")
    assert report.passed, report.text
    states = {check.name: check.state for check in report.checks}
    assert [states[name] for name in ("dx", "dW", "db")] == ["right"] * 3
    assert capsys.readouterr().out == ""


def test_what_is_printed_is_counted() -> None:
    for lang, told in (("en", "is left out here"), ("ja", "省いています")):
        note = xpcnn.check(Talks, like="linear", lang=lang).checks[-1]
        assert note.state == "note"
        assert told in note.message


@pytest.mark.parametrize("lang", ["en", "ja"])
@pytest.mark.parametrize(
    ("theirs", "told"),
    [
        (ReturnsNone, "NoneType"), (Ragged, "list"), (Complex, "complex128"),
        (BackwardOfNothing, "self.dx"), (NotANumber, "nan"), (NoForward, "forward(x)"),
        (FailsWhenMade, "RuntimeError: not written yet"), (Exits, "SystemExit: 3"),
    ],
)  # fmt: skip
def test_odd_and_wrong(theirs: type, told: str, lang: str) -> None:
    report = xpcnn.check(theirs, like="linear", lang=lang)
    assert not report.passed
    wrong = [check.message for check in report.checks if check.state == "wrong"]
    assert len(wrong) == 1
    assert told in wrong[0]
    assert report.mistakes == []


def test_integers_that_are_cut_off() -> None:
    assert xpcnn.check(IntegerOutput, like="linear").mistakes == ["integers_cut_off"]


@pytest.mark.parametrize(
    "name", ["Linear", "linear", "LINEAR", "Dense", "affine", "FC", xpcnn.Linear]
)
def test_names_of_a_linear_layer(name: Any) -> None:
    assert xpcnn.check(Affine, like=name).passed


@pytest.mark.parametrize(
    "name", ["Conv2D", "conv_2d", "Convolution2D", "conv-2d", "MaxPooling2D", "AveragePooling2D"]
)
def test_names_of_other_libraries_are_known(name: str) -> None:
    """A linear layer is none of these, which a report says; the name itself is no error."""
    assert not xpcnn.check(Affine, like=name).passed


def test_likes_that_there_are_none_of() -> None:
    with pytest.raises(ValueError, match=r"like must be one of 'conv1d'.*'adamw'.*got 'nadam'"):
        xpcnn.check(Affine, like="nadam")
    for like in (3, None, [xpcnn.Linear]):
        with pytest.raises(TypeError, match="like must be a layer, loss or optimizer of xpcnn"):
            xpcnn.check(Affine, like=like)
    with pytest.raises(TypeError, match=r"<lambda> is a function of tests\.grading"):
        xpcnn.check(Affine, like=lambda x: x)


def test_a_forgotten_return_and_a_forgotten_self_are_pointed_out():
    class NoReturn:
        def forward(self, x):
            self.out = x * (x > 0)

    class NoSelf:
        def forward(x):  # noqa: N805 - that is the mistake
            return x * (x > 0)

    class TooMany:
        def forward(self, x, mask):
            return x * mask

    assert "; is there a return at its end?" in xpcnn.check(NoReturn, like="relu").text
    hint = "the first argument of a method is self"
    assert f"{hint}: def forward(self, ...)" in xpcnn.check(NoSelf, like="relu").text
    assert hint not in xpcnn.check(TooMany, like="relu").text


def test_objects_that_hold_a_module_are_copied() -> None:
    class Loss(SoftmaxWithLoss):
        def __init__(self):
            self.xp = np

    class Descent:
        def __init__(self, lr=0.1):
            self.lr, self.xp = lr, np

        def update(self, params, grads):
            for key in params:
                params[key] -= self.lr * grads[key]

    assert xpcnn.check(Loss(), like="cross_entropy").passed
    assert xpcnn.check(Descent(), like="sgd").passed
