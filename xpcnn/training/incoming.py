"""From what users give to a model to sources of batches: here it is decided, once, which kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from xpcnn import _xp
from xpcnn.layers.graph import Graph
from xpcnn.layers.layer import Layer
from xpcnn.training.dataset import Batch, Order, Source, split_validation
from xpcnn.training.preparing import Preparation
from xpcnn.training.sources.arrays import Samples, bring
from xpcnn.training.sources.kinds import Kind, is_array, kind_of, length_of, rank_of
from xpcnn.training.sources.streams import Batches, Raw, Stream, split_batch
from xpcnn.training.state import TrainingState
from xpcnn.window import as_flag, as_int


@dataclass
class Reading:
    """How samples are to be read, as users say it; ``None`` of what they do not say.

    Attributes
    ----------
    batch_size, shuffle, drop_last, steps
        The arguments of a method.
    steps_name : str
        What it calls the last one.
    usual_size : int
        Samples in a batch where nobody says how many.
    """

    batch_size: Any = None
    shuffle: Any = None
    drop_last: Any = False
    steps: Any = None
    steps_name: str = "steps"
    usual_size: int = 32

    def check(self, who: str) -> None:
        """Raise if an argument is none at all, whatever the samples are."""
        self.drop_last = as_flag(self.drop_last, who, "drop_last")
        if self.batch_size is not None:
            self.batch_size = as_int(self.batch_size, who, "batch_size", 1)
        if self.shuffle is not None:
            self.shuffle = as_flag(self.shuffle, who, "shuffle")
        if self.steps is not None:
            self.steps = as_int(self.steps, who, self.steps_name, 1)

    def order(self, samples: int, seed: int, shuffle: bool = False) -> Order:
        """Return the order of samples that have numbers."""
        shuffle = shuffle if self.shuffle is None else self.shuffle
        size = self.usual_size if self.batch_size is None else self.batch_size
        return Order(samples, size, shuffle, self.drop_last, seed)

    def for_ready_batches(self, who: str, what: str) -> None:
        """Raise if something is asked for that whoever made the batches has decided."""
        given = {"batch_size": self.batch_size, "shuffle": self.shuffle}
        for name, value in (given | {"drop_last": self.drop_last or None}).items():
            if value is not None:
                raise ValueError(
                    f"{who}: {name} is for arrays and for data sets of samples, and {what} gives "
                    f"batches that are ready; leave {name} out, and choose it where they are made"
                )

    def for_samples(self, who: str) -> None:
        """Raise if something is asked for that the number of the samples decides."""
        if self.steps is not None:
            raise ValueError(
                f"{who}: {self.steps_name} is for batches that come ready, from a generator or a "
                f"loader; the number of samples and batch_size say how many batches there are "
                f"here: leave {self.steps_name} out"
            )


class Opening:
    """Makes sources of what one call of a method is given.

    Parameters
    ----------
    prepare : Preparation
    reading : Reading
        Checked.
    trains : bool
        Whether it is training, which shuffles.
    """

    def __init__(self, prepare: Preparation, reading: Reading, trains: bool = False) -> None:
        self.prepare, self.reading, self._trains = prepare, reading, trains
        self.model: TrainingState = prepare.model
        self.who = prepare.verb
        loss = self.model.loss
        self._takes_target = prepare.labelled and loss is not None and loss.takes_target

    def kind(self, x: Any, y: Any) -> Kind:
        """Return of which kind the samples are."""
        return kind_of(x, y, self._takes_target, f"{self.who}: x")

    def arrays(self, x: Any, y: Any, sample_weight: Any) -> Batch:
        """Check arrays in memory."""
        self.reading.for_samples(self.who)
        if y is None and self._takes_target:
            raise ValueError(
                f"{self.who}: y is missing, the targets of {type(self.model.loss).__name__}; give "
                f"{self.who}(x, y), or batches (x, y) as x: a list of them, a generator, a loader"
            )
        return self.prepare.batch(x, y, sample_weight)

    def samples(self, data: Batch) -> Samples:
        """Return the batches of arrays in memory."""
        model = self.model
        order = self.reading.order(data.size, model.seed, self._trains)
        return Samples(data, model.device, model.input_dtypes(), model.dtype, order)

    def other(self, kind: Kind, x: Any, y: Any, sample_weight: Any) -> Source:
        """Open what is no array."""
        what = f"the {type(x).__name__}"
        for name, given in (("y", y), ("sample_weight", sample_weight)):
            if given is not None:
                raise ValueError(
                    f"{self.who}: {name} was given, and {what} given as x has its own in each "
                    f"batch or sample, as in (x, y, sample_weight); leave {name} out"
                )
        if kind == "iterator" and self.reading.steps is None:
            raise ValueError(
                f"{self.who}: {what} does not say where it ends, and it comes only once; say how "
                f"many of its batches to take, with {self.reading.steps_name}=, or give something "
                "that can begin anew, such as a list, or an object with __iter__"
            )
        return self._stream(kind, x)

    def _stream(self, kind: Kind, x: Any) -> Stream:
        self.reading.for_ready_batches(self.who, f"the {type(x).__name__}")
        model = self.model
        return Stream(
            Batches(x, kind == "iterator", length_of(x), kind == "indexed"),
            self._split,
            self._check_batch,
            partial(bring, device=model.device, dtypes=model.input_dtypes(), dtype=model.dtype),
            self.reading.steps,
            self._trains,
            self.who,
            self.reading.steps_name,
        )

    def _split(self, given: Any, number: int) -> Raw:
        wanted = self._takes_target if self.prepare.labelled else None
        return split_batch(given, number, self.model.inputs, wanted, f"{self.who}: x")

    def _check_batch(self, raw: Raw, number: int) -> Batch:
        who = f"{self.who}: batch {number}"
        if number == 1 and is_sample(self.model, raw, who):
            raise ValueError(
                f"{self.who}: x gives single samples, the first of shape {_shape(raw.x)}, and "
                "batches are expected; put samples together, as torch.utils.data.DataLoader does, "
                "or give a data set of samples, with __len__ and __getitem__, that is batched here"
            )
        return self._checked(raw, who)

    def _checked(self, raw: Raw, who: str, numbers: np.ndarray | None = None) -> Batch:
        """Check one batch of many; errors say which."""
        try:
            return self.prepare.weigh(self.prepare.batch(*raw, who, numbers))
        except (ValueError, TypeError) as error:
            if str(error).startswith(who):
                raise
            raise type(error)(f"{who}: {error}") from error


def open_source(
    prepare: Preparation, reading: Reading, x: Any, y: Any, sample_weight: Any
) -> Source:
    """Open what ``evaluate`` or ``predict`` is given."""
    reading.check(prepare.verb)
    opening = Opening(prepare, reading)
    kind = opening.kind(x, y)
    if kind == "arrays":
        return opening.samples(opening.arrays(x, y, sample_weight))
    return opening.other(kind, x, y, sample_weight)


def open_inputs(model: TrainingState, reading: Reading, x: Any) -> Source | None:
    """Open what ``predict`` is given; ``None`` if those are arrays in memory."""
    kind = kind_of(x, None, False, "predict: x")
    if kind == "arrays":
        return None
    return Opening(Preparation(model, "predict", labelled=False), reading).other(
        kind, x, None, None
    )


def open_training(
    prepare: Preparation, reading: Reading, x: Any, y: Any, sample_weight: Any, split: Any
) -> tuple[Source, Source | None]:
    """Open what ``fit`` is given to train on, and the share of it that is to validate."""
    reading.check(prepare.verb)
    opening = Opening(prepare, reading, trains=True)
    kind = opening.kind(x, y)
    if kind != "arrays":
        if split is not None:
            raise ValueError(
                f"fit: validation_split takes the last of the samples, and the {type(x).__name__} "
                "given as x has no such order; give validation_data"
            )
        return opening.other(kind, x, y, sample_weight), None
    data, rest = opening.arrays(x, y, sample_weight), None
    if split is not None:
        data, rest = split_validation(data, split)
    data = prepare.weigh(data)
    if data.weights is not None and not data.weights.any():
        raise ValueError("fit: all samples have the weight 0, so that nothing counts")
    training = opening.samples(data)
    if rest is None:
        return training, None
    order = Reading(training.batch_size)
    return training, Opening(prepare, order).samples(rest)


def open_validation(prepare: Preparation, reading: Reading, given: Any) -> Source:
    """Open the validation data of ``fit``."""
    if isinstance(given, (tuple, list)) and not _is_list_of_batches(given, prepare):
        if len(given) not in (2, 3):
            raise TypeError(
                "fit: validation_data must be (x, y) or (x, y, sample_weight), got "
                f"{type(given).__name__} of {len(given)}; or a source of batches, such as a loader"
            )
        return open_source(prepare, reading, *given, *[None] * (3 - len(given)))
    if given is None or is_array(given) or isinstance(given, (str, bytes, Mapping, int, float)):
        raise TypeError(
            "fit: validation_data must be (x, y) or (x, y, sample_weight), got "
            f"{type(given).__name__}; or a source of batches, such as a list of them or a loader"
        )
    return open_source(prepare, reading, given, None, None)


def _is_list_of_batches(given: Any, prepare: Preparation) -> bool:
    one_each = len(given) in (2, 3) and len(prepare.model.inputs) > 1
    return not one_each and kind_of(given, None, True, "validation_data") == "indexed"


def is_sample(model: TrainingState, raw: Raw, who: str) -> bool:
    """Whether something is one sample, without a batch axis.

    Raises
    ------
    ValueError
        If nobody can tell.
    """
    x = _first(raw.x)
    rank, wanted = rank_of(x), _sample_rank(model)
    if rank is None:
        return False
    if rank == 0:
        return True
    if wanted is not None:
        return rank == wanted
    y = _first(raw.y)
    y_rank = None if y is None else rank_of(y)
    if y_rank is None:
        return False
    if y_rank == 0:
        return True
    if y_rank > 1 or _length(x) != _length(y):
        return _length(x) != _length(y)
    if not (_xp.is_array(y) and _xp.is_floating(y)):
        return False
    if rank == 1:
        return True
    raise ValueError(
        f"{who}: x of shape {_shape(x)} with y of shape {_shape(y)} may be a batch, or one sample; "
        "tell it by building the model first, as in model.build((None, 3, 32, 32))"
    )


def _sample_rank(model: TrainingState) -> int | None:
    """Return how many axes a sample of the first input has, where the network tells."""
    shape: Any = model.input_shape
    if shape is not None:
        return len(shape if len(model.inputs) == 1 else shape[0]) - 1
    network: Layer = model.network
    while isinstance(network, Graph) or network.children():
        if isinstance(network, Graph):
            readers = [n.layer for n in network.in_order if network.inputs[0] in n.inputs]
        else:
            readers = list(network.children().values())
        if not readers:
            return None
        network = readers[0]
    rank = network.sample_ndim
    return None if rank == 1 else rank  # linear layers take any number of axes


def _first(part: Any) -> Any:
    """Return the first array of several."""
    if isinstance(part, Mapping):
        return next(iter(part.values()), None)
    return part[0] if isinstance(part, tuple) and part else part


def _length(x: Any) -> int:
    shape = getattr(x, "shape", None)
    return len(x) if shape is None else int(shape[0])


def _shape(x: Any) -> Any:
    x = _first(x)
    shape = getattr(x, "shape", None)
    return () if shape is None else tuple(shape)
