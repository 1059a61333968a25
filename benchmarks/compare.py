"""xpcnn against PyTorch; the same as ``xpcnn bench``, with its files in ``benchmarks/results``.

python benchmarks/compare.py [--quick] [--workloads 'conv*,simple'] [--kernels generic] [--jax]
"""

import sys
from pathlib import Path

from xpcnn.cli import main

if __name__ == "__main__":
    results = Path(__file__).parent / "results" / "compare"
    sys.exit(main(["bench", "--output", str(results), *sys.argv[1:]]))
