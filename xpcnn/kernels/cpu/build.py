"""Compile the kernels: ``python -m xpcnn.kernels.cpu.build``; see :mod:`.native.build`."""

from __future__ import annotations

import sys

from xpcnn.kernels.native.build import main

if __name__ == "__main__":
    sys.exit(main())
