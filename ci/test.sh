#!/usr/bin/env bash
# The whole test suite, doctests included. Needs: pip install -e ".[test]"
# Arguments go on to pytest, e.g. ci/test.sh tests/data, or --run-slow.
set -euo pipefail
cd "$(dirname "$0")/.."
# One process per core, so one thread in each: more only fight with one another.
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1
exec python -m pytest -n auto "$@"
