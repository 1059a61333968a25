"""Promises that arrays do not change, and what is kept of them."""

from __future__ import annotations

import sys

import numpy as np

from xpcnn.kernels import constant


def test_what_was_made_of_an_array_is_given_up_with_it_and_no_python_code_runs():
    """A Ctrl-C inside the callback of a weak reference would be printed, and lost."""
    array = np.ones(3)
    constant.promise(array)
    for _ in range(3):
        constant.derive(array, "form", lambda: np.zeros(3))
    before, calls = len(constant._promised), []
    sys.setprofile(lambda frame, event, _: calls.append(event) if event == "call" else None)
    del array
    sys.setprofile(None)
    assert not calls
    assert len(constant._promised) == before - 1
