"""``xpcnn.check``: what `like` asks for, and who checks it."""

from __future__ import annotations

import contextlib
import inspect
import io
from collections.abc import Callable
from typing import Any

import numpy as np

from xpcnn.errors import check_language
from xpcnn.grading.choosing import family_of, special_of
from xpcnn.grading.functions import is_pair
from xpcnn.grading.players import Player
from xpcnn.grading.report import Check, Report
from xpcnn.grading.running import Grading
from xpcnn.grading.words import say, title


def check(
    theirs: Any,
    like: Any,
    *,
    make: Callable[..., Any] | None = None,
    lang: str = "en",
) -> Report:
    """Check somebody's own layer, loss, optimizer or function, and name its mistakes.

    It is made and called in the ways that courses write such classes, on several small sizes, and
    everything it computes is compared with what the library computes. A wrong number is compared
    with what typical mistakes give, so that a mistake that is named is certain.

    Parameters
    ----------
    theirs : class, object, function, or tuple of two functions
        What to check. An object is copied, and checked with the weights and settings it has. Two
        functions are ``forward(x, ...)``, which returns ``out`` or ``(out, cache)``, and
        ``backward(dout, cache)``, or a backward that takes ``x`` and ``w`` by their names.
    like : class, object or str
        What it should do: a layer, loss or optimizer of xpcnn (``Conv1d``,
        ``Conv2d(2, 3, 3, stride=2)``, ``CrossEntropyLoss``, ``optim.Adam``), a function of
        ``xpcnn.functional``, or a name: see the notes.
    make : callable, optional
        Makes the object, where `theirs` has arguments that are not understood:
        ``make=lambda W, b, stride, pad: Theirs(W, b, {"stride": stride, "pad": pad})``. Its
        arguments are called as in courses.
    lang : {"en", "ja"}
        Language of the report.

    Returns
    -------
    Report
        True if all is right; ``print`` it. A notebook shows it as a table.

    Raises
    ------
    TypeError
        If `theirs` cannot be called, or `like` is nothing that there is a check for.
    ValueError
        If `like` is a name that is not known, or `lang` is another language.

    Notes
    -----
    Names are those of the layers, losses and optimizers of the library in lower case, with or
    without underscores (``"conv2d"``, ``"max_pool2d"``, ``"batch_norm"``, ``"adam"``), and
    ``"im2col"``, ``"col2im"``, ``"softmax"``, ``"cross_entropy"``, ``"mse"``, ``"momentum"``.

    Weights are given to the constructor as ``W`` and ``b``, or put into the attributes that the
    constructor made of numbers of channels. Gradients are what ``backward(dout)`` returns, and the
    attributes ``dW`` and ``db``, ``W_grad``, ``grads["W"]`` and the like.

    Examples
    --------
    >>> import numpy as np, xpcnn
    >>> class Affine:
    ...     def __init__(self, W, b):
    ...         self.W, self.b = W, b
    ...     def forward(self, x):
    ...         self.x = x
    ...         return x @ self.W + self.b
    ...     def backward(self, dout):
    ...         self.dW = self.x.T @ dout
    ...         self.db = dout[-1]
    ...         return dout @ self.W.T
    >>> report = xpcnn.check(Affine, like=xpcnn.Linear)
    >>> report.passed, report.mistakes
    (False, ['only_last_sample'])
    >>> [check.name for check in report.checks if check.state == "wrong"]
    ['db']
    """
    check_language("check", lang)
    theirs = tuple(theirs) if isinstance(theirs, list) else theirs
    if make is not None and not callable(make):
        raise TypeError(
            f"check: make must be a function that makes the object, got {type(make).__name__}"
        )
    if make is not None and not isinstance(theirs, type):
        raise TypeError(
            f"check: make is for a class, whose objects it makes; theirs is "
            f"{_described(theirs)} already"
        )
    module = (theirs if isinstance(theirs, type) else type(theirs)).__module__
    if module.startswith(("xpcnn.layers", "xpcnn.losses", "xpcnn.optim", "xpcnn.operations")):
        raise TypeError(
            "check: theirs is of xpcnn itself, which check compares with; xpcnn.gradcheck checks "
            "its gradients"
        )
    if isinstance(theirs, tuple) and not is_pair(theirs):
        raise TypeError(
            f"check: theirs must be two functions, (forward, backward), if it is a tuple; got "
            f"{', '.join(map(_described, theirs)) or 'an empty one'}"
        )
    known = any(hasattr(theirs, name) for name in ("forward", "backward", "update", "step"))
    if not known and not is_pair(theirs) and not callable(theirs):
        raise TypeError(
            f"check: theirs must be a class, an object with forward and backward, or a function; "
            f"got {_described(theirs)}"
        )
    random = np.random.get_state()
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            report = _check(theirs, like, make, lang)
        if lines := len(printed.getvalue().splitlines()):
            message = say(lang, "printed", lines=lines)
            report.checks.append(Check(title(lang, "output"), "note", message))
        return report
    finally:
        np.random.set_state(random)


def _check(theirs: Any, like: Any, make: Callable[..., Any] | None, lang: str) -> Report:
    name = like if isinstance(like, str) else getattr(like, "__name__", None) or repr(like)
    special = special_of(like)
    if special is not None:
        report = Report("", name, lang=lang)
        special(report, theirs, make).run()
        return report
    family = family_of(like, theirs)
    player = Player(theirs, make, family.preferred)
    report = Report(player.name, name, lang=lang)
    Grading(report, player, family).run()
    return report


def _described(theirs: Any) -> str:
    if inspect.isfunction(theirs):
        return f"the function {theirs.__name__}"
    return repr(theirs) if theirs is None else f"an object of type {type(theirs).__name__}"
