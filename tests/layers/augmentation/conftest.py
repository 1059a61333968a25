"""The array libraries that tests by hand run on."""

from __future__ import annotations

import pytest

from tests.layers.augmentation.drawing import not_on_jax

ON_JAX_TOO = {"test_other_dtypes"}  # of what has no case in the conformance test


@pytest.fixture
def device(device, request):
    """Every device, but for JAX where the conformance test runs the same layers on it."""
    if request.function.__name__ not in ON_JAX_TOO:
        not_on_jax(device)
    return device
