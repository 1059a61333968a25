"""The fully connected deep classifier, whose layers hold their own optimizers.

Examples
--------
>>> import numpy as np
>>> from xpcnn.scratch.deep_nn import *
>>> np.random.seed(0)
>>> X, y = np.random.rand(60, 4), np.arange(60) % 2
>>> X[:, 0] += y
>>> layers = [
...     FC(4, 8, HeInitializer(), AdaGrad(0.1), ReLU()),
...     FC(8, 2, SimpleInitializer(0.1), AdaGrad(0.1), Softmax()),
... ]
>>> model = ScratchDeepNeuralNetworkClassifier(layers)
>>> bool(np.mean(model.fit(X, y, n_epoch=20, n_batch=10).predict(X) == y) > 0.9)
True
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import sqrt
from operator import attrgetter
from typing import Any

import numpy as np

from xpcnn import _xp
from xpcnn import functional as F
from xpcnn._xp import Array
from xpcnn.device import Device
from xpcnn.errors import rank_error
from xpcnn.scratch import _layers
from xpcnn.scratch._batches import GetMiniBatch, take_rows
from xpcnn.scratch._layers import ReLU, Sigmoid, Tanh
from xpcnn.scratch._shared import (
    CourseClass,
    as_array,
    as_floats,
    as_number,
    check_finite,
    check_training,
    class_labels,
    move_by,
    one_hot_targets,
)
from xpcnn.scratch._training import Classifier, in_batches
from xpcnn.window import as_int

__all__ = [
    "FC", "SimpleInitializer", "XavierInitializer", "HeInitializer", "Sigmoid", "Tanh", "ReLU",
    "Softmax",
    "SGD", "AdaGrad", "GetMiniBatch",
    "ScratchDeepNeuralNetrowkClassifier", "ScratchDeepNeuralNetworkClassifier",
]  # fmt: skip


class Softmax(_layers.Softmax):
    """exp(x) normalised to sum to one over each row of (N, K).

    ``backward(dZ)`` is the gradient through the function itself, except for what the course
    hands back from its last layer: the difference ``y - t`` of the last output and one-hot
    targets, divided by the size of the batch or not. That belongs to softmax and cross-entropy
    together and comes back as it is. (With a mean squared loss behind a softmax `dZ` looks the
    same; use :class:`xpcnn.Softmax` there.)

    ``backward(x, t)`` is ``(y - t) / N`` for the targets t (integer labels or one-hot rows); its
    first argument is not looked at.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.scratch.deep_nn import Softmax
    >>> Softmax().forward(np.log(np.array([[1.0, 1.0, 2.0]])))
    array([[0.25, 0.25, 0.5 ]])
    """

    takes_mean = False


class SimpleInitializer(CourseClass):
    """Weights from N(0, sigma**2), biases of zero.

    Examples
    --------
    >>> from xpcnn.scratch.deep_nn import SimpleInitializer
    >>> initializer = SimpleInitializer(sigma=0.01)
    >>> initializer.W(4, 3).shape, initializer.B(3)
    ((4, 3), array([0., 0., 0.]))
    """

    def __init__(self, sigma: float = 0.01) -> None:
        self.sigma = as_number(sigma, type(self).__name__, "sigma")

    def W(self, n_nodes1: int, n_nodes2: int) -> np.ndarray:  # noqa: N802
        """Return weights of shape (n_nodes1, n_nodes2)."""
        return self._std(n_nodes1) * np.random.randn(n_nodes1, n_nodes2)

    def B(self, n_nodes2: int) -> np.ndarray:  # noqa: N802
        """Return biases of shape (n_nodes2,)."""
        return np.zeros(n_nodes2)

    b = B

    def _std(self, n_nodes1: int) -> float:
        return self.sigma


class XavierInitializer(SimpleInitializer):
    """Weights from N(0, 1 / n_nodes1), for sigmoid and tanh (Glorot & Bengio, 2010).

    Examples
    --------
    >>> from xpcnn.scratch.deep_nn import XavierInitializer
    >>> bool(0.08 < XavierInitializer().W(100, 100).std() < 0.12)  # about 1 / sqrt(100)
    True
    """

    def __init__(self) -> None:
        super().__init__(1.0)

    def _std(self, n_nodes1: int) -> float:
        return 1.0 / sqrt(n_nodes1)


class HeInitializer(SimpleInitializer):
    """Weights from N(0, 2 / n_nodes1), for ReLU (He et al., 2015).

    Examples
    --------
    >>> from xpcnn.scratch.deep_nn import HeInitializer
    >>> bool(0.08 < HeInitializer().W(200, 100).std() < 0.12)  # about sqrt(2 / 200)
    True
    """

    def __init__(self) -> None:
        super().__init__(1.0)

    def _std(self, n_nodes1: int) -> float:
        return sqrt(2.0 / n_nodes1)


class SGD(CourseClass):
    """Gradient descent on one layer: ``W -= lr * dW; b -= lr * db``.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.scratch.deep_nn import SGD
    >>> from types import SimpleNamespace
    >>> layer = SimpleNamespace(
    ...     W=np.array([1.0]), dW=np.array([2.0]), B=np.array([0.0]), dB=np.array([1.0])
    ... )
    >>> changed = SGD(lr=0.1).update(layer)
    >>> changed.W, changed.B  # 1 - 0.1 * 2, 0 - 0.1 * 1
    (array([0.8]), array([-0.1]))
    """

    def __init__(self, lr: float = 0.01) -> None:
        self.lr = as_number(lr, type(self).__name__, "lr")

    def update(self, layer: Any) -> Any:
        """Change the weights and biases of a layer against their gradients, and return it."""
        for name in ("W", _bias_name(layer)):
            p, g = getattr(layer, name), getattr(layer, f"d{name}")
            setattr(layer, name, move_by(p, g * -self.lr))
        return layer


class AdaGrad(CourseClass):
    """AdaGrad on one layer: ``h += g * g; p -= lr * g / (sqrt(h) + 1e-7)``, for W and for b.

    The sums of squares belong to the layer (``hW``, ``hB``), so one object may serve several; its
    own `hW` and `hb` are those of the layer it changed last.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.scratch.deep_nn import AdaGrad
    >>> from types import SimpleNamespace
    >>> layer = SimpleNamespace(
    ...     W=np.array([1.0]), dW=np.array([2.0]), B=np.array([0.0]), dB=np.array([1.0])
    ... )
    >>> changed = AdaGrad(lr=0.1).update(layer)
    >>> changed.W.round(4), changed.B.round(4)  # 1 - 0.1 * 2 / sqrt(4), 0 - 0.1 * 1 / sqrt(1)
    (array([0.9]), array([-0.1]))
    """

    def __init__(self, lr: float = 0.01) -> None:
        self.lr = as_number(lr, type(self).__name__, "lr")
        self.hW: Array = None
        self.hb: Array = None

    def update(self, layer: Any) -> Any:
        """Change the weights and biases of a layer against their gradients, and return it."""
        for name in ("W", _bias_name(layer)):
            p, g = getattr(layer, name), getattr(layer, f"d{name}")
            xp = _xp.namespace(p)
            h = getattr(layer, f"h{name}", None)
            h = g * g if h is None else move_by(h, g * g)
            setattr(layer, f"h{name}", h)
            setattr(layer, name, move_by(p, g * -self.lr / (xp.sqrt(h) + 1e-7)))
            setattr(self, "hW" if name == "W" else "hb", h)
        return layer


def _bias_name(layer: Any) -> str:
    """Return "B", or "b" for a learner's own layer that has it so."""
    return "B" if hasattr(layer, "B") else "b"


def _second_name(name: str) -> Any:
    """Return a property that is the attribute of another name."""
    return property(attrgetter(name), lambda self, value: setattr(self, name, value))


class FC(CourseClass):
    """A fully connected layer with its activation and its optimizer.

    Parameters
    ----------
    n_nodes1, n_nodes2 : int
        Inputs and outputs.
    initializer : object
        With ``W(n_nodes1, n_nodes2)``, and ``b(n_nodes2)`` or ``B(n_nodes2)``.
    optimizer : object or None
        With ``update(layer)``; `backward` calls it. ``None`` leaves the weights as they are.
    activation : object
        With ``forward(A)`` and ``backward(dZ)``.

    Attributes
    ----------
    W : array of shape (n_nodes1, n_nodes2)
    b, B : array of shape (n_nodes2,)
        One and the same. The first forward moves both to the device and dtype of its input.
    dW, db, dB : array of the shape of `W` and of `b`, or None
        Gradients, after `backward`.
    X : array of shape (N, n_nodes1), or None
        Input of the last forward.

    Raises
    ------
    ValueError
        If an input is not (N, n_nodes1).

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.scratch.deep_nn import FC, ReLU, SimpleInitializer
    >>> layer = FC(2, 1, SimpleInitializer(), optimizer=None, activation=ReLU())
    >>> layer.W = np.array([[1.0], [2.0]])
    >>> layer.forward(np.array([[3.0, 4.0]]))  # 3 * 1 + 4 * 2
    array([[11.]])
    >>> layer.backward(np.array([[10.0]]))
    array([[10., 20.]])
    >>> layer.dW, layer.dB
    (array([[30.], [40.]]), array([10.]))
    """

    def __init__(
        self, n_nodes1: int, n_nodes2: int, initializer: Any, optimizer: Any, activation: Any
    ) -> None:
        self.n_nodes1 = as_int(n_nodes1, "FC", "n_nodes1", 1)
        self.n_nodes2 = as_int(n_nodes2, "FC", "n_nodes2", 1)
        for what, value, methods, example in (
            ("initializer", initializer, ("W",), "HeInitializer()"),
            ("activation", activation, ("forward", "backward"), "ReLU()"),
            ("optimizer", optimizer, ("update",) if optimizer is not None else (), "AdaGrad(0.01)"),
        ):
            if isinstance(value, type) or not all(hasattr(value, name) for name in methods):
                raise TypeError(
                    f"FC: {what} must be an object with {' and '.join(methods)}, such as "
                    f"{example}; got {value!r}"
                )
        self.initializer = initializer
        self.optimizer = optimizer
        self.activation = activation
        self.W: Array = initializer.W(n_nodes1, n_nodes2)
        make_bias = initializer.B if hasattr(initializer, "B") else initializer.b
        self.B: Array = make_bias(n_nodes2)
        self.dW: Array = None
        self.dB: Array = None
        self.X: Array = None
        self._saved: Any = None
        self._placed = False

    b = _second_name("B")
    db = _second_name("dB")

    def forward(self, X: Array) -> Array:
        """Return ``activation(X @ W + B)``: (N, n_nodes1) to (N, n_nodes2)."""
        (X,) = as_floats("FC", X)
        if X.ndim != 2:
            raise rank_error("FC", 2, "(N, n_nodes1)", X.shape)
        if X.shape[1] != self.n_nodes1:
            raise ValueError(
                f"FC: expected {self.n_nodes1} inputs (axis 1), got an input of shape "
                f"{tuple(X.shape)}"
            )
        if not self._placed:
            self._place(X)
        X, w, b = as_floats("FC", X, self.W, self.B)
        self.X = X
        w = _xp.namespace(w).permute_dims(w, (1, 0))
        A, self._saved = F.linear_forward(X, w, b, who="FC")
        return self.activation.forward(A)

    def backward(self, dZ: Array) -> Array:
        """Set `dW` and `dB`, let the optimizer change the weights, return the gradient of X."""
        if self._saved is None:
            raise RuntimeError("FC.backward: there was no forward before it; call forward(X) first")
        return self.backward_linear(self.activation.backward(dZ))

    def backward_linear(self, dA: Array, need_dx: bool = True) -> Array:
        """Do as `backward`, from the gradient of what goes into the activation."""
        xp = _xp.namespace(dA)
        dX, dw, self.dB = F.run_backward(dA, self._saved, need_dx)
        self.dW = xp.permute_dims(dw, (1, 0))
        if self.optimizer is not None:
            self.optimizer.update(self)
        return dX

    def _place(self, X: Array) -> None:
        """Move the weights to where X is, the transposed matrix in one piece.

        The library's gradient comes as the transpose of a contiguous array; weights laid out
        alike are updated in one sweep through memory.
        """
        device, dtype = Device.of(X), _xp.dtype_name(X)
        transposed = np.ascontiguousarray(_xp.to_numpy(self.W).T)
        self.W = device.xp.permute_dims(device.asarray(transposed, dtype), (1, 0))
        self.B = device.asarray(np.array(_xp.to_numpy(self.B)), dtype)
        self._placed = True


class ScratchDeepNeuralNetworkClassifier(Classifier):
    """A classifier of any number of fully connected layers.

    Parameters
    ----------
    layers : sequence of FC, or dict of them
        In order; the last one has a `Softmax`.
    verbose : bool
        Whether to print a line after each epoch.

    Attributes
    ----------
    train_loss_list, train_acc_list : list of float
        One entry for each epoch: the mean over its batches, each taken before its update.
    val_loss_list, val_acc_list : list of float
        The same of the validation data, at the end of each epoch.
    log_loss, log_acc, log_loss_val, log_acc_val
        The same four lists, as the notebook calls them. (The notebook's losses are a mean over
        the classes too, a tenth of these where there are ten.)
    loss, loss_val : float
        Sum of the last epoch's batches, and the last entry of `val_loss_list`.
    true_y, pred_y : numpy.ndarray of shape (N,)
        Classes of the last epoch's samples, right and predicted, in the order they came in.

    Raises
    ------
    ValueError
        If there is no layer, or the last one has no `Softmax`.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.scratch.deep_nn import FC, SGD, SimpleInitializer, Softmax
    >>> from xpcnn.scratch.deep_nn import ScratchDeepNeuralNetworkClassifier
    >>> X, y = np.array([[0.0, 1.0], [1.0, 0.0]] * 10), np.array([1, 0] * 10)
    >>> layer = FC(2, 2, SimpleInitializer(), SGD(lr=1.0), Softmax())
    >>> classifier = ScratchDeepNeuralNetworkClassifier([layer])
    >>> _ = classifier.fit(X, y, n_epoch=20)
    >>> classifier.predict(X[:2])
    array([1, 0])
    """

    def __init__(self, layers: Sequence[FC] | Mapping[Any, FC], verbose: bool = False) -> None:
        if not isinstance(layers, (list, tuple, Mapping)):
            raise TypeError(f"{type(self).__name__}: layers must be a list of FC, got {layers!r}")
        self.layers = list(layers.values()) if isinstance(layers, Mapping) else list(layers)
        names = [type(getattr(layer, "activation", None)).__name__ for layer in self.layers]
        if not names or names[-1] != "Softmax":
            raise ValueError(
                f"{type(self).__name__}: the last layer must have the activation Softmax(), "
                f"got the activations {names}"
            )
        self.verbose = verbose
        self._clear_history()
        self.loss = 0.0
        self.true_y = self.pred_y = np.zeros(0, dtype=np.int64)

    log_loss = property(attrgetter("train_loss_list"))
    log_acc = property(attrgetter("train_acc_list"))
    log_loss_val = property(attrgetter("val_loss_list"))
    log_acc_val = property(attrgetter("val_acc_list"))

    @property
    def loss_val(self) -> float | None:
        return self.val_loss_list[-1] if self.val_loss_list else None

    def fit(
        self,
        X: Array,
        y: Any,
        X_val: Array | None = None,
        y_val: Any = None,
        n_epoch: int = 50,
        n_batch: int = 20,
        lr: float | None = None,
    ) -> ScratchDeepNeuralNetworkClassifier:
        """Train; a further call goes on from where this one ended.

        Parameters
        ----------
        X, X_val : array of shape (N, n_features)
        y, y_val : array
            Integer labels (N,), or one-hot rows (N, K).
        n_epoch, n_batch : int
            Times through the data, and the size of a mini-batch.
        lr : float, optional
            Learning rate for the optimizers of all layers; theirs without it.

        Returns
        -------
        ScratchDeepNeuralNetworkClassifier
            Itself.
        """
        who = type(self).__name__
        (X,) = as_floats(who, X)
        labels = class_labels(y)
        check_training(X, labels, X_val, y_val, who, "X_val")
        n_epoch = as_int(n_epoch, who, "n_epoch", 0)
        n_batch = as_int(n_batch, who, "n_batch", 1)
        if lr is not None:
            as_number(lr, who, "lr")
        blank = np.zeros((len(labels), self.layers[-1].n_nodes2), dtype=_xp.dtype_name(X))
        targets = Device.of(X).asarray(one_hot_targets(blank, labels, who))
        for layer in self.layers if lr is not None else ():
            layer.optimizer.lr = lr

        def epoch(number: int) -> tuple[float, float]:
            return self._epoch(X, targets, n_batch, number)

        self._train(n_epoch, epoch, X_val, y_val)
        return self

    def predict(self, X: Array) -> Array:
        """Return the class of every sample: integers (N,)."""
        probabilities = self.predict_proba(X)
        return _xp.namespace(probabilities).argmax(probabilities, axis=1)

    def predict_proba(self, X: Array) -> Array:
        """Return the probability of every class: (N, K)."""
        return in_batches(self._forward, as_array(X), 1000)

    def evaluate(self, X: Array, y: Any) -> tuple[float, float]:
        """Return the mean cross-entropy and the accuracy on samples and their labels."""
        Z = self.predict_proba(X)
        t = one_hot_targets(Z, class_labels(y), type(self).__name__)
        loss, (true, predicted) = _loss_and_classes(Z, t)
        return loss / Z.shape[0], float(np.mean(true == predicted))

    def _forward(self, X: Array) -> Array:
        for layer in self.layers:
            X = layer.forward(X)
        return X

    def _epoch(self, X: Array, targets: Array, n_batch: int, epoch: int) -> tuple[float, float]:
        loss, right = 0.0, 0
        self.loss, true_y, pred_y = 0.0, [], []
        order = GetMiniBatch(np.arange(X.shape[0]), np.arange(X.shape[0]), n_batch, seed=None)
        for number, rows in enumerate(order, start=1):
            t = take_rows(targets, rows[0])
            Z = self._forward(take_rows(X, rows[0]))
            batch_loss, (true, predicted) = _loss_and_classes(Z, t)
            check_finite(batch_loss, epoch, number, type(self).__name__)
            loss, right = loss + batch_loss, right + int(np.sum(true == predicted))
            self.loss += batch_loss / t.shape[0]
            true_y.append(true)
            pred_y.append(predicted)
            # Softmax and cross-entropy together have this gradient; the mean is taken here, once.
            gradient = (Z - t) / t.shape[0]
            for place in range(len(self.layers) - 1, -1, -1):
                layer = self.layers[place]
                if not isinstance(layer, FC):  # a learner's own
                    gradient = layer.backward(gradient)
                    continue
                if place < len(self.layers) - 1:
                    gradient = layer.activation.backward(gradient)
                gradient = layer.backward_linear(gradient, need_dx=place > 0)
        self.true_y, self.pred_y = np.concatenate(true_y), np.concatenate(pred_y)
        return loss / X.shape[0], right / X.shape[0]


ScratchDeepNeuralNetrowkClassifier = ScratchDeepNeuralNetworkClassifier


def _loss_and_classes(Z: Array, t: Array) -> tuple[float, tuple[np.ndarray, np.ndarray]]:
    """Return the sum of the cross-entropies, and the classes of the targets and of the output."""
    xp = _xp.namespace(Z)
    loss = -xp.sum(t * xp.log(Z + 1e-7), dtype=Z.dtype)
    classes = (_xp.to_numpy(xp.argmax(rows, axis=1)) for rows in (t, Z))
    return float(loss), (next(classes), next(classes))
