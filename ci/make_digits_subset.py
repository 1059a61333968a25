"""Make the handwritten digits inside the package from the four original MNIST files.

Run it from the root of the repository with a folder that has the IDX files (gz or not):

    python ci/make_digits_subset.py FOLDER            # write xpcnn/data/files
    python ci/make_digits_subset.py FOLDER --check    # compare what is there with the originals

The originals are checked by SHA-256 first. The pixels and labels written follow from them alone;
the compressed bytes too, for one version of zlib.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from xpcnn.data.datasets import FILES, find_file
from xpcnn.data.idx import read_idx, write_idx

TARGET = Path(__file__).parents[1] / "xpcnn" / "data" / "files"
TRAIN, TEST = 5000, 1000


def checked(path: Path, sha256: str) -> np.ndarray:
    """Read an original file, or stop if it is not the original."""
    array = read_idx(path)
    code_and_shape = bytes([0, 0, 0x08, array.ndim]) + np.asarray(array.shape, ">u4").tobytes()
    if hashlib.sha256(code_and_shape + array.tobytes()).hexdigest() != sha256:
        sys.exit(f"{path} is not the original file (SHA-256 expected {sha256})")
    return array


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder with the four original IDX files")
    parser.add_argument("--check", action="store_true", help="compare, and write nothing")
    args = parser.parse_args()
    for file in FILES:
        source = find_file(args.folder, file)
        if source is None:
            sys.exit(f"{args.folder} has no {file.name} and no {file.name}.gz")
        original = checked(source, file.sha256)
        part = original[: TRAIN if file.name.startswith("train") else TEST]
        target = TARGET / f"{file.name}.gz"
        if args.check:
            if not np.array_equal(read_idx(target), part):
                sys.exit(f"{target} differs from the originals")
        else:
            write_idx(target, part)
        print(f"{target.name}: {part.shape}, {target.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
