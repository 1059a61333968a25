"""The random generators that whole processes share."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the generators that code of a user may draw from, in a ``with``.

    Those are Python's, NumPy's, and PyTorch's if somebody has imported it; afterwards they are as
    they were before.

    Parameters
    ----------
    seed : int
        From 0 up to 2**32 - 1.
    """
    torch = sys.modules.get("torch")
    before = random.getstate(), np.random.get_state()
    state = None if torch is None else torch.get_rng_state()
    random.seed(seed)
    np.random.seed(seed)
    if torch is not None:
        torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        if torch is not None:
            torch.set_rng_state(state)
