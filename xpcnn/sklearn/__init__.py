"""Estimators of scikit-learn: networks for pipelines, grid searches and cross-validation.

:class:`CNNClassifier` and :class:`CNNRegressor` take rows, signals or images, choose a network for
them or train one of yours, and follow all conventions of scikit-learn. This module needs it:
``pip install "xpcnn[sklearn]"``.
"""

try:
    from sklearn.utils.validation import validate_data as _validate_data  # noqa: F401
except ImportError as _error:
    raise ImportError(
        "xpcnn.sklearn needs scikit-learn 1.6 or newer; run: pip install 'scikit-learn>=1.6' "
        f"({_error})"
    ) from _error

from xpcnn.sklearn.classifier import CNNClassifier
from xpcnn.sklearn.regressor import CNNRegressor

__all__ = ["CNNClassifier", "CNNRegressor"]
