"""The classifier of the one-dimensional sprint; public through ``conv1d``."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from xpcnn import _xp
from xpcnn._xp import Array
from xpcnn.device import Device
from xpcnn.scratch._batches import GetMiniBatch
from xpcnn.scratch._conv1d import Conv1d, MaxPooling1D, get_output_size
from xpcnn.scratch._layers import Affine, Flatten, ReLU, Softmax
from xpcnn.scratch._losses import SoftmaxWithLoss
from xpcnn.scratch._network import Layers, Network, check_param, check_pool_param
from xpcnn.scratch._optimizers import SGD, AdaGrad, Adam, make_optimizer
from xpcnn.scratch._shared import (
    as_array,
    as_floats,
    as_number,
    check_finite,
    check_training,
    class_labels,
    count_correct,
)
from xpcnn.scratch._training import Classifier, in_batches
from xpcnn.window import as_int

OPTIMIZERS = {"sgd": SGD, "adagrad": AdaGrad, "adam": Adam}


class Net1d(Network):
    """Convolution, ReLU, max pooling, then affine layers with ReLU between them."""

    who = "Scratch1dCNNClassifier"

    def __init__(
        self,
        input_shape: Sequence[int],
        conv: Mapping[str, Any],
        pool: Mapping[str, Any],
        nodes: Sequence[int],
        weight_init_std: float,
        device: Device,
        dtype: str,
    ) -> None:
        super().__init__(device, dtype, input_shape, "(N, C, L)")
        self.weight_init_std = weight_init_std
        channels, length = self._input_shape
        filters, filter_size = conv["filter_num"], conv["filter_size"]
        length = get_output_size(length, filter_size, conv["stride"], conv["pad"])
        length = get_output_size(length, pool["pool_size"], pool["stride"], pool["pad"])
        shape = (filters, channels, filter_size)
        self.layers = Layers(
            Conv1=self._weighted(Conv1d, 1, weight_init_std, shape, conv["stride"], conv["pad"]),
            ReLU1=ReLU(),
            Pool1=MaxPooling1D(pool["pool_size"], pool["stride"], pool["pad"]),
            Flatten1=Flatten(),
        )
        widths = (filters * length, *nodes)
        for number, pair in enumerate(pairwise(widths), start=1):
            if number > 1:
                self.layers[f"ReLU{number}"] = ReLU()
            affine = self._weighted(Affine, number + 1, weight_init_std, pair)
            self.layers[f"Affine{number}"] = affine
        self.last_layer = SoftmaxWithLoss()


class Scratch1dCNNClassifier(Classifier):
    """A classifier of signals: one convolution, max pooling and fully connected layers.

    Parameters
    ----------
    conv_param : dict
        ``n_filters`` or ``filter_num`` (30), ``filter_size`` (3), ``pad`` (0) and ``stride`` (1).
    pool_param : dict
        ``pool_size`` (2), ``pad`` (0) and ``stride`` (as `pool_size`).
    n_epochs, batch_size : int
    optimizer : {"sgd", "adagrad", "adam"}, class or object
        Anything with ``update(params, grads)``.
    optimizer_param : dict
        Arguments of the optimizer; ``{"lr": 0.001}`` for one that is given by its name.
    layer_nodes : int, sequence of int or dict
        Widths of the fully connected layers. One output for each class is added, unless the last
        number is that already. ``{"hidden": 100, "output": 10}`` gives both widths.
    weight_init_std : float
        Standard deviation of the initial weights; biases start from zero.
    verbose : bool
        Whether to print a line after each epoch.

    Attributes
    ----------
    train_loss_list, train_acc_list : list of float
        One entry for each epoch: the mean over its batches, each taken before its update.
    val_loss_list, val_acc_list : list of float
        The same of the validation data, at the end of each epoch.
    params : dict of str to array
        ``W1``, ``b1`` (convolution), ``W2``, ``b2``, ... (affine), once `fit` was called.
    grads : dict of str to array
        Gradients of the last batch.
    x_train, y_train, x_val, y_val, n_train_samples
        What `fit` was given.
    layers : dict of str to layer
        ``Conv1``, ``ReLU1``, ``Pool1``, ``Flatten1``, ``Affine1``, ``ReLU2``, ``Affine2``, and
        ``Last``, which is the softmax.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.scratch.conv1d import Scratch1dCNNClassifier
    >>> np.random.seed(0)
    >>> x = np.random.rand(40, 1, 20)
    >>> y = (x[:, 0, :10].mean(axis=1) > x[:, 0, 10:].mean(axis=1)).astype(int)
    >>> model = Scratch1dCNNClassifier(
    ...     conv_param={"n_filters": 4}, batch_size=10, layer_nodes=8, verbose=False
    ... )
    >>> model.fit(x, y).predict(x).shape
    (40,)
    """

    def __init__(
        self,
        conv_param: Mapping[str, Any] | None = None,
        pool_param: Mapping[str, Any] | None = None,
        n_epochs: int = 5,
        batch_size: int = 100,
        optimizer: Any = "adam",
        optimizer_param: Mapping[str, Any] | None = None,
        layer_nodes: int | Sequence[int] | Mapping[str, int] = 100,
        weight_init_std: float = 0.01,
        verbose: bool = True,
    ) -> None:
        who = type(self).__name__
        conv = {"filter_num": 30, "filter_size": 3, "pad": 0, "stride": 1}
        self.conv_param = check_param(conv_param, conv, f"{who} conv_param")
        self.pool_param = check_pool_param(pool_param, f"{who} pool_param")
        self.n_epochs = as_int(n_epochs, who, "n_epochs", 0)
        self.batch_size = as_int(batch_size, who, "batch_size", 1)
        if optimizer_param is None and isinstance(optimizer, str):
            optimizer_param = {"lr": 0.001}
        self.optimizer = make_optimizer(optimizer, optimizer_param, OPTIMIZERS, who)
        self.layer_nodes = _check_nodes(layer_nodes, who)
        self.weight_init_std = as_number(weight_init_std, who, "weight_init_std")
        self.verbose = verbose
        self.network: Net1d | None = None
        self.x_train: Array = None
        self.y_train: Any = None
        self.x_val: Array | None = None
        self.y_val: Any = None
        self.n_train_samples = 0
        self.params: dict[str, Array] = {}
        self.grads: dict[str, Array] = {}
        self.layers = Layers()
        self._clear_history()

    def fit(
        self, x_train: Array, y_train: Any, x_val: Array | None = None, y_val: Any = None
    ) -> Scratch1dCNNClassifier:
        """Train from new weights.

        Parameters
        ----------
        x_train, x_val : array of shape (N, C, L), or (N, L) for one channel
        y_train, y_val : array
            Integer labels (N,), or one-hot rows (N, K).

        Returns
        -------
        Scratch1dCNNClassifier
            Itself.
        """
        who = type(self).__name__
        x_train, labels = _signals(x_train), class_labels(y_train)
        check_training(x_train, labels, x_val, y_val, who)
        width = as_array(y_train).shape[-1] if as_array(y_train).ndim == 2 else 0
        n_classes = max(int(labels.max()) + 1, width)
        network = Net1d(
            x_train.shape[1:],
            self.conv_param,
            self.pool_param,
            self._nodes(n_classes),
            self.weight_init_std,
            Device.of(x_train),
            _xp.dtype_name(x_train),
        )
        self.x_train, self.y_train, self.x_val, self.y_val = x_train, y_train, x_val, y_val
        self.n_train_samples = x_train.shape[0]
        self.network, self.params = network, network.params
        self.layers = Layers(network.layers, Last=Softmax())
        optimizer = copy.deepcopy(self.optimizer)
        self._clear_history()

        def epoch(number: int) -> tuple[float, float]:
            return self._epoch(network, optimizer, x_train, labels, number)

        self._train(self.n_epochs, epoch, x_val, y_val)
        return self

    def predict(self, x: Array) -> Array:
        """Return the class of every signal: integers (N,)."""
        scores = self.decision_function(x)
        return _xp.namespace(scores).argmax(scores, axis=1)

    def decision_function(self, x: Array) -> Array:
        """Return the scores before the softmax: (N, K)."""
        network = self._fitted("decision_function")
        return in_batches(network.predict, _signals(x), self.batch_size)

    def evaluate(self, x: Array, y: Any) -> tuple[float, float]:
        """Return the mean loss and the accuracy on signals and their labels."""
        scores, labels = self.decision_function(x), class_labels(y)
        loss = SoftmaxWithLoss().forward(scores, labels)
        return float(loss), count_correct(scores, labels) / scores.shape[0]

    def _epoch(
        self, network: Net1d, optimizer: Any, x: Array, labels: np.ndarray, epoch: int
    ) -> tuple[float, float]:
        loss, right = 0.0, 0
        batches = GetMiniBatch(x, labels, self.batch_size, seed=None)
        for number, (x_batch, t_batch) in enumerate(batches, start=1):
            grads = self.grads = network.gradient(x_batch, t_batch)
            mean = float(network.last_layer.loss)
            check_finite(mean, epoch, number, type(self).__name__)
            loss += mean * len(t_batch)
            right += count_correct(network.last_layer.y, t_batch)
            optimizer.update(network.params, grads)
        return loss / len(labels), right / len(labels)

    def _nodes(self, n_classes: int) -> tuple[int, ...]:
        """Return the widths of all affine layers, for so many classes."""
        nodes = self.layer_nodes
        if not isinstance(nodes, Mapping):
            return nodes if nodes and nodes[-1] == n_classes else (*nodes, n_classes)
        output = nodes.get("output", n_classes)
        if output < n_classes:
            raise ValueError(
                f"{type(self).__name__}: layer_nodes has 'output': {output}, but the labels are of "
                f"{n_classes} classes; give 'output': {n_classes}"
            )
        return (nodes["hidden"], output)

    def _fitted(self, method: str) -> Net1d:
        if self.network is None:
            raise RuntimeError(f"{type(self).__name__}.{method}: call fit(x_train, y_train) first")
        return self.network


def _check_nodes(nodes: Any, who: str) -> tuple[int, ...] | dict[str, int]:
    """Return ``layer_nodes`` with checked numbers: a dict as a dict, all else as a tuple."""
    if isinstance(nodes, Mapping):
        if "hidden" not in nodes or not set(nodes) <= {"hidden", "output"}:
            raise ValueError(
                f"{who}: layer_nodes as a dict has the keys 'hidden' and 'output', such as "
                f"{{'hidden': 100, 'output': 10}}; got {dict(nodes)!r}"
            )
        return {key: as_int(n, who, f"layer_nodes[{key!r}]", 1) for key, n in nodes.items()}
    several = nodes if isinstance(nodes, (list, tuple)) else (nodes,)
    return tuple(as_int(n, who, "layer_nodes", 1) for n in several)


def _signals(x: Any) -> Array:
    """Return signals as floats of shape (N, C, L)."""
    x = as_array(x)
    if x.ndim == 2:
        x = x[:, None, :]
    if x.ndim != 3:
        raise ValueError(
            f"Scratch1dCNNClassifier: expected signals (N, C, L) or (N, L), got shape "
            f"{tuple(x.shape)}; reshape images with x.reshape(len(x), 1, -1)"
        )
    return as_floats("Scratch1dCNNClassifier", x)[0]
