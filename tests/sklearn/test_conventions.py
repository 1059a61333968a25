"""What scikit-learn itself checks of an estimator, with no failure expected and none skipped."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import xpcnn

pytest.importorskip("sklearn", minversion="1.6")
pytest.importorskip("pandas")  # without it scikit-learn skips some checks

CHECK = """
from collections import Counter
from sklearn.utils.estimator_checks import check_estimator
from xpcnn.sklearn import {name}
results = check_estimator({name}(), on_skip=None, on_fail="raise", expected_failed_checks={{}})
skipped = [result["check_name"] for result in results if result["status"] == "skipped"]
print(len(results), dict(Counter(result["status"] for result in results)), skipped)
"""


@pytest.mark.parametrize("name", ["CNNClassifier", "CNNRegressor"])
def test_all_checks_of_scikit_learn_pass(name, capsys):
    # SciPy reads the variable when it is imported; without it scikit-learn skips a check.
    root = str(Path(xpcnn.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", CHECK.format(name=name)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": root, "SCIPY_ARRAY_API": "1"},
    )
    assert done.returncode == 0, done.stderr[-4000:]
    with capsys.disabled():
        print(f"\n{name}: checks of scikit-learn: {done.stdout.strip()}")
    count, rest = done.stdout.split(maxsplit=1)
    assert int(count) >= 50
    assert rest.strip() == f"{{'passed': {count}}} []"
