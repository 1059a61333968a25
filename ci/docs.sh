#!/usr/bin/env bash
# Builds the documentation site into build/docs, without the network, and checks its links.
# Needs: pip install -e ".[docs]"
# Warnings are errors. Arguments go on to sphinx-build, e.g. -E to begin anew.
set -euo pipefail
cd "$(dirname "$0")/.."
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 XPCNN_QUIET=1
python -m sphinx -b html -W --keep-going "$@" docs build/docs
python ci/site_links.py build/docs
