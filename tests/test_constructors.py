"""Arguments a constructor does not take: the error names the class and what it does take."""

from __future__ import annotations

import importlib
import inspect

import numpy as np
import pytest

import xpcnn
from xpcnn import losses, metrics, operations, optim
from xpcnn._registry import Named
from xpcnn.scratch import conv1d, deep_conv_net, deep_nn, simple_conv_net

COURSES = (conv1d, deep_conv_net, deep_nn, simple_conv_net)
CLASSES = [
    cls
    for module in (xpcnn.layers, losses, metrics, operations, optim, *COURSES)
    for name in module.__all__
    if inspect.isclass(cls := getattr(module, name)) and issubclass(cls, Named)
]
TAKING = [cls for cls in CLASSES if inspect.signature(cls).parameters]


def test_there_are_classes_of_every_kind() -> None:
    assert len(TAKING) > 100
    assert {xpcnn.Conv2d, optim.Adam, losses.MSELoss, deep_nn.FC} <= set(TAKING)


@pytest.mark.parametrize("cls", TAKING, ids=lambda cls: f"{cls.__module__}.{cls.__name__}")
def test_an_argument_that_there_is_not(cls: type) -> None:
    names = list(inspect.signature(cls).parameters)
    if any(p.kind is p.VAR_KEYWORD for p in inspect.signature(cls).parameters.values()):
        pytest.skip("takes any name")
    with pytest.raises(TypeError) as caught:
        cls(zzz=1)
    text = str(caught.value)
    assert text.startswith(f"{cls.__name__}: there is no argument 'zzz'; it takes {names[0]}")
    assert "__init__" not in text


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: xpcnn.Conv2d(1, 8, 3, activation="relu"),
            r"^Conv2d: there is no argument 'activation' \(add a layer after it, such as ReLU",
        ),
        (lambda: xpcnn.Conv2d(filters=3), r"^Conv2d: .*'filters' \(here it is 'out_channels'\)"),
        (lambda: xpcnn.Linear(units=3), r"^Linear: .*'units' \(here it is 'out_features'\)"),
        (lambda: xpcnn.MaxPool2d(), r"^MaxPool2d: missing a required argument: 'kernel_size'"),
        (lambda: optim.Adam(learning_rate=1.0), r"^Adam: .*'learning_rate' \(here it is 'lr'\)"),
        (lambda: optim.SGD(0.1, momentun=0.9), r"^SGD: .*'momentun' \(here it is 'momentum'\)"),
        (lambda: xpcnn.Conv2d(1, 8, 3, out_channels=4), "^Conv2d: multiple values for argument"),
        (lambda: xpcnn.Model(layer=[]), r"^Model: .*'layer' \(here it is 'layers'\)"),
        (lambda: xpcnn.Sequential(xpcnn.Conv2d(1, 2, kernel=3)), "^Conv2d: .*'kernel'"),
        (lambda: deep_conv_net.MaxPooling(2), "^MaxPooling: missing a required argument: 'pool_w'"),
        (lambda: simple_conv_net.Convolution(1, 2, 3, 4, 5), "^Convolution: too many positional"),
    ],
)
def test_what_was_meant(make, message: str) -> None:
    with pytest.raises(TypeError, match=message) as caught:
        make()
    assert caught.value.__suppress_context__  # the message of Python itself would confuse


class Inner(xpcnn.Linear):
    def __init__(self, width: int) -> None:
        super().__init__(width, 2)
        if width > 5:
            raise TypeError("too wide")
        if width > 4:
            optim.SGD(rate=1)


class Outside(xpcnn.Conv2d):
    def __init__(self) -> None:
        super().__init__(1, 2, 3, activation="relu")  # type: ignore[call-arg]


def test_other_errors_stay_what_they_are() -> None:
    with pytest.raises(TypeError, match="^too wide$"):
        Inner(6)
    with pytest.raises(TypeError, match="^SGD: there is no argument 'rate'"):
        Inner(5)
    with pytest.raises(TypeError, match="^Inner: there is no argument 'wide'.*it takes width$"):
        Inner(wide=3)
    with pytest.raises(TypeError, match="^Conv2d: there is no argument 'activation'"):
        Outside()
    assert list(inspect.signature(Inner).parameters) == ["width"]
    assert inspect.signature(xpcnn.Conv2d).parameters["stride"].default == 1


def small(cls: type) -> object:
    if cls in (deep_conv_net.Convolution, deep_conv_net.Affine, conv1d.Conv1d):
        return cls(np.ones((2, 3, 3)), np.zeros(2))
    return cls()


@pytest.mark.parametrize("module", COURSES, ids=lambda module: module.__name__)
def test_classes_of_the_courses_say_what_they_are(module) -> None:
    module = importlib.import_module(module.__name__)
    for name in module.__all__:
        cls = getattr(module, name)
        if inspect.isclass(cls):
            try:
                text = repr(small(cls))
            except TypeError:  # it takes other arguments
                continue
            assert text.startswith(f"{cls.__name__}(")
            assert " at 0x" not in text
    fc = deep_nn.FC(2, 3, deep_nn.HeInitializer(), deep_nn.SGD(0.1), deep_nn.ReLU())
    assert repr(fc) == (
        "FC(n_nodes1=2, n_nodes2=3, initializer=HeInitializer(), optimizer=SGD(lr=0.1), "
        "activation=ReLU())"
    )
    conv = conv1d.Conv1d(np.ones((2, 3, 3)), np.zeros(2), pad=1)
    assert repr(conv) == "Conv1d(W=array (2, 3, 3), b=array (2,), pad=1)"


def test_layers_show_what_differs_from_the_defaults() -> None:
    assert repr(xpcnn.Conv2d(1, 4, 3)) == (
        "Conv2d(in_channels=1, out_channels=4, kernel_size=(3, 3))"
    )
    assert repr(xpcnn.Conv2d(1, 4, 3, stride=2)).endswith("stride=(2, 2))")
