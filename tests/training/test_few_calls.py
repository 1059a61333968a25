"""How much Python stands between a network and its matrix products.

Calls of Python functions are counted, which do not depend on the machine, and no time is taken.
"""

import sys

import numpy as np
import pytest

import xpcnn
from xpcnn import kernels

MOST = {"predict": 1500, "train_on_batch": 7659}
"""For ResNet-18 and images of 64 x 64; half of a step's calls before there was one executor."""


@pytest.fixture(scope="module")
def model():
    made = xpcnn.Model(xpcnn.zoo.resnet18(), device="cpu", seed=0)
    made.compile("sgd", "cross_entropy")
    return made


def calls(run):
    """Count the calls of Python functions in one run, behind two that are not counted."""
    count = 0

    def note(frame, event, argument):
        nonlocal count
        count += event == "call"

    with kernels.force("generic"):
        run()
        run()
        before = sys.getprofile()
        sys.setprofile(note)
        try:
            run()
        finally:
            sys.setprofile(before)
    return count


@pytest.mark.parametrize("what", MOST)
def test_python_calls(model, what):
    x = np.zeros((2, 3, 64, 64), np.float32)
    y = np.array([3, 4])
    run = {
        "predict": lambda: model.predict(x[:1]),
        "train_on_batch": lambda: model.train_on_batch(x, y),
    }[what]
    assert calls(run) <= MOST[what]
