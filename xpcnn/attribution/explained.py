"""A model whose prediction is explained: its checks, and how it runs batch by batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from xpcnn import _xp
from xpcnn.attribution.scores import before_probabilities
from xpcnn.attribution.targets import Place, Targets, ones_at, scores_at
from xpcnn.graph import Program
from xpcnn.kernels.threads import release_blas
from xpcnn.layers import Layer
from xpcnn.layers.inference import Watch, undisturbed, watch
from xpcnn.training import Model
from xpcnn.training.data_adapter import one_each
from xpcnn.training.oom import MemoryGuard
from xpcnn.window import as_flag, as_int

USUAL_BATCH = 32


class Options(NamedTuple):
    """The arguments that all methods have in common, as users give them."""

    output: str | None
    probabilities: bool
    batch_size: int | None


class Explained:
    """A model, inputs on the host, and which number of the output is explained.

    Parameters
    ----------
    model : Model
    x : array, or tuple or dict of arrays
    target
        See :class:`Targets`.
    options : Options
    who : str
        For messages.

    Attributes
    ----------
    inputs : list of numpy.ndarray
        Floating-point numbers, or integers where the network takes those.
    count : int
        Samples.
    """

    def __init__(self, model: Any, x: Any, target: Any, options: Options, who: str) -> None:
        self.model, self.who = _checked(model, who), who
        size = USUAL_BATCH if options.batch_size is None else options.batch_size
        self._size = self.model.batch or as_int(size, who, "batch_size", 1)
        self._position = self._position_of(options.output)
        self._network = self._chosen(as_flag(options.probabilities, who, "probabilities"))
        self._program: Program | None = None  # of a network that is not the model's own
        given = self.model.check_inputs(one_each(x, self.model.inputs, who, "input"), who)
        self._as_dict = isinstance(x, Mapping)
        self.inputs = [
            _on_host(array, dtype)
            for array, dtype in zip(given, self.model.input_dtypes(), strict=True)
        ]
        self.count = len(self.inputs[0])
        if not self.count:
            raise ValueError(f"{who}: x holds no samples")
        self._targets = Targets(target, self.count, who, self.model.class_names)

    def _position_of(self, output: Any) -> int:
        """Return which output of the network is explained."""
        names = self.model.outputs
        if output is None and len(names) == 1:
            return 0
        if not isinstance(output, str) or output not in names:
            got = "" if output is None else f", got output={output!r}"
            raise ValueError(
                f"{self.who}: output must name the one that is explained, of "
                f"{', '.join(map(repr, names))}{got}; write output={names[0]!r}"
            )
        return names.index(output)

    def _chosen(self, probabilities: bool) -> Any:
        """Return the network that gives what is explained."""
        found = before_probabilities(self.model.network, self._position)
        if found is None and probabilities:
            raise ValueError(
                f"{self.who}: probabilities=True, but the network does not end in Softmax or "
                "another layer that makes probabilities; leave it out to explain its output"
            )
        return self.model.network if found is None or probabilities else found

    # -- Running -------------------------------------------------------------------------------

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run the network, in a ``with``, and leave it as it was."""
        model = self.model
        try:
            with model.on_device(), model.unbuilt_if_it_fails(), model.overflow_allowed():
                if not model.is_built:
                    model.ready_for(self._placed([x[:1] for x in self.inputs]))
                guard = MemoryGuard(model, "an attribution", self._size)
                with guard, undisturbed(self._network):
                    yield
        finally:
            release_blas()

    def batches(self, count: int) -> Iterator[np.ndarray]:
        """Yield the numbers from 0 to `count`, as many at a time as may run together."""
        for start in range(0, count, self._size):
            yield np.arange(start, min(start + self._size, count))

    def rows(self, numbers: np.ndarray) -> list[np.ndarray]:
        """Return some samples of all inputs."""
        return [x[numbers] for x in self.inputs]

    def outputs(self, inputs: Sequence[np.ndarray]) -> np.ndarray:
        """Return what the network gives for a batch, as fast as it predicts."""
        placed = self._placed(inputs)
        if self._network is self.model.network:
            found = self.model.forward_batch(placed)
        else:
            if self._program is None:
                self._program = Program(self._network)
            found = self.model.widen(
                self._program.forward(*self.model.narrow(placed), training=False)
            )
        ys = found if isinstance(found, tuple) else (found,)
        return _xp.to_numpy(ys[self._position])[: len(inputs[0])]

    def gradients(
        self,
        inputs: Sequence[np.ndarray],
        numbers: np.ndarray,
        layers: Mapping[str, Layer] | None = None,
    ) -> tuple[list[Any], Watch]:
        """Return the gradient of what is explained for each input of a batch.

        Parameters
        ----------
        inputs : sequence of numpy.ndarray
        numbers : numpy.ndarray of int
            Of the samples that they belong to.
        layers : mapping of str to Layer, optional
            Layers to watch.

        Returns
        -------
        gradients : list of numpy.ndarray
            ``None`` for an input of integers.
        seen : Watch
            With the outputs of the layers, and the gradients of those, on the device.
        """
        count = len(inputs[0])
        with watch(layers, keeps=True) as seen:
            ys = self._forward(inputs)
            y = self._host(ys)
            seed = np.zeros_like(y)
            seed[:count] = ones_at(y[:count], self._targets.places(y[:count], numbers))
            dys: list[Any] = [None] * len(ys)
            like = ys[self._position]
            dys[self._position] = self.model.device.asarray(seed, _xp.dtype_name(like))
            found = self._network.backward(*dys, need_dx=True)
        dxs = self.model.widen(found if isinstance(found, tuple) else (found,))
        gradients = [_gradient(dx, x) for dx, x in zip(dxs, inputs, strict=True)]
        return gradients, seen

    def _forward(self, inputs: Sequence[np.ndarray]) -> tuple[Any, ...]:
        found = self._network.forward(*self.model.narrow(self._placed(inputs)))
        return found if isinstance(found, tuple) else (found,)

    def _placed(self, inputs: Sequence[np.ndarray]) -> list[Any]:
        """Bring a batch to the device; one that is too small for the network is filled up."""
        missing = (self.model.batch or 0) - len(inputs[0])
        if missing > 0:
            inputs = [np.concatenate([x, x[-1:].repeat(missing, axis=0)]) for x in inputs]
        dtypes = self.model.input_dtypes()
        return [self.model.device.asarray(x, d) for x, d in zip(inputs, dtypes, strict=True)]

    def _host(self, ys: tuple[Any, ...]) -> np.ndarray:
        return _xp.to_numpy(self.model.widen(ys[self._position]))

    # -- Targets and results -------------------------------------------------------------------

    def choose(self) -> list[Place]:
        """Return what is explained of each sample, and from now on explain no other number."""
        found: list[Place] = []
        for numbers in self.batches(self.count):
            found += self._targets.places(self.outputs(self.rows(numbers)), numbers)
        self._targets = Targets(found if found[0] else None, self.count, self.who)
        return found

    def scores(self, inputs: Sequence[np.ndarray], places: Sequence[Place]) -> np.ndarray:
        """Return what is explained of each sample of a batch, in float64."""
        return scores_at(self.outputs(inputs), places)

    def check_gradients(self) -> None:
        """Raise if no input has a gradient."""
        if not any(_xp.is_floating(x) for x in self.inputs):
            raise TypeError(
                f"{self.who}: the network takes integers, which have no gradient; use "
                "xpcnn.attribution.occlusion"
            )

    def like_x(self, found: Sequence[Any]) -> Any:
        """Return one thing for each input as the inputs were given: alone, in a tuple or a dict."""
        if self._as_dict:
            return dict(zip(self.model.inputs, found, strict=True))
        return found[0] if len(found) == 1 else tuple(found)


def _checked(model: Any, who: str) -> Model:
    if isinstance(model, Model):
        return model
    hint = "; make one of it: xpcnn.Model(network)" if isinstance(model, Layer) else ""
    raise TypeError(f"{who}: model must be an xpcnn.Model, got {type(model).__name__}{hint}")


def _on_host(x: Any, dtype: str) -> np.ndarray:
    """Return an input as a NumPy array of numbers to compute with."""
    found = _xp.to_numpy(x)
    if "float" not in dtype or found.dtype.kind == "f":
        return found
    return found.astype("float64" if dtype == "float64" else "float32")  # images of bytes


def _gradient(dx: Any, x: np.ndarray) -> np.ndarray | None:
    """Return a gradient on the host; zeros where the output does not depend on the input."""
    if not _xp.is_floating(x):
        return None
    return np.zeros_like(x) if dx is None else _xp.to_numpy(dx)[: len(x)]
