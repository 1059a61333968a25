"""What tests of the compiled kernels begin with."""

import numpy as np
import pytest

from xpcnn import kernels


def needs_compiled_kernels():
    """Skip the tests of a module where there are no compiled kernels."""
    reason = kernels.why_not_compiled(np)
    if reason is not None:
        pytest.skip(f"no compiled kernels: {reason}", allow_module_level=True)
