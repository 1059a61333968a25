"""Batches that somebody else makes: lists of them, loaders, generators."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

from xpcnn._xp import Array
from xpcnn.training.dataset import Batch, Source, Turn, map_arrays

MOST = 100_000
"""Batches of an epoch of what does not say how many it has: more are taken to have no end."""


class Raw(NamedTuple):
    """What a batch was given as, in its parts."""

    x: Any
    y: Any
    sample_weight: Any


class Batches:
    """Batches in the order in which they come.

    Parameters
    ----------
    given : iterator, iterable, or what has a length and numbers
    once : bool
        Whether it is an iterator, which cannot begin anew.
    count : int or None
        How many there are before it ends, as far as it says so.
    indexed : bool
        Whether batches are taken by their number.
    first : sequence
        Those that were taken already, to see what they are.
    """

    def __init__(
        self, given: Any, once: bool, count: int | None, indexed: bool, first: Sequence[Any] = ()
    ) -> None:
        self.given, self.once, self.count, self._indexed = given, once, count, indexed
        self._first = list(first)
        self._running: Iterator[Any] | None = None
        self.taken = 0  # since it began

    def begin(self) -> None:
        """Begin anew, where that is possible."""
        if self._running is not None and not self.once:
            self._running = None

    def take(self) -> tuple[Any, ...]:
        """Return the next batch, in a tuple of one; an empty tuple behind the last."""
        if self._running is None:
            self._running, self.taken = self._start(), 0
        for batch in self._running:
            self.taken += 1
            return (batch,)
        self._running = self._running if self.once else None
        return ()

    def _start(self) -> Iterator[Any]:
        if not self._indexed:
            return iter(self.given)
        assert self.count is not None
        first, self._first = self._first, []
        rest = (self.given[number] for number in range(len(first), self.count))
        return chain(first, rest)

    def end_epoch(self) -> None:
        """Tell who wants to know it, as sequences of Keras do."""
        tell = getattr(self.given, "on_epoch_end", None) if self._indexed else None
        if tell is not None:
            tell()


class Stream(Source):
    """Batches that come ready.

    Parameters
    ----------
    batches : Batches
    split : callable
        Takes a batch apart; told what came, and its number for messages.
    prepare : callable
        Checks the parts of a batch, told the same number, and returns it on the host.
    bring : callable
        Brings it to the device.
    steps : int or None
        How many batches make an epoch; ``None`` for all that there are.
    goes_on : bool
        Whether an epoch begins where the last one ended, if `steps` is given.
    who, steps_name : str
        Names for messages, of the method and of the argument that gives `steps`.
    """

    can_repeat = False

    def __init__(
        self,
        batches: Batches,
        split: Callable[[Any, int], Raw],
        prepare: Callable[[Raw, int], Batch],
        bring: Callable[[Batch], Batch],
        steps: int | None,
        goes_on: bool,
        who: str,
        steps_name: str,
    ) -> None:
        self._all, self._split, self._prepare, self._bring = batches, split, prepare, bring
        self._steps, self._goes_on = steps, goes_on and steps is not None
        self._who, self._steps_name = who, steps_name
        self.batches = batches.count if steps is None else steps
        self._number = 0  # of the last batch that came
        self._ahead: list[Batch] = []  # the first one, until its turn
        self._first = self._next()
        if self._first is None:
            raise ValueError(f"{who}: there is no batch in it, {self._named()} is empty")
        self._ahead.append(self._first)
        self.batch_size = self._first.size

    def epoch(self, number: int, *, ahead: bool = True) -> Iterator[Turn]:
        """Yield the batches of an epoch; those that the last one has left are not kept."""
        self._first = None
        if not self._goes_on and not self._ahead:
            self._all.begin()
        made = 0
        while self._steps is None or made < self._steps:
            batch = self._ahead.pop() if self._ahead else self._next()
            if batch is None:
                if self._steps is None and made:
                    break
                if not self._goes_on or self._all.once or not self._all.taken:
                    raise self._too_few(made)
                continue  # and it begins anew
            if made == MOST and self.batches is None:
                raise ValueError(
                    f"{self._who}: {self._named()} has given {MOST:,} batches and may have no end; "
                    f"say how many of them to take, with {self._steps_name}="
                )
            made += 1
            load = partial(self._bring, batch)
            yield Turn(batch.size, load, load)
            del batch, load
        self._all.end_epoch()

    def close(self) -> None:
        """Let go of what has begun, such as the processes of a loader."""
        self._ahead, self._first = [], None
        self._all.begin()

    def some(self, count: int) -> tuple[Array, ...]:
        """Return the inputs of the first samples of the first batch, on the device."""
        assert self._first is not None, "only before the first epoch"
        rows = (map_arrays(part, lambda a: a[:count, ...]) for part in self._first)
        return self._bring(Batch(*rows)).inputs

    def _next(self) -> Batch | None:
        """Take a batch and check it; ``None`` behind the last one."""
        for batch in self._all.take():
            self._number += 1
            return self._prepare(self._split(batch, self._number), self._number)
        return None

    def _too_few(self, made: int) -> ValueError:
        if self._steps is None:
            return ValueError(f"{self._who}: {self._named()} gave no batch in this epoch")
        fix = f"give a smaller {self._steps_name}"
        fix += ", or one that goes on" if self._all.once else ", or leave it out to take all"
        return ValueError(
            f"{self._who}: {self._steps_name}={self._steps}, but {self._named()} ended after "
            f"{self._all.taken} batches in all, {made} of them in this epoch; {fix}"
        )

    def _named(self) -> str:
        return f"the {type(self._all.given).__name__}"


def split_batch(
    batch: Any, number: int, inputs: Sequence[str], takes_target: bool | None, who: str
) -> Raw:
    """Take a batch, or a sample, apart.

    Parameters
    ----------
    batch : (x, y) or (x, y, sample_weight), as a tuple or a list
        Without targets `x` may also stand alone, or be ``(x,)``.
    number : int
        For messages.
    inputs : sequence of str
        Names of those of the network.
    takes_target : bool or None
        Whether there must be targets; ``None`` if they do not matter.
    who : str
        Name for messages.

    Raises
    ------
    TypeError
        If it is no such thing.
    """
    is_tuple = isinstance(batch, (tuple, list)) and 1 <= len(batch) <= 3
    if takes_target:
        if not is_tuple or len(batch) < 2:
            raise TypeError(
                f"{who} must give tuples (x, y) or (x, y, sample_weight), and number {number} is "
                f"{_described(batch)}"
            )
        return Raw(*batch, *[None] * (3 - len(batch)))
    if is_tuple and len(inputs) > 1 and not isinstance(batch[0], (tuple, list, dict)):
        is_tuple = len(batch) != len(inputs)  # one for each input
    if not is_tuple or _is_nested_list(batch):
        return Raw(batch, None, None)
    x, y, weight = [*batch, None, None][:3]
    return Raw(x, None if takes_target is None else y, None if takes_target is None else weight)


def _is_nested_list(batch: Any) -> bool:
    """Whether it is one array, written as lists of numbers."""
    return isinstance(batch, list) and not hasattr(batch[0], "shape")


def _described(thing: Any) -> str:
    if isinstance(thing, (tuple, list)):
        return f"a {type(thing).__name__} of {len(thing)}"
    if isinstance(thing, dict):
        return f"a dict of {', '.join(map(repr, thing)) or 'nothing'}"
    shape = getattr(thing, "shape", None)
    return f"{type(thing).__name__} of shape {tuple(shape)}" if shape else repr(thing)[:60]
