#!/usr/bin/env bash
# Style, imports and types. Needs ruff and mypy on the path: pip install -e ".[dev]"
set -euo pipefail
cd "$(dirname "$0")/.."
python -m ruff check .
python -m ruff format --check .
python -m mypy
