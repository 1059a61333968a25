"""What the estimators have in common: parameters, data, training and the network's outputs."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from xpcnn import layers as nn
from xpcnn import losses, optim
from xpcnn.device import resolve
from xpcnn.errors import DeviceError, choice_error
from xpcnn.sklearn import networks
from xpcnn.sklearn.scaling import measure
from xpcnn.sklearn.weights import Data, counting, of_mean_one, read_weights
from xpcnn.training import Callback, EarlyStopping, Model
from xpcnn.window import as_flag, as_int, as_number

LARGEST_BATCH = 200
"""What ``batch_size="auto"`` is at most, as in scikit-learn's ``MLPClassifier``."""

DTYPES = ("auto", "float32", "float64")
FIXED = ("layers", "input_shape", "standardize", "optimizer", "loss", "device", "dtype")
"""Parameters that decide about the model, and cannot change while it is trained further."""


class CNNEstimator(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """The base of the estimators, which describe the parameters."""

    layers: Any
    input_shape: Any
    standardize: Any
    epochs: Any
    batch_size: Any
    optimizer: Any
    lr: Any
    loss: Any
    tol: Any
    n_iter_no_change: Any
    early_stopping: Any
    validation_fraction: Any
    callbacks: Any
    warm_start: Any
    device: Any
    dtype: Any
    memory: Any
    random_state: Any
    verbose: Any

    # -- What a subclass implements ------------------------------------------------------------

    def _read_targets(self, y: np.ndarray, *, reset: bool) -> np.ndarray:
        """Check the targets, set attributes that follow from them, return those of the network."""
        raise NotImplementedError

    def _outputs(self) -> int:
        """Return how many numbers the network gives for a sample."""
        raise NotImplementedError

    def _make_loss(self) -> losses.Loss:
        """Return a loss of this training's own."""
        raise NotImplementedError

    def _strata(self, targets: np.ndarray) -> np.ndarray | None:
        """Return the class of each sample, where a split is to keep their shares."""
        return None

    def _factors(self, targets: np.ndarray, weights: np.ndarray | None) -> np.ndarray | None:
        """Return what each sample counts in training besides its weight, if anything."""
        return None

    def _measure_targets(self, targets: np.ndarray, weights: np.ndarray | None) -> None:
        """Find out how the targets are to be scaled, if they are."""

    def _scaled(self, targets: np.ndarray) -> np.ndarray:
        """Return targets as the network is to give them."""
        return targets

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    # -- Training ------------------------------------------------------------------------------

    def _fit(self, X: Any, y: Any, sample_weight: Any) -> None:
        reset = not (self.warm_start and hasattr(self, "model_"))
        with _all_or_nothing(self):
            self._check_params()
            self._check_fixed(reset=reset)
            X, targets, weights = self._read(X, y, sample_weight, reset=reset)
            self._train(X, targets, weights, reset=reset)

    def _partial_fit(self, X: Any, y: Any, sample_weight: Any) -> None:
        reset = not hasattr(self, "model_")
        with _all_or_nothing(self):
            self._check_params()
            self._check_fixed(reset=reset)
            if self.early_stopping:
                raise ValueError(
                    f"{self._who}: partial_fit makes one epoch of what it is given and sets "
                    "nothing aside; it takes early_stopping=False"
                )
            X, targets, weights = self._read(X, y, sample_weight, reset=reset)
            self._train(X, targets, weights, reset=reset, once=True)

    def _train(
        self,
        X: np.ndarray,
        targets: np.ndarray,
        weights: np.ndarray | None,
        *,
        reset: bool,
        once: bool = False,
    ) -> None:
        """Make a model unless there is one, and train it."""
        X, targets, weights = counting(X, targets, weights)
        validation: Data | None = None
        seed = self._seed()
        if self.early_stopping and not once:
            (X, targets, weights), validation = self._split((X, targets, weights), seed)
        if reset:
            self._measure_targets(targets, weights)
            self.model_ = self._make_model(X, targets, weights, seed)
            self.loss_curve_: list[float] = []
            self.n_iter_ = 0
        factors = self._factors(targets, weights)
        history = self._run(
            (X, self._scaled(targets), of_mean_one(weights, factors)), validation, once
        )
        losses_ = [float(value) for value in history["loss"]]
        self.loss_curve_ = losses_ if not once else [*self.loss_curve_, *losses_]
        self.n_iter_ = self.n_iter_ + 1 if once else len(losses_)
        self.loss_ = losses_[-1]
        self.best_loss_ = min(self.loss_curve_)
        if validation is not None:
            self.validation_loss_curve_ = [float(value) for value in history["val_loss"]]
            self.best_loss_ = min(self.validation_loss_curve_)
        elif hasattr(self, "validation_loss_curve_"):
            del self.validation_loss_curve_

    def _seed(self) -> int:
        """Draw the seed of a training."""
        try:
            state = check_random_state(self.random_state)
        except ValueError as error:
            raise ValueError(f"{self._who}: random_state: {error}") from error
        return int(state.randint(np.iinfo(np.int32).max))

    def _run(self, data: Data, validation: Data | None, once: bool) -> dict[str, list[float]]:
        X, targets, weights = data
        size = LARGEST_BATCH if self.batch_size == "auto" else self.batch_size
        size = min(int(size), len(X))
        found = [copy.copy(callback) for callback in self.callbacks or ()]
        options: dict[str, Any] = {}
        X = self._for_model(X)
        optimizer = self.model_.optimizer
        if self.lr is not None and optimizer is not None:
            optimizer.lr = self.lr
        if validation is not None:
            own = EarlyStopping(
                "val_loss", self.n_iter_no_change, self.tol or 0.0, restore_best_weights=True
            )
            Xv, yv, wv = validation
            options["validation_data"] = (
                self._for_model(Xv),
                self._scaled(yv),
                of_mean_one(wv, None),
            )
            found.append(own)
        elif self.tol is not None and not once:
            found.append(EarlyStopping("loss", self.n_iter_no_change, self.tol))
        fitted = self.model_.fit(
            X,
            targets,
            sample_weight=weights,
            epochs=1 if once else self.epochs,
            batch_size=size,
            drop_last=size > 1 and len(X) % size == 1,
            callbacks=found,
            memory=self.memory,
            verbose=self.verbose,
            **options,
        )
        self.model_.zero_grad()  # or gradients would be pickled with the estimator
        return fitted.history

    def _split(self, data: Data, seed: int) -> tuple[Data, Data]:
        """Set samples aside to validate with."""
        X, targets, weights = data
        try:
            kept, aside = train_test_split(
                np.arange(len(X)),
                test_size=float(self.validation_fraction),
                random_state=seed,
                stratify=self._strata(targets),
            )
        except ValueError as error:
            raise ValueError(
                f"{self._who}: validation_fraction={self.validation_fraction} of {len(X)} samples "
                f"cannot be set aside for early_stopping: {error}"
            ) from error
        first, second = (
            (X[rows], targets[rows], None if weights is None else weights[rows])
            for rows in (kept, aside)
        )
        return first, second

    # -- Features ------------------------------------------------------------------------------

    def transform(self, X: Any) -> np.ndarray:
        """Return what the network has made of samples in front of its last layer with weights.

        Parameters
        ----------
        X : array (n_samples, n_features), or (n_samples, channels, ...), or a table

        Returns
        -------
        numpy.ndarray (n_samples, n_features_out)
            One row for each sample; a table after ``set_output(transform="pandas")``.
        """
        X, model = self._read_inputs(X), self.model_
        front = copy.deepcopy(networks.front_of(model.network))
        if front:
            X = Model(front, device=model.device, dtype=model.dtype, seed=0).predict(X)
        return X.reshape(len(X), -1)

    @property
    def _n_features_out(self) -> int:
        """How many features :meth:`transform` gives."""
        shape = (1, *self.input_shape_)
        front = networks.front_of(self.model_.network)
        return int(np.prod(nn.Sequential(*front).output_shape(shape) if front else shape))

    # -- The model -----------------------------------------------------------------------------

    def _make_model(
        self, X: np.ndarray, targets: np.ndarray, weights: np.ndarray | None, seed: int
    ) -> Model:
        """Make and build a model, the scaling of inputs included."""
        shape = tuple(int(n) for n in X.shape[1:])
        inside = shape if self.input_shape is None else self._image_shape(shape)
        front: list[nn.Layer] = [] if inside == shape else [nn.Unflatten(1, inside)]
        layers = networks.make(self.layers, inside, self._outputs(), self._who)
        if self.standardize and not nn.Sequential(*layers).takes_integers:
            found = measure(X.reshape(len(X), *inside), weights, f"{self._who}: X")
            self.x_mean_, self.x_scale_ = found
            front.append(nn.Normalize(found.mean, found.scale))
        optimizer = copy.deepcopy(optim.get(self.optimizer))
        optimizer.reset()
        model = Model([*front, *layers], device=self.device, dtype=self._dtype(X), seed=seed)
        model.compile(optimizer, self._make_loss())
        self._build(model, shape)
        return model

    def _build(self, model: Model, shape: tuple[int, ...]) -> None:
        """Build the model for samples of a shape, and check what it gives."""
        outputs = self._outputs()
        try:
            found = model.build((None, *shape))
        except ValueError as error:
            fix = ""
            if len(shape) == 1 and self.input_shape is None:
                fix = "; where rows are images, give input_shape, such as (1, 28, 28)"
            raise ValueError(
                f"{self._who}: the layers do not fit samples of shape {shape}: {error}{fix}"
            ) from error
        given = tuple(found)[1:]
        if len(model.outputs) > 1 or given != (outputs,):
            raise ValueError(
                f"{self._who}: the layers give outputs of shape {given} for each sample, "
                f"and y needs ({outputs},); let them end in Linear(out_features={outputs}), or "
                "give a function of the shape of a sample and the number of outputs as layers"
            )

    def _image_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape into which rows are brought."""
        who, given = self._who, self.input_shape
        if isinstance(given, str) or not hasattr(given, "__iter__"):
            raise TypeError(
                f"{who}: input_shape must be the shape of one sample, such as (1, 28, 28) for "
                f"rows of 784 features, got {given!r}"
            )
        inside = tuple(as_int(n, who, "input_shape", 1) for n in given)
        if len(shape) > 1 and inside != shape:
            raise ValueError(
                f"{who}: input_shape={inside}, but samples have the shape {shape}; it is for rows "
                "(n_samples, n_features), so leave it out"
            )
        if int(np.prod(inside)) != int(np.prod(shape)):
            raise ValueError(
                f"{who}: input_shape={inside} has {int(np.prod(inside))} numbers, and each row of "
                f"X has {shape[0]} features"
            )
        return inside

    def _dtype(self, X: np.ndarray) -> str:
        """Return the dtype that the network computes in."""
        if X.dtype != np.float64:
            return "float32"
        if self.dtype == "auto":
            try:
                resolve(self.device).dtype("float64")
            except DeviceError:
                return "float32"
        return "float64"

    # -- Data ----------------------------------------------------------------------------------

    def _read(self, X: Any, y: Any, sample_weight: Any, *, reset: bool) -> Data:
        """Check what was given, and return inputs, targets and weights as arrays."""
        X, y = validate_data(
            self,
            X,
            y,
            dtype=self._input_dtype(X),
            allow_nd=True,
            multi_output=True,
            y_numeric=self._y_is_numeric,
            reset=reset,
        )
        if reset:
            self.input_shape_ = X.shape[1:]
        self._check_shape(X)
        weights = None
        if sample_weight is not None:
            weights = read_weights(sample_weight, len(X), self._who)
        return X, self._read_targets(y, reset=reset), weights

    _y_is_numeric = False

    def _read_inputs(self, X: Any) -> np.ndarray:
        """Check samples to predict for."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=self._input_dtype(X), allow_nd=True, reset=False)
        self._check_shape(X)
        return self._for_model(X)

    def _for_model(self, X: np.ndarray) -> np.ndarray:
        """Bring samples to the dtype that the model takes."""
        dtype = self.model_.input_dtypes()[0]
        if X.dtype == np.uint8 and "int" not in dtype:
            return X  # the model says what is missing if it does not begin by scaling
        if "int" in dtype and (np.floor(X) != X).any():
            raise ValueError(
                f"{self._who}: the network begins with a layer that takes indices, such as "
                f"Embedding, and X has {X[np.floor(X) != X].flat[0]}"
            )
        return X.astype(dtype, copy=False)

    def _input_dtype(self, X: Any) -> Any:
        """Return the dtype, or the dtypes, that samples are brought to."""
        ndim = X.ndim if hasattr(X, "ndim") else np.asarray(X).ndim
        if ndim > 2 and getattr(X, "dtype", None) == np.uint8:
            return np.uint8  # brought to floats batch by batch
        if self.dtype != "auto":
            return np.dtype(self.dtype)
        images = ndim > 2 or self.input_shape is not None
        return np.float32 if images else [np.float64, np.float32]

    def _check_shape(self, X: np.ndarray) -> None:
        if X.shape[1:] != self.input_shape_:
            raise ValueError(
                f"X has samples of shape {X.shape[1:]}, but {self._who} was fitted on samples of "
                f"shape {self.input_shape_}"
            )

    def _predict(self, X: Any) -> np.ndarray:
        """Return the outputs of the network."""
        X = self._read_inputs(X)
        found: np.ndarray = self.model_.predict(X)
        return found

    # -- Parameters ----------------------------------------------------------------------------

    @property
    def _who(self) -> str:
        return type(self).__name__

    def _check_params(self) -> None:
        """Raise if a parameter is none; those of the model are checked where it is made."""
        who = self._who
        for name in ("standardize", "early_stopping", "warm_start"):
            as_flag(getattr(self, name), who, name)
        as_int(self.epochs, who, "epochs", 1)
        as_int(self.n_iter_no_change, who, "n_iter_no_change", 1)
        if self.batch_size != "auto":
            as_int(self.batch_size, who, "batch_size", 1)
        for name in ("lr", "tol"):
            if getattr(self, name) is not None:
                as_number(getattr(self, name), who, name, 0.0)
        share = as_number(self.validation_fraction, who, "validation_fraction", 0.0, 1.0)
        if not 0.0 < share < 1.0:
            raise ValueError(f"{who}: validation_fraction must lie between 0 and 1, got {share}")
        if self.dtype not in DTYPES:
            raise choice_error(who, "dtype", self.dtype, DTYPES)
        if self.verbose not in ("auto", 0, 1):
            raise ValueError(f"{who}: verbose must be 'auto', 0 or 1, got {self.verbose!r}")
        given = self.callbacks
        if given is not None and not (
            isinstance(given, Sequence) and all(isinstance(each, Callback) for each in given)
        ):
            raise TypeError(f"{who}: callbacks must be a list of Callback, got {given!r}")

    def _check_fixed(self, *, reset: bool) -> None:
        """Raise if a parameter was changed that a model which is trained further cannot follow."""
        if reset:
            self._made_with = {name: getattr(self, name) for name in self._fixed}
            return
        for name in self._fixed:
            now, before = getattr(self, name), self._made_with[name]
            if now is not before and now != before:
                raise ValueError(
                    f"{self._who}: {name} was {before!r} when the model was made, and {now!r} has "
                    "no effect on it; fit with warm_start=False, or fit a clone, to make another"
                )

    _fixed: tuple[str, ...] = FIXED


@contextmanager
def _all_or_nothing(estimator: Any) -> Iterator[None]:
    """Give an estimator its attributes back if what stands in the ``with`` fails."""
    before = dict(vars(estimator))
    try:
        yield
    except BaseException:
        vars(estimator).clear()
        vars(estimator).update(before)
        raise
