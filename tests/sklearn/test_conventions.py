"""What scikit-learn itself checks of an estimator, with an empty list of expected failures."""

from __future__ import annotations

import pytest

pytest.importorskip("sklearn", minversion="1.6")

from sklearn.utils.estimator_checks import check_estimator

from xpcnn.sklearn import CNNClassifier, CNNRegressor

# What scikit-learn skips by itself: it needs SCIPY_ARRAY_API=1 before SciPy is imported.
SKIPPED = {"check_array_api_input"}


@pytest.mark.parametrize("estimator", [CNNClassifier(), CNNRegressor()], ids=str)
def test_all_checks_of_scikit_learn_pass(estimator, capsys):
    results = check_estimator(estimator, on_skip=None, on_fail="raise")
    passed = [r["check_name"] for r in results if r["status"] == "passed"]
    others = {r["check_name"] for r in results if r["status"] != "passed"}
    with capsys.disabled():
        print(f"\n{estimator}: {len(passed)} checks of scikit-learn pass, skipped: {others}")
    assert others <= SKIPPED
    assert len(passed) >= 50
