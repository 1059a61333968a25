"""The classifier."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import column_or_1d

from xpcnn import functional as F
from xpcnn import losses
from xpcnn.sklearn.base import CNNEstimator
from xpcnn.window import as_number


def _gives_probabilities(estimator: Any) -> bool:
    """Whether the loss says how to make probabilities of the network's outputs."""
    return estimator.loss is None or losses.get(estimator.loss).reads in (
        "logits",
        "probabilities",
        "log_probabilities",
    )


class CNNClassifier(ClassifierMixin, CNNEstimator):
    """A neural network that tells classes of rows, signals or images apart.

    It follows the conventions of scikit-learn, so that pipelines, searches, cross-validation and
    calibration take it.

    Parameters
    ----------
    layers : list of Layer, Layer, Model, str, or function, optional
        The network. Layers are copied for each fit, with the weights that they have; a str is a
        name in :mod:`xpcnn.networks`; a function takes the shape of a sample and the number of
        outputs, and returns layers. Left out, rows get a hidden layer of 100 features, signals,
        images and volumes convolutions of 3 taps with max pooling
        (:func:`xpcnn.sklearn.networks.suited_to`). The last layer gives one number for each class.
    input_shape : tuple of int, optional
        Into which shape rows of `X` are brought, such as ``(1, 28, 28)``.
    standardize : bool
        Whether the model begins with a :class:`~xpcnn.Normalize` layer that brings each feature
        of rows, or each channel, to mean 0 and standard deviation 1 over the training data. A
        network that takes indices gets them as they are.
        :meth:`partial_fit` measures them in its first call, and `warm_start` in its first fit.
    epochs : int
        How often training goes through the data at most; see `tol`.
    batch_size : int or "auto"
        Samples per step; "auto" is 200, or all of them where there are fewer. A last batch of one
        sample is left out, which batch normalisation could not take; the order of the samples is
        another in each epoch.
    optimizer : str or Optimizer
        As in :meth:`xpcnn.Model.compile`. It is copied for each fit.
    lr : float, optional
        Learning rate, in place of the optimizer's own.
    loss : str or Loss, optional
        ``CrossEntropyLoss``, or ``BCEWithLogitsLoss`` where `y` has several labels.
    class_weight : dict of label to weight, or "balanced", optional
        Multiplies the loss of the samples of a class in training; "balanced" gives all classes
        the same sum. Labels that the dict lacks have weight 1.
    tol : float, optional
        Training ends when the loss has not fallen by `tol` for `n_iter_no_change` epochs; ``None``
        trains for all `epochs`.
    n_iter_no_change : int
        See `tol`.
    early_stopping : bool
        Whether to set samples aside and watch their loss in place of the training loss. The
        weights are those of the best epoch then: the last one whose loss was lower by `tol` than
        that of the best epoch before it.
    validation_fraction : float
        Which share of the samples, between 0 and 1, drawn such that classes keep their shares.
    callbacks : list of Callback, optional
        Shallow copies are used in each fit.
    warm_start : bool
        Whether fit goes on with the model of the last one.
    device : str or Device
        As in :class:`xpcnn.Model`.
    dtype : {"auto", "float32", "float64"}
        What the network computes in. With "auto" rows keep theirs, as in scikit-learn, so that
        float64 stays float64 if the device has it; signals and images are float32.
    memory : int or str, optional
        As in :meth:`xpcnn.Model.fit`.
    random_state : int, RandomState or None
        Makes initial weights, the order of samples, dropout and the validation split repeatable.
    verbose : {0, 1, "auto"}
        Whether to show progress.

    Attributes
    ----------
    classes_ : numpy.ndarray
        The labels, sorted. With several labels, their numbers.
    model_ : Model
        The trained model. It takes what the estimator takes, as an array of `model_.dtype`, and
        can be saved by itself.
    n_features_in_ : int
        Number of features; of channels, where samples have more axes.
    feature_names_in_ : numpy.ndarray of str
        Where `X` was a table with names.
    input_shape_ : tuple of int
        Shape of one sample.
    n_iter_ : int
        Epochs of the last fit, or of all calls of :meth:`partial_fit`.
    loss_curve_ : list of float
        The loss after each of them.
    validation_loss_curve_ : list of float
        With `early_stopping`.
    loss_, best_loss_ : float
        The last loss in training, and the lowest one; with `early_stopping`, the validation loss
        of the weights that were kept.
    x_mean_, x_scale_ : numpy.ndarray
        Means and standard deviations of features or channels, with `standardize`.

    Raises
    ------
    ValueError, TypeError
        If a parameter or the data do not fit. The estimator is as before then.

    See Also
    --------
    CNNRegressor : the same for numbers.
    sklearn.neural_network.MLPClassifier : has the same defaults for rows, without scaling.

    Notes
    -----
    Where one batch holds all samples, a weight of 2 is the same as having the sample twice, and
    a weight of 0 as not having it, to rounding. Otherwise that holds in the mean over batches.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from xpcnn.sklearn import CNNClassifier
    >>> X, y = load_digits(return_X_y=True)
    >>> X.shape
    (1797, 64)
    >>> digits = CNNClassifier(input_shape=(1, 8, 8), epochs=10, random_state=0, device="cpu")
    >>> digits.fit(X[:1000], y[:1000]).score(X[1000:], y[1000:]) > 0.9
    True
    """

    def __init__(
        self,
        layers: Any = None,
        *,
        input_shape: Any = None,
        standardize: bool = True,
        epochs: int = 200,
        batch_size: Any = "auto",
        optimizer: Any = "adam",
        lr: Any = None,
        loss: Any = None,
        class_weight: Any = None,
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
        self.epochs = epochs
        self.batch_size = batch_size
        self.optimizer = optimizer
        self.lr = lr
        self.loss = loss
        self.class_weight = class_weight
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
        tags.classifier_tags.multi_label = True
        return tags

    # -- Training ------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> CNNClassifier:
        """Train on samples, with a new model unless `warm_start`.

        Parameters
        ----------
        X : array (n_samples, n_features), or (n_samples, channels, ...), or a table
        y : array (n_samples,), or (n_samples, n_labels) of 0 and 1
            Labels of any kind, or yes or no to each of several.
        sample_weight : array (n_samples,), optional
            Multiplies the loss of each sample; only how they relate to each other counts.

        Returns
        -------
        CNNClassifier
            This estimator.
        """
        self._fit(X, y, sample_weight)
        return self

    def partial_fit(
        self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None
    ) -> CNNClassifier:
        """Train for one epoch on some of the samples.

        Parameters
        ----------
        X, y, sample_weight
            As for :meth:`fit`.
        classes : array, optional
            All labels that will come; needed in the first call.

        Returns
        -------
        CNNClassifier
            This estimator.
        """
        if not hasattr(self, "model_") and classes is None:
            raise ValueError(
                f"{self._who}: the first call of partial_fit needs classes, all labels that will "
                "come, as in classes=numpy.unique(y)"
            )
        self._given_classes = classes
        try:
            self._partial_fit(X, y, sample_weight)
        finally:
            del self._given_classes
        return self

    def _read_targets(self, y: np.ndarray, *, reset: bool) -> np.ndarray:
        check_classification_targets(y)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        multilabel = type_of_target(y, input_name="y").startswith("multilabel")
        if y.ndim == 2 and not multilabel:
            raise ValueError(
                f"{self._who}: y must hold one class for each sample, (n_samples,), or yes or no "
                f"(1 or 0) for each of several labels, (n_samples, n_labels); got {y.shape}"
            )
        given = getattr(self, "_given_classes", None)
        if reset:
            if multilabel:
                self.classes_ = np.arange(y.shape[1])
            else:
                self.classes_ = np.unique(y if given is None else np.asarray(given))
            self._multilabel = multilabel
        elif given is not None and not np.array_equal(np.unique(given), self.classes_):
            raise ValueError(
                f"{self._who}: classes={given!r} is not the same as in the first call of "
                f"partial_fit, {self.classes_.tolist()}; leave it out"
            )
        return self._encoded(y, multilabel)

    def _encoded(self, y: np.ndarray, multilabel: bool) -> np.ndarray:
        """Return the number of each label, or the answers to several."""
        if multilabel != self._multilabel or (multilabel and y.shape[1] != len(self.classes_)):
            raise ValueError(
                f"{self._who}: y of shape {y.shape} does not go with the classes that it was "
                f"fitted on, {self.classes_.tolist()}"
            )
        if multilabel:
            return y.astype(np.float64)
        if len(self.classes_) < 2:
            raise ValueError(
                f"{self._who}: y has one class only, {self.classes_.tolist()[0]!r}, and there is "
                "nothing to tell apart; give samples of at least 2 classes"
            )
        numbers = np.minimum(np.searchsorted(self.classes_, y), len(self.classes_) - 1)
        unknown = self.classes_[numbers] != y
        if unknown.any():
            raise ValueError(
                f"{self._who}: y has the label {y[unknown].tolist()[0]!r}, which is none of the "
                f"classes {self.classes_.tolist()}"
            )
        return numbers.astype(np.int64)

    def _outputs(self) -> int:
        return len(self.classes_)

    def _make_loss(self) -> losses.Loss:
        answers = "columns" if self._multilabel else "classes"
        if self.loss is None:
            return losses.BCEWithLogitsLoss() if self._multilabel else losses.CrossEntropyLoss()
        loss = copy.deepcopy(losses.get(self.loss))
        if loss.answers not in (answers, None) or loss.reads in ("values", "distances"):
            usual = "BCEWithLogitsLoss" if self._multilabel else "CrossEntropyLoss"
            kind = "several labels" if self._multilabel else "one class"
            raise ValueError(
                f"{self._who}: loss={self.loss!r} is not for {kind} of each sample; use {usual}, "
                "or leave it out"
            )
        return loss

    def _strata(self, targets: np.ndarray) -> np.ndarray | None:
        return None if self._multilabel else targets

    def _factors(self, targets: np.ndarray, weights: np.ndarray | None) -> np.ndarray | None:
        """Return the weight of the class of each sample."""
        given, who = self.class_weight, self._who
        if given is None:
            return None
        if self._multilabel:
            raise ValueError(
                f"{who}: class_weight needs one class for each sample, and y has several labels; "
                "use BCEWithLogitsLoss(pos_weight=...) as loss"
            )
        if isinstance(given, str) and given == "balanced":
            present = np.bincount(targets, weights, minlength=len(self.classes_))
            return (present.sum() / present[targets]) / len(self.classes_)
        if not isinstance(given, Mapping):
            raise TypeError(
                f"{who}: class_weight must be 'balanced', a dict such as {{label: weight}}, or "
                f"None; got {given!r}"
            )
        labels = self.classes_.tolist()
        unknown = [label for label in given if label not in labels]
        if unknown:
            raise ValueError(
                f"{who}: class_weight has a weight for {unknown[0]!r}, which is none of the "
                f"classes {labels}"
            )
        table = [as_number(given.get(label, 1.0), who, "class_weight", 0.0) for label in labels]
        factors: np.ndarray = np.asarray(table)[targets]
        if not factors.any():
            raise ValueError(f"{who}: class_weight must not be zero for all classes, got {given!r}")
        return factors

    @property
    def _reads(self) -> str | None:
        """What the outputs of the network are."""
        assert self.model_.loss is not None
        return self.model_.loss.reads

    # -- Prediction ----------------------------------------------------------------------------

    def predict(self, X: Any) -> np.ndarray:
        """Return the most probable class of each sample.

        Parameters
        ----------
        X : array (n_samples, n_features), or (n_samples, channels, ...), or a table

        Returns
        -------
        numpy.ndarray (n_samples,), or (n_samples, n_labels) of 0 and 1
        """
        scores = self._predict(X)
        if self._multilabel:
            half = 0.5 if self._reads == "probabilities" else 0.0
            return (scores > half).astype(np.int64)
        found: np.ndarray = self.classes_[scores.argmax(axis=1)]
        return found

    @available_if(_gives_probabilities)
    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probability of each class, (n_samples, n_classes), or of each label.

        It is there where the loss says how to make probabilities of the outputs.
        """
        scores = self._predict(X)
        if self._reads == "probabilities":
            return scores
        if self._reads == "logits" and self._multilabel:
            return np.asarray(F.sigmoid(scores))
        return np.asarray(F.softmax(scores))

    @available_if(_gives_probabilities)
    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Return the logarithms of what :meth:`predict_proba` returns."""
        return np.log(self.predict_proba(X))

    def decision_function(self, X: Any) -> np.ndarray:
        """Return the outputs of the network, (n_samples, n_classes), before softmax or sigmoid.

        Of two classes there is one number, (n_samples,): by how much the second leads.
        """
        scores = self._predict(X)
        if len(self.classes_) == 2 and not self._multilabel:
            return scores[:, 1] - scores[:, 0]
        return scores
