"""From what users give to a model to sources of batches: here it is decided, once, which kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from xpcnn import _xp
from xpcnn.layers.graph import Graph
from xpcnn.layers.layer import Layer
from xpcnn.training import data_adapter
from xpcnn.training.dataset import Batch, Order, Source, split_validation
from xpcnn.training.preparing import Preparation, has_rows, is_long
from xpcnn.training.sample_weights import is_all_zero
from xpcnn.training.sources.arrays import Samples, bring
from xpcnn.training.sources.items import Items
from xpcnn.training.sources.kinds import Kind, holds_lazy, is_array, kind_of, length_of, rank_of
from xpcnn.training.sources.lazy import LazySamples
from xpcnn.training.sources.reader import Reader
from xpcnn.training.sources.streams import Batches, Raw, Stream, split_batch
from xpcnn.training.state import TrainingState
from xpcnn.window import as_flag, as_int


@dataclass
class Reading:
    """How samples are to be read, as users say it; ``None`` of what they do not say.

    Attributes
    ----------
    batch_size, shuffle, drop_last, steps, workers
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
    workers: Any = 0
    steps_name: str = "steps"
    usual_size: int = 32

    lenient: bool = False
    """Whether `workers` count for data sets alone, and do not matter for others."""

    def of_validation(self, steps: Any, usual_size: int) -> Reading:
        """Return how the validation data of a training are to be read."""
        name = "validation_steps"
        return Reading(None, None, False, steps, self.workers, name, usual_size, lenient=True)

    def check(self, who: str) -> None:
        """Raise if an argument is none at all, whatever the samples are."""
        self.drop_last = as_flag(self.drop_last, who, "drop_last")
        if self.batch_size is not None:
            self.batch_size = as_int(self.batch_size, who, "batch_size", 1)
        if self.shuffle is not None:
            self.shuffle = as_flag(self.shuffle, who, "shuffle")
        if self.steps is not None:
            self.steps = as_int(self.steps, who, self.steps_name, 1)
        self.workers = as_int(self.workers, who, "workers", 0)

    def order(
        self, samples: int, seed: int, who: str, shuffle: bool = False, size: int | None = None
    ) -> Order:
        """Return the order of samples that have numbers.

        Raises
        ------
        ValueError
            If they make fewer batches than are asked for.
        """
        shuffle = shuffle if self.shuffle is None else self.shuffle
        if size is None:
            size = self.usual_size if self.batch_size is None else self.batch_size
        there_are = samples // size if self.drop_last else -(-samples // size)
        if self.steps is not None and self.steps > there_are:
            raise ValueError(
                f"{who}: {self.steps_name}={self.steps}, but {samples} samples in batches of "
                f"{size} make {there_are}; give a smaller {self.steps_name}, or leave it out to "
                "take all"
            )
        return Order(samples, size, shuffle, self.drop_last, seed, self.steps)

    def for_ready_batches(self, who: str, what: str) -> None:
        """Raise if something is asked for that whoever made the batches has decided."""
        given = {"batch_size": self.batch_size, "shuffle": self.shuffle}
        for name, value in (given | {"drop_last": self.drop_last or None}).items():
            if value is not None:
                raise ValueError(
                    f"{who}: {name} is for arrays and for data sets of samples, and {what} gives "
                    f"batches that are ready; leave {name} out, and choose it where they are made"
                )
        self.without_workers(who, what)

    def without_workers(self, who: str, what: str) -> None:
        """Raise if processes are to read what they cannot."""
        if self.workers and not self.lenient:
            raise ValueError(
                f"{who}: workers are for data sets of samples, with __len__ and __getitem__, and "
                f"{what} is none; leave workers out (a torch DataLoader has num_workers of its own)"
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
        """Check arrays, in memory or in files."""
        self.reading.without_workers(self.who, "an array")
        if callable(x):
            raise TypeError(
                f"{self.who}: x is a function, {x!r:.100}; give what it returns, as in x=function()"
            )
        if y is None and self._takes_target:
            raise ValueError(
                f"{self.who}: y is missing, the targets of {type(self.model.loss).__name__}; give "
                f"{self.who}(x, y), or batches (x, y) as x: a list of them, a generator, a loader"
            )
        if holds_lazy(x) or is_long(y):
            return self.prepare.lazy(x, y, sample_weight)
        return self.prepare.batch(x, y, sample_weight)

    def samples(self, data: Batch) -> Source:
        """Return the batches of arrays."""
        model = self.model
        order = self.reading.order(data.size, model.seed, self.who, self._trains)
        if has_rows(data.inputs):
            return LazySamples(data, self.prepare.read, self._bring(), order)
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
        return self._indexed(x) if kind == "indexed" else self._stream(kind, x)

    def _indexed(self, data: Any) -> Source:
        """Open what has numbers: a data set of samples, or a sequence of batches."""
        count, model = length_of(data), self.model
        if not count:
            raise ValueError(f"{self.who}: x is empty, a {type(data).__name__} of length 0")
        wanted = self._takes_target if self.prepare.labelled else None
        order = Order(count, count, seed=model.seed)
        reader = Reader(data, model.inputs, model.input_dtypes(), wanted, self.who, order)
        first = reader.first()
        if not is_sample(model, first, self.who):
            return self._stream("indexed", data, [first])
        size = None if self._trains else model.batch
        reader.order = self.reading.order(count, model.seed, self.who, self._trains, size)
        self._balance(data, count)
        self._check_samples(reader.stack([first], [0]), np.zeros(1, np.int64))
        return Items(reader, self._check_samples, self._bring(), self.reading.workers)

    def _balance(self, data: Any, count: int) -> None:
        """Give classes the same weight together, if that is wanted."""
        if not isinstance(self.prepare.class_weight, str):
            return
        targets = getattr(data, "targets", None)
        if targets is None or len(targets) != count:
            raise ValueError(
                f"{self.who}: class_weight='balanced' needs all labels beforehand; give the "
                f"{type(data).__name__} an attribute targets, with one for each of its {count} "
                "samples, or give a weight for each class"
            )
        self.prepare.balance(data_adapter.as_labels(targets, count, f"{self.who}: targets of x"))

    def _bring(self) -> Callable[[Batch], Batch]:
        model = self.model
        return partial(bring, device=model.device, dtypes=model.input_dtypes(), dtype=model.dtype)

    def _check_samples(self, raw: Raw, numbers: np.ndarray) -> Batch:
        some = f"samples {', '.join(map(str, numbers[:4]))}" if len(numbers) > 1 else "sample "
        some += ", ..." if len(numbers) > 4 else "" if len(numbers) > 1 else str(numbers[0])
        return self._checked(raw, f"{self.who}: {some}", numbers)

    def _stream(self, kind: Kind, x: Any, first: Sequence[Any] = ()) -> Stream:
        self.reading.for_ready_batches(self.who, f"the {type(x).__name__}")
        if isinstance(self.prepare.class_weight, str):
            raise ValueError(
                f"{self.who}: class_weight='balanced' needs all labels beforehand, and the "
                f"{type(x).__name__} gives batch by batch; give a weight for each class, as in "
                "class_weight={0: 1.0, 1: 5.0}"
            )
        return Stream(
            Batches(x, kind == "iterator", length_of(x), kind == "indexed", first),
            self._split,
            self._check_batch,
            self._bring(),
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
        data = opening.arrays(x, y, sample_weight)
        if prepare.model.batch is not None:
            reading.batch_size = prepare.model.batch
        return opening.samples(data)
    return opening.other(kind, x, y, sample_weight)


def open_inputs(model: TrainingState, reading: Reading, x: Any, who: str) -> Source | None:
    """Open what ``predict`` is given; ``None`` if those are arrays in memory."""
    kind, is_lazy = kind_of(x, None, False, f"{who}: x"), holds_lazy(x)
    if kind == "arrays" and not is_lazy:
        return None
    opening = Opening(Preparation(model, who, labelled=False), reading)
    if is_lazy:
        reading.batch_size = model.batch or reading.batch_size
        return opening.samples(opening.arrays(x, None, None))
    return opening.other(kind, x, None, None)


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
    if data.weights is not None and is_all_zero(data.weights):
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
    if len(given) in (2, 3) and len(prepare.model.inputs) > 1:
        # [x, y] with an x of several arrays, or two batches that begin with such an x?
        return isinstance(given, list) and all(
            isinstance(each, (tuple, list)) and each and isinstance(each[0], (tuple, Mapping))
            for each in given
        )
    return kind_of(given, None, True, "validation_data") == "indexed"


def is_sample(model: TrainingState, raw: Raw, who: str) -> bool:
    """Whether something is one sample, without a batch axis.

    Raises
    ------
    ValueError
        If nobody can tell.
    """
    x = _first(raw.x, model.inputs[0])
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


def _first(part: Any, name: str | None = None) -> Any:
    """Return the first array of several, or that of such a name."""
    if isinstance(part, Mapping):
        return part[name] if name in part else next(iter(part.values()), None)
    return part[0] if isinstance(part, tuple) and part else part


def _length(x: Any) -> int:
    shape = getattr(x, "shape", None)
    return len(x) if shape is None else int(shape[0])


def _shape(x: Any) -> Any:
    x = _first(x)
    shape = getattr(x, "shape", None)
    return () if shape is None else tuple(shape)
