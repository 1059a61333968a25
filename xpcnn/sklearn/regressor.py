"""The regressor."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from sklearn.base import RegressorMixin

from xpcnn import losses
from xpcnn.sklearn.base import FIXED, CNNEstimator
from xpcnn.sklearn.scaling import measure
from xpcnn.window import as_flag


class CNNRegressor(RegressorMixin, CNNEstimator):
    """A neural network that predicts numbers from rows, signals or images.

    It follows the conventions of scikit-learn, so that pipelines, searches and cross-validation
    take it.

    Parameters
    ----------
    standardize_y : bool
        Whether the network predicts each column of `y` brought to mean 0 and standard deviation 1
        over the training data; what :meth:`predict` returns is brought back.
    loss : str or Loss, optional
        Of values, such as ``HuberLoss``; ``MSELoss`` if left out. It sees standardized targets.
        With ``PoissonNLLLoss``, for counts, the network gives logarithms, and :meth:`predict`
        what they are the logarithms of; it takes ``standardize_y=False``.
    layers, input_shape, standardize, epochs, batch_size, optimizer, lr, tol, n_iter_no_change, \
early_stopping, validation_fraction, callbacks, warm_start, device, dtype, memory, random_state, \
verbose
        As in :class:`CNNClassifier`. The last layer gives one number for each column of `y`.

    Attributes
    ----------
    n_outputs_ : int
        Columns of `y`.
    y_mean_, y_scale_ : numpy.ndarray
        Their means and standard deviations, with `standardize_y`. ``model_.predict(x) * y_scale_
        + y_mean_`` is what :meth:`predict` returns.
    model_, n_features_in_, feature_names_in_, input_shape_, n_iter_, loss_curve_, \
validation_loss_curve_, loss_, best_loss_, x_mean_, x_scale_
        As in :class:`CNNClassifier`.

    Raises
    ------
    ValueError, TypeError
        If a parameter or the data do not fit. The estimator is as before then.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from xpcnn.sklearn import CNNRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = CNNRegressor(epochs=50, random_state=0, device="cpu").fit(X[:300], y[:300])
    >>> model.score(X[300:], y[300:]) > 0.3
    True
    """

    def __init__(
        self,
        layers: Any = None,
        *,
        input_shape: Any = None,
        standardize: bool = True,
        standardize_y: bool = True,
        epochs: int = 200,
        batch_size: Any = "auto",
        optimizer: Any = "adam",
        lr: Any = None,
        loss: Any = None,
        tol: Any = 1e-4,
        n_iter_no_change: int = 10,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        callbacks: Any = None,
        warm_start: bool = False,
        device: Any = "auto",
        dtype: str = "auto",
        memory: Any = None,
        random_state: Any = None,
        verbose: Any = 0,
    ) -> None:
        self.layers = layers
        self.input_shape = input_shape
        self.standardize = standardize
        self.standardize_y = standardize_y
        self.epochs = epochs
        self.batch_size = batch_size
        self.optimizer = optimizer
        self.lr = lr
        self.loss = loss
        self.tol = tol
        self.n_iter_no_change = n_iter_no_change
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.callbacks = callbacks
        self.warm_start = warm_start
        self.device = device
        self.dtype = dtype
        self.memory = memory
        self.random_state = random_state
        self.verbose = verbose

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> CNNRegressor:
        """Train on samples, with a new model unless `warm_start`.

        Parameters
        ----------
        X : array (n_samples, n_features), or (n_samples, channels, ...), or a table
        y : array (n_samples,), or (n_samples, n_outputs)
        sample_weight : array (n_samples,), optional
            Multiplies the loss of each sample; only how they relate to each other counts.

        Returns
        -------
        CNNRegressor
            This estimator.
        """
        self._fit(X, y, sample_weight)
        return self

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> CNNRegressor:
        """Train for one epoch on some of the samples; parameters are those of :meth:`fit`."""
        self._partial_fit(X, y, sample_weight)
        return self

    _y_is_numeric = True
    _fixed = (*FIXED, "standardize_y")

    def _check_params(self) -> None:
        super()._check_params()
        as_flag(self.standardize_y, self._who, "standardize_y")

    def _read_targets(self, y: np.ndarray, *, reset: bool) -> np.ndarray:
        columns = y.reshape(len(y), -1).astype(np.float64)
        if y.ndim > 2:
            raise ValueError(
                f"{self._who}: y must be one number for each sample, (n_samples,), or several, "
                f"(n_samples, n_outputs); got {y.shape}"
            )
        if reset:
            self.n_outputs_ = columns.shape[1]
            self._flat = y.ndim == 1
        elif columns.shape[1] != self.n_outputs_:
            raise ValueError(
                f"{self._who}: y has {columns.shape[1]} outputs, and it was fitted on "
                f"{self.n_outputs_}"
            )
        return columns

    def _measure_targets(self, targets: np.ndarray, weights: np.ndarray | None) -> None:
        if self.standardize_y:
            self.y_mean_, self.y_scale_ = measure(targets, weights, f"{self._who}: y")

    def _scaled(self, targets: np.ndarray) -> np.ndarray:
        if hasattr(self, "y_mean_"):
            targets = (targets - self.y_mean_) / self.y_scale_
        return targets

    def _outputs(self) -> int:
        return int(self.n_outputs_)

    def _make_loss(self) -> losses.Loss:
        if self.loss is None:
            return losses.MSELoss()
        loss = copy.deepcopy(losses.get(self.loss))
        if loss.answers is not None or loss.reads not in ("values", "log_values", None):
            raise ValueError(
                f"{self._who}: loss={self.loss!r} is not for numbers; use MSELoss, L1Loss or "
                "HuberLoss, or leave it out"
            )
        if loss.reads == "log_values" and self.standardize_y:
            raise ValueError(
                f"{self._who}: with loss={self.loss!r} the network gives the logarithms of what it "
                "expects, and y must stay positive; give standardize_y=False"
            )
        return loss

    def predict(self, X: Any) -> np.ndarray:
        """Return what the network expects for each sample, in the shape of the `y` of training.

        Parameters
        ----------
        X : array (n_samples, n_features), or (n_samples, channels, ...), or a table

        Returns
        -------
        numpy.ndarray (n_samples,) or (n_samples, n_outputs)
        """
        found = self._predict(X)
        if self.model_.loss is not None and self.model_.loss.reads == "log_values":
            found = np.exp(found)
        if hasattr(self, "y_mean_"):
            found = (found * self.y_scale_ + self.y_mean_).astype(found.dtype)
        return found[:, 0] if self._flat else found
