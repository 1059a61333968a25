"""Read pickled arrays without executing anything.

A pickle is a program for a small stack machine, and Python's own reader lets it call any function.
The machine here knows dicts, lists, tuples, numbers, strings, bytes and NumPy's arrays, of all
protocols (0 to 5) and of Python 2. Whatever else a pickle names is refused when it is named.

What the opcodes mean is written down in Python's module ``pickletools``.
"""

from __future__ import annotations

import codecs
import struct
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from xpcnn._archives import SMALL
from xpcnn._files import read_whole
from xpcnn.errors import ModelFileError
from xpcnn.interop._pickled_arrays import NAMES, Name, Unfinished, call, finish
from xpcnn.interop._torch_files import LEGACY, Storage, levels, read_torch

MAX_DEPTH = 100
"""How deeply containers may be nested."""

MOST_NUMBERS_AS_KEYS = 10_000


def read_pickle(source: str | Path | bytes) -> Any:
    """Read a pickle of plain values and NumPy arrays, as the courses' ``params.pkl`` is one.

    What ``torch.save`` wrote is read as well; tensors become arrays, and those of bfloat16 float32.

    Parameters
    ----------
    source : str, Path or bytes
        The file, or what stands in it.

    Returns
    -------
    object
        Dicts, lists, tuples, numbers, strings, bytes, ``None`` and NumPy arrays. Strings of
        Python 2 are read as Latin-1, as NumPy asks for.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ModelFileError
        If the pickle is damaged, or wants anything but such values. Nothing is executed, and no
        more memory is used than a small multiple of the file's size.

    Examples
    --------
    >>> import pickle
    >>> import numpy as np
    >>> from xpcnn.interop import read_pickle
    >>> content = pickle.dumps({"W1": np.array([[1.0, 2.0]]), "epochs": 3})
    >>> read_pickle(content)  # or read_pickle("params.pkl")
    {'W1': array([[1., 2.]]), 'epochs': 3}
    """
    data = source if isinstance(source, bytes) else read_whole(source)
    where = "the pickle" if isinstance(source, bytes) else repr(str(source))
    try:
        if data.startswith((b"PK\x03\x04", LEGACY)):
            value = read_torch(data, partial(_Machine, of_torch=True))
        else:
            value = _Machine(data).run()
        _check_finished(value)
    except ModelFileError as error:
        raise ModelFileError(f"{where}: {error}") from None
    except (
        IndexError, KeyError, TypeError, ValueError, OverflowError, AttributeError,
        struct.error, UnicodeError, RecursionError,
    ) as error:  # fmt: skip
        raise ModelFileError(
            f"{where} cannot be read: truncated, damaged or not a pickle ({error!s:.200})"
        ) from error
    return value


def _check_finished(value: Any) -> None:
    """Refuse what a proper pickle never leaves behind: half-made arrays, and bottomless nesting."""
    for depth, level in enumerate(levels(value)):
        if depth == MAX_DEPTH:
            raise ModelFileError(f"the pickle nests its values more than {MAX_DEPTH} levels deep")
        if any(isinstance(item, (Name, Unfinished)) for item in level):
            raise ModelFileError("the pickle is damaged: it leaves an array without its values")


class _Machine:
    """The stack, the memo, and a place in the data."""

    def __init__(self, data: bytes, place: int = 0, of_torch: bool = False) -> None:
        self.data = data
        self.of_torch = of_torch
        self.place = place
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.waiting: dict[int, list[int]] = {}  # where the memo holds an unfinished array
        # Arrays are copied out of the pickle. Each honest one has bytes of its own in the file, and
        # is copied at most twice (from text to bytes, from bytes to an array); a hostile pickle
        # would copy the same bytes many times.
        self.room = 2 * len(data)
        # What an instruction of one byte makes takes 64 and more.
        self.values = max(SMALL, 4 * len(data)) // 64
        self.numbers_as_keys = 0

    def run(self) -> Any:
        while True:
            code = self.take(1)
            if code == b".":
                return self.stack.pop()
            step = _STEPS.get(code)
            if step is None or (code == b"Q" and not self.of_torch):
                raise ModelFileError(
                    f"it uses the pickle instruction {_instruction(code)}, which arrays in dicts "
                    "do not need; nothing of it was executed"
                )
            step(self)

    # -- Reading -------------------------------------------------------------------------------

    def take(self, count: int) -> bytes:
        end = self.place + count
        if count < 0 or end > len(self.data):
            raise ModelFileError("it is truncated: its end is missing")
        part = self.data[self.place : end]
        self.place = end
        return part

    def number(self, layout: str) -> Any:
        """Read a number as :mod:`struct` describes it."""
        return struct.unpack(layout, self.take(struct.calcsize(layout)))[0]

    def line(self) -> str:
        end = self.data.find(b"\n", self.place)
        if end < 0:
            raise ModelFileError("it is truncated: its end is missing")
        text = self.take(end - self.place + 1)
        return text[:-1].decode("latin-1")

    # -- The stack -----------------------------------------------------------------------------

    def push(self, value: Any) -> None:
        self.values -= 1
        if self.values < 0:
            raise ModelFileError("it holds far more values than a file of arrays does")
        self.stack.append(value)

    def pop(self) -> Any:
        # what lies below a mark belongs to others
        if self.marks and len(self.stack) <= self.marks[-1]:
            raise ValueError("an instruction finds too few values")
        return self.stack.pop()

    def pop_to_mark(self) -> list[Any]:
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def last(self, kind: type) -> Any:
        """Return the top of the stack, which must be a list or a dict."""
        top = self.stack[-1]
        if type(top) is not kind:
            raise TypeError(f"an instruction for a {kind.__name__} finds a {type(top).__name__}")
        return top

    def remember(self, key: int) -> None:
        if key < 0:
            raise ValueError("a negative place in the memo")
        # places are counted; chosen ones could make the dict slow
        if key > len(self.data) + 1000:
            raise ValueError(f"the place {key} in the memo")
        self.memo[key] = self.stack[-1]
        if isinstance(self.stack[-1], Unfinished):
            self.waiting.setdefault(id(self.stack[-1]), []).append(key)

    def name(self, module: Any, what: Any) -> None:
        full = f"{module}.{what}"
        if full not in NAMES:
            raise ModelFileError(
                f"it asks for {full!r:.100}, and only arrays, numbers, strings, lists and dicts "
                "are read; nothing of it was executed"
            )
        self.push(Name(NAMES[full]))

    def reduce(self) -> None:
        arguments, function = self.pop(), self.pop()
        if not isinstance(function, Name) or not isinstance(arguments, tuple):
            raise TypeError("a call of something that is not a function")
        self.push(self.counted(call(function.meaning, arguments)))

    def build(self) -> None:
        state, target = self.pop(), self.pop()
        if self.of_torch and isinstance(target, dict) and isinstance(state, dict):
            value = target  # the state is what PyTorch notes about a state dict
        else:
            value = self.counted(finish(target, state))
        for key in self.waiting.pop(id(target), []):
            if self.memo[key] is target:
                self.memo[key] = value
        self.push(value)

    def counted(self, value: Any) -> Any:
        if isinstance(value, np.ndarray):
            self.room -= value.nbytes
        elif isinstance(value, bytes):
            self.room -= len(value)
        if self.room < 0:
            raise ModelFileError("its arrays would be larger than the file that holds them")
        return value


# -- The instructions ------------------------------------------------------------------------------


def _instruction(code: bytes) -> str:
    """Return the name of an instruction."""
    import pickletools  # here, since few files have others than those below

    if code == b"\x97":
        return "NEXT_BUFFER (arrays kept outside of the pickle)"
    names = {known.code: known.name for known in pickletools.opcodes}
    return names.get(code.decode("latin-1"), repr(code))


def _integer(m: _Machine) -> None:
    text = m.line()
    m.push(text == "01" if text in ("00", "01") else int(text.rstrip("L")))


def _long(size: str) -> Callable[[_Machine], None]:
    return lambda m: m.push(int.from_bytes(m.take(m.number(size)), "little", signed=True))


def _bytes(size: str, *encoding: str) -> Callable[[_Machine], None]:
    """Take as many bytes as a number of that layout says; they are text with an encoding."""

    def step(m: _Machine) -> None:
        part = m.take(m.number(size))
        m.push(part.decode(*encoding) if encoding else part)

    return step


def _quoted(m: _Machine) -> None:
    text = m.line()
    if len(text) < 2 or text[0] not in "'\"" or text[-1] != text[0]:
        raise ValueError("a string without its quotes")
    with warnings.catch_warnings():
        # about a backslash before a letter that needs none; it stays as it is
        warnings.simplefilter("ignore", DeprecationWarning)
        decoded = codecs.escape_decode(text[1:-1].encode("latin-1"))
    m.push(decoded[0].decode("latin-1"))


def _tuple_of(count: int) -> Callable[[_Machine], None]:
    def step(m: _Machine) -> None:
        items = [m.pop() for _ in range(count)]
        m.push(tuple(reversed(items)))

    return step


def _append(m: _Machine) -> None:
    value = m.pop()
    m.last(list).append(value)


def _extend(m: _Machine) -> None:
    values = m.pop_to_mark()
    m.last(list).extend(values)


def _set_items(m: _Machine, into: dict[Any, Any], items: list[Any]) -> None:
    if len(items) % 2:
        raise ValueError("a key without its value")
    for key, value in zip(items[::2], items[1::2], strict=True):
        # Only these: the hash of a tuple of tuples can be made to take years.
        if not isinstance(key, (str, bytes, int, float, type(None))):
            raise TypeError(f"a {type(key).__name__} as the key of a dict")
        # numbers can be chosen so that they get in each other's way, strings cannot
        m.numbers_as_keys += isinstance(key, (int, float))
        if m.numbers_as_keys > MOST_NUMBERS_AS_KEYS:
            raise ModelFileError("it has dicts with more numbers as keys than arrays need")
        into[key] = value


def _set_one(m: _Machine) -> None:
    value, key = m.pop(), m.pop()
    _set_items(m, m.last(dict), [key, value])


def _set_many(m: _Machine) -> None:
    items = m.pop_to_mark()
    _set_items(m, m.last(dict), items)


def _dict(m: _Machine) -> None:
    made: dict[Any, Any] = {}
    _set_items(m, made, m.pop_to_mark())
    m.push(made)


def _pop(m: _Machine) -> None:
    if m.marks and m.marks[-1] == len(m.stack):
        m.marks.pop()
    else:
        m.pop()


def _frame(m: _Machine) -> None:
    if m.number("<Q") > len(m.data) - m.place:
        raise ModelFileError("it is truncated: its end is missing")


def _persistent(m: _Machine) -> None:
    m.push(Storage.named(m.pop()))


def _stack_global(m: _Machine) -> None:
    what, module = m.pop(), m.pop()
    if not isinstance(what, str) or not isinstance(module, str):
        raise TypeError("a name that is not a string")
    m.name(module, what)


_UTF8 = ("utf-8", "surrogatepass")
_STEPS: dict[bytes, Callable[[_Machine], Any]] = {
    b"\x80": lambda m: m.take(1),
    b"\x95": _frame,
    # the stack and the memo
    b"(": lambda m: m.marks.append(len(m.stack)),
    b"0": _pop,
    b"1": lambda m: m.pop_to_mark(),
    b"2": lambda m: m.push(m.stack[-1]),
    b"p": lambda m: m.remember(int(m.line())),
    b"q": lambda m: m.remember(m.number("<B")),
    b"r": lambda m: m.remember(m.number("<I")),
    b"\x94": lambda m: m.remember(len(m.memo)),
    b"g": lambda m: m.push(m.memo[int(m.line())]),
    b"h": lambda m: m.push(m.memo[m.number("<B")]),
    b"j": lambda m: m.push(m.memo[m.number("<I")]),
    # numbers and the like
    b"N": lambda m: m.push(None),
    b"\x88": lambda m: m.push(True),
    b"\x89": lambda m: m.push(False),
    b"I": _integer,
    b"L": _integer,
    b"J": lambda m: m.push(m.number("<i")),
    b"K": lambda m: m.push(m.number("<B")),
    b"M": lambda m: m.push(m.number("<H")),
    b"\x8a": _long("<B"),
    b"\x8b": _long("<i"),
    b"F": lambda m: m.push(float(m.line())),
    b"G": lambda m: m.push(m.number(">d")),
    # strings and bytes
    b"S": _quoted,
    b"T": _bytes("<i", "latin-1"),
    b"U": _bytes("<B", "latin-1"),
    b"V": lambda m: m.push(m.line().encode("latin-1").decode("raw-unicode-escape")),
    b"X": _bytes("<I", *_UTF8),
    b"\x8c": _bytes("<B", *_UTF8),
    b"\x8d": _bytes("<Q", *_UTF8),
    b"B": _bytes("<I"),
    b"C": _bytes("<B"),
    b"\x8e": _bytes("<Q"),
    b"\x96": _bytes("<Q"),
    # containers
    b")": lambda m: m.push(()),
    b"t": lambda m: m.push(tuple(m.pop_to_mark())),
    b"\x85": _tuple_of(1),
    b"\x86": _tuple_of(2),
    b"\x87": _tuple_of(3),
    b"]": lambda m: m.push([]),
    b"l": lambda m: m.push(m.pop_to_mark()),
    b"a": _append,
    b"e": _extend,
    b"}": lambda m: m.push({}),
    b"d": _dict,
    b"s": _set_one,
    b"u": _set_many,
    # names, calls and what follows a call
    b"c": lambda m: m.name(m.line(), m.line()),
    b"\x93": _stack_global,
    b"R": lambda m: m.reduce(),
    b"b": lambda m: m.build(),
    b"Q": _persistent,
}
