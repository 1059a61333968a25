"""``xpcnn.explain`` and what it returns."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from xpcnn._files import replace_file
from xpcnn.errors import check_language
from xpcnn.explaining.animation import Animation, animate
from xpcnn.explaining.convolution import explain_convolution
from xpcnn.explaining.cross_entropy import CLASS_LOSSES
from xpcnn.explaining.elementwise import (
    FORMULAS,
    explain_dropout,
    explain_elements,
    explain_flatten,
)
from xpcnn.explaining.html import as_html, as_page
from xpcnn.explaining.linear import explain_linear
from xpcnn.explaining.loss_runs import run_course_loss, run_loss
from xpcnn.explaining.losses import ELEMENTWISE, explain_loss
from xpcnn.explaining.network import explain_network, network_of, run_network
from xpcnn.explaining.normalization import explain_batch_norm
from xpcnn.explaining.parts import Section
from xpcnn.explaining.pooling import explain_pooling
from xpcnn.explaining.running import WHO, Run, Subject, as_numbers, run, subject_of
from xpcnn.explaining.sample_norm import explain_sample_norm
from xpcnn.explaining.softmax import explain_softmax
from xpcnn.explaining.text import as_text
from xpcnn.explaining.transposed import explain_transposed
from xpcnn.explaining.words import Words, words
from xpcnn.layers.conv import Conv
from xpcnn.layers.conv_transpose import ConvTranspose
from xpcnn.layers.dropout import Dropout
from xpcnn.layers.group_norm import GroupNorm, LayerNorm
from xpcnn.layers.instance_norm import InstanceNorm
from xpcnn.layers.layer import Layer
from xpcnn.layers.linear import Linear
from xpcnn.layers.norm import BatchNorm
from xpcnn.layers.pool import AvgPool, GlobalPool, MaxPool
from xpcnn.layers.shape import Flatten
from xpcnn.losses.loss import Loss
from xpcnn.window import as_flag, as_int

Family = Callable[[Run, Words, int], list[Section]]

FAMILIES: tuple[tuple[type, Family], ...] = (
    (Conv, explain_convolution),
    (ConvTranspose, explain_transposed),
    (MaxPool, explain_pooling),
    (AvgPool, explain_pooling),
    (GlobalPool, explain_pooling),
    (Linear, explain_linear),
    (BatchNorm, explain_batch_norm),
    (GroupNorm, explain_sample_norm),
    (InstanceNorm, explain_sample_norm),
    (LayerNorm, explain_sample_norm),
    (Flatten, explain_flatten),
)
NAMED: dict[str, Family] = {
    **dict.fromkeys(FORMULAS, explain_elements),
    "Softmax": explain_softmax,
    "Softmax2d": explain_softmax,
    "Dropout": explain_dropout,
}
TWO_WAYS = (BatchNorm, Dropout)
"""Layers that do something else in training than in inference."""

LOSSES = (*CLASS_LOSSES, *ELEMENTWISE)
SUPPORTED = (
    "Conv1d to Conv3d, ConvTranspose1d to ConvTranspose3d, "
    "MaxPool, AvgPool and GlobalPool layers, Linear, BatchNorm1d to BatchNorm3d, GroupNorm, "
    "InstanceNorm1d to InstanceNorm3d, LayerNorm, "
    f"{', '.join(NAMED)}, Flatten, the losses {', '.join(LOSSES)}, and the course classes of "
    "xpcnn.scratch that are like them"
)


class Explanation:
    """What an operation does with the numbers given, step by step.

    It shows itself as text at a prompt and as tables in a notebook; :func:`xpcnn.explain` makes it.

    Attributes
    ----------
    title : str
    sections : list of Section
        Headings, and what stands below them: texts, formulas, tables and worked lines.
    lang : str

    Examples
    --------
    >>> import xpcnn
    >>> shown = xpcnn.explain(xpcnn.MaxPool1d(2), [[[1, 3, 2, 0]]], dy=[[[10, 20]]])
    >>> shown.title
    'MaxPool1d step by step'
    >>> "dx[0, 0, 1] = dy[0, 0, 0] = 10" in str(shown)
    True
    """

    def __init__(
        self, title: str, sections: list[Section], lang: str, given: tuple[Any, Any, Any]
    ) -> None:
        self.title = title
        self.sections = sections
        self.lang = lang
        self._given = given  # the operation, x and dy, for an animation

    def __str__(self) -> str:
        return as_text(self.title, self.sections)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return as_html(self.title, self.sections, self.lang)

    def animate(self, what: str = "forward", **options: Any) -> Animation:
        """Show the window as it slides over the input, or the way back.

        It is made of what the operation and the input are now.

        Parameters
        ----------
        what : {"forward", "backward", "weights"}
            "weights" is the gradient of a filter.
        **options
            As :func:`xpcnn.explaining.animation.animate` takes them; `lang` is that of the
            explanation if left out.

        Returns
        -------
        Animation
            It shows itself in a notebook, and saves itself as HTML or GIF.

        Raises
        ------
        TypeError
            If the operation has no window that slides.
        """
        operation, x, dy = self._given
        if what == "forward":
            dy = None
        return animate(operation, x, dy, what=what, **{"lang": self.lang, **options})

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it to a file.

        Parameters
        ----------
        path : str or Path
            Ends in ``.html`` for a page, or in ``.txt`` for text.

        Raises
        ------
        ValueError
            If the path ends in something else.
        """
        if not isinstance(path, (str, os.PathLike)):
            raise TypeError(f"Explanation.save: path must be the name of a file, got {path!r}")
        path = Path(path)
        ending = path.suffix.lower()
        if ending not in (".html", ".txt"):
            raise ValueError(
                f"Explanation.save: path must end in '.html' or '.txt', got {str(path)!r}"
            )
        text = str(self) + "\n"
        if ending == ".html":
            text = as_page(self.title, self._repr_html_(), self.lang)
        replace_file(path, text.encode())


def explain(
    operation: Any,
    x: Any,
    *,
    target: Any = None,
    dy: Any = None,
    layer: str | None = None,
    training: bool | None = None,
    lang: str = "en",
    limit: int = 16,
) -> Explanation:
    """Work out what an operation does with the numbers given, step by step.

    Of a convolution, say: the input with its padding, the size of the output, the matrix of
    im2col, the product, each output as a worked line ``1·3 + 2·5 + 3·7 + 1 = 35``, and the same
    for the backward. All is computed on a copy in float64: the operation, its gradients and its
    counters stay as they are.

    Parameters
    ----------
    operation : Layer, Loss, Model or an object of a class of xpcnn.scratch
        A layer that has no weights yet is explained with weights drawn for this input. Of a
        network, what each layer gives is shown in short.
    x : array of any library, or list of numbers
        The input, laid out as the operation takes it; for a loss, the predictions. The axis of
        samples may be left out, and for what has one channel that of channels too.
    target : array or list, for losses
        The right answers, as the loss takes them.
    dy : array or list of the shape of the output, optional
        The gradient that the backward starts from; ones if it is left out. Not for losses.
    layer : str, optional
        Name of a layer of a network, to explain that with what comes into it.
    training : bool, optional
        For BatchNorm and Dropout, which do something else in inference; ``True`` if left out,
        unless the layer is frozen, or one of a network.
    lang : {"en", "ja"}
        English or Japanese.
    limit : int
        The most rows, columns and lines that are shown of each table and list, at least 4.

    Returns
    -------
    Explanation
        It shows itself as text at a prompt, as tables in a notebook, and saves itself.

    Raises
    ------
    TypeError
        If the operation is none that is explained, or an argument is of a wrong kind or has no
        effect on it.
    ValueError
        If shapes do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> from xpcnn.scratch.conv1d import SimpleConv1d
    >>> conv = SimpleConv1d(W=np.array([3, 5, 7]), b=np.array([1]))
    >>> shown = xpcnn.explain(conv, [1, 2, 3, 4], dy=[10, 20])
    >>> "y[0] = 1·3 + 2·5 + 3·7 + 1 = 35" in str(shown)
    True
    >>> "dW[1] = 2·10 + 3·20 = 80" in str(shown)
    True
    """
    check_language(WHO, lang)
    limit = as_int(limit, WHO, "limit", 4)
    training = None if training is None else as_flag(training, WHO, "training")
    say = words(lang)
    network = network_of(operation)
    if network is not None:
        who = type(operation).__name__
        found = run_network(who, network, as_numbers(x, "x"))
        if layer is None:
            why = "a network; name one of its layers by layer="
            _without_effect(operation, why, target=target, dy=dy, training=training)
            sections = explain_network(found, say, limit)
            return Explanation(say("title", who=who), sections, lang, (operation, x, None))
        stage = found.find(layer)
        _check_supported(stage.layer)
        if training is None and isinstance(stage.layer, TWO_WAYS):
            training = False
        operation, x = stage.layer, stage.inputs[0]
    elif layer is not None:
        _without_effect(operation, "no network", layer=layer)
    loss = _loss_of(operation)
    if loss is not None:
        return _explain_loss(operation, loss, x, target, lang, limit, dy=dy, training=training)
    _check_supported(operation)
    _without_effect(operation, "a layer", target=target)
    if training is not None and not _two_ways(operation):
        _without_effect(operation, "the same in training and in inference", training=training)
    held = bool(getattr(operation, "holds_statistics", False))
    training = not held if training is None else training
    subject = _subject(operation, as_numbers(x, "x"))
    family = _family(subject.layer)
    if family is None:
        raise _unsupported(operation)
    gradient = None if dy is None else as_numbers(dy, "dy")
    ran = run(subject, gradient, training)
    return Explanation(
        say("title", who=subject.who), family(ran, say, limit), lang, (operation, x, dy)
    )


def _explain_loss(
    operation: Any, loss: Any, x: Any, target: Any, lang: str, limit: int, **others: Any
) -> Explanation:
    _without_effect(operation, "a loss", **others)
    run_it = run_loss if isinstance(loss, Loss) else run_course_loss
    say = words(lang)
    sections = explain_loss(run_it(loss, as_numbers(x, "x"), target), say, limit)
    title = say("title", who=type(operation).__name__)
    return Explanation(title, sections, lang, (operation, x, None))


def _in_scratch(operation: Any) -> bool:
    return any(kind.__module__.startswith("xpcnn.scratch.") for kind in type(operation).__mro__)


def _loss_of(operation: Any) -> Any:
    """Return the loss that is meant, if the operation is one that is explained."""
    if isinstance(operation, Loss):
        if type(operation).__name__ not in LOSSES or not _is_ours(operation):
            raise _unsupported(operation)
        return operation
    if _in_scratch(operation) and type(operation).__name__ == "SoftmaxWithLoss":
        from xpcnn.losses import CrossEntropyLoss

        return CrossEntropyLoss()
    if _in_scratch(operation) and type(operation).__name__ == "MeanSquaredLoss":
        return operation
    return None


def _two_ways(operation: Any) -> bool:
    names = ("BatchNormalization",)
    return isinstance(operation, TWO_WAYS) or type(operation).__name__ in names


def _without_effect(operation: Any, why: str, **arguments: Any) -> None:
    for name, value in arguments.items():
        if value is not None:
            raise TypeError(
                f"{WHO}: {name} has no effect on {type(operation).__name__}, which is {why}; "
                f"leave {name} out"
            )


def _is_ours(operation: Any) -> bool:
    return type(operation).__module__.startswith("xpcnn.")


def _check_supported(operation: Any) -> None:
    """Raise unless the operation is a layer that is explained; courses' are looked at later."""
    known = isinstance(operation, Layer) and _family(operation) is not None and _is_ours(operation)
    if not known and (not _in_scratch(operation) or hasattr(operation, "loss")):
        raise _unsupported(operation)


def _subject(operation: Any, x: np.ndarray) -> Subject:
    if _in_scratch(operation):
        from xpcnn.explaining.courses import course_subject

        found = course_subject(operation, x)
        if found is None:
            raise _unsupported(operation)
        return found
    return subject_of(operation, x)


def _family(layer: Layer) -> Family | None:
    named = NAMED.get(type(layer).__name__)
    return named or next((f for kind, f in FAMILIES if isinstance(layer, kind)), None)


def _unsupported(operation: Any) -> TypeError:
    """Say what cannot be explained, and what to pass instead."""
    if isinstance(operation, type):
        return TypeError(
            f"{WHO}: operation must be an object, got the class {operation.__name__}; make one, "
            f"e.g. {operation.__name__}(...)"
        )
    if _inside(operation):
        return TypeError(
            f"{WHO}: {type(operation).__name__} is a network; explain one of its layers, with the "
            "output of the layers before it as x"
        )
    if callable(operation) and not isinstance(operation, (Layer, Loss)):
        name = getattr(operation, "__name__", type(operation).__name__)
        return TypeError(
            f"{WHO}: operation must be a layer or a loss, got {name}; give a layer with its "
            "weights, e.g. xpcnn.Conv2d(...) after load_state_dict, in the place of a function"
        )
    kind = type(operation).__name__
    if _in_scratch(operation):
        kind = f"the {kind} of xpcnn.scratch"
    return TypeError(f"{WHO}: {kind} is not explained; these are: {SUPPORTED}")


def _inside(operation: Any) -> bool:
    """Whether there are layers inside."""
    children = getattr(operation, "children", None)
    return bool(children() if callable(children) else getattr(operation, "layers", None))
