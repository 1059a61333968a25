"""Losses and metrics as users name them, for one output or for each of several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from xpcnn import losses, metrics
from xpcnn.layers.parameter import Parameter
from xpcnn.losses.per_output import LossPerOutput
from xpcnn.metrics.per_output import OutputMetric
from xpcnn.training import data_adapter
from xpcnn.window import is_sequence


def choose_loss(loss: Any, outputs: Sequence[str], weights: Any) -> losses.Loss:
    """Make the loss of a network with these outputs."""
    if isinstance(loss, losses.Loss) or len(outputs) == 1:
        if weights is not None:
            raise ValueError("loss_weights needs several outputs, each with a loss of its own")
        if not isinstance(loss, losses.Loss) and not losses.is_function(loss):
            (loss,) = data_adapter.one_each(loss, outputs, "loss", "output")
        return losses.get(loss)
    chosen = [losses.get(one) for one in data_adapter.one_each(loss, outputs, "loss", "output")]
    if weights is not None:
        weights = data_adapter.one_each(weights, outputs, "loss_weights", "output")
    return LossPerOutput(chosen, weights)


def choose_metrics(chosen: Any, outputs: Sequence[str]) -> list[metrics.Metric]:
    """Make the metrics of a network with these outputs."""
    found = _made_metrics(chosen, outputs)
    for metric in found:
        if not metric.gives_one_number:
            raise ValueError(
                f"metric {metric.name!r} gives an array, and the history holds single numbers; "
                "choose an average, or call its function in xpcnn.metrics on model.predict(x)"
            )
    return found


def _made_metrics(chosen: Any, outputs: Sequence[str]) -> list[metrics.Metric]:
    if len(outputs) == 1:
        return check_names([metrics.get(one) for one in _as_list(chosen)])
    if not isinstance(chosen, Mapping):
        if len(_as_list(chosen)) == 0:
            return []
        raise ValueError(
            f"metrics: the network has the outputs {', '.join(outputs)}; say which a metric is "
            f"for, as in metrics={{{outputs[0]!r}: ['accuracy']}}"
        )
    unknown = [name for name in chosen if name not in outputs]
    if unknown:
        raise ValueError(f"metrics: there is no output {unknown[0]!r}, only {', '.join(outputs)}")
    return check_names(
        [
            OutputMetric(metrics.get(one), name, list(outputs).index(name))
            for name, given in chosen.items()
            for one in _as_list(given)
        ]
    )


def check_names(chosen: list[metrics.Metric]) -> list[metrics.Metric]:
    """Return the metrics, unless two of them would share a column of the logs."""
    taken: dict[str, Any] = {
        "loss": "the loss",
        "epoch": "the number of the epoch",
        "lr": "the learning rate",
    }
    for metric in chosen:
        name = metric.name
        if name in taken:
            raise ValueError(
                f"metrics: two columns of the logs would be called {name!r}, that of {metric!r} "
                f"and that of {taken[name]}; give one of them a name of its own, as in "
                "F1Score(name='mine')"
            )
        if name.startswith("val_"):
            raise ValueError(
                f"metrics: {metric!r} is called {name!r}, and names that begin with 'val_' are "
                "those of figures of validation data; give it another name"
            )
        taken[name] = metric
    return chosen


def bind(chosen: Sequence[metrics.Metric], loss: losses.Loss | None) -> None:
    """Tell metrics what the loss says about predictions."""
    for metric in chosen:
        metric.bind(loss)


def check_metrics(
    chosen: list[metrics.Metric],
    loss: losses.Loss,
    labels: Any,
    shapes: Sequence[Any],
    ends: Sequence[str | None],
) -> None:
    """Raise unless the metrics can measure outputs of these shapes against these labels.

    `ends` says what the last layer of each output gives, for losses that do not say what they read.
    """
    check_names(chosen)
    bind(chosen, loss)
    for metric in chosen:
        own, position = metric, 0
        if isinstance(metric, OutputMetric):
            own, position = metric.metric, metric.position
        if hasattr(own, "ends_in"):
            own.ends_in = ends[position]
        metric.check_targets(labels, shapes[0] if len(shapes) == 1 else tuple(shapes))


def check_loss(loss: losses.Loss, outputs: Sequence[str]) -> None:
    """Raise unless the loss is made for as many outputs."""
    if loss.predictions != len(outputs):
        raise ValueError(
            f"the network has {len(outputs)} output(s), {', '.join(outputs)}, and "
            f"{type(loss).__name__} takes {loss.predictions}; compile with a loss that fits, or "
            f"one for each output, as in loss={{{outputs[0]!r}: 'mse', ...}}"
        )


def check_reduction(loss: losses.Loss) -> None:
    """Raise if the loss is not one number."""
    if loss.reduction == "none":
        raise ValueError(
            f"{type(loss).__name__}: a model trains on one number, and "
            "reduction='none' gives one for each term; use reduction='mean' or 'sum'"
        )


def prepare_labels(
    loss: losses.Loss, y: Any, outputs: Sequence[str], shapes: Sequence[Any], count: int, who: str,
    dtype: str,
) -> Any:  # fmt: skip
    """Check labels on the host, once: one array, or a tuple where each output has a loss."""
    if not loss.takes_target:
        if y is not None:
            raise ValueError(f"{who}: {type(loss).__name__} has no targets; pass None")
        return None
    if isinstance(loss, LossPerOutput):
        given = data_adapter.one_each(y, outputs, who, "output")
        named = [(labels, f"{who}[{name!r}]") for labels, name in zip(given, outputs, strict=True)]
        labels = [data_adapter.as_labels(labels, count, name) for labels, name in named]
        return loss.prepare_target(shapes, labels, dtype)
    if isinstance(y, Mapping):
        (y,) = data_adapter.one_each(y, outputs[:1], who, "output")
    shape = shapes[0] if loss.predictions == 1 else tuple(shapes)
    return loss.prepare_target(shape, data_adapter.as_labels(y, count, who), dtype)


def _as_list(given: Any) -> list[Any]:
    one = isinstance(given, (str, metrics.Metric)) or callable(given)
    if not one and not is_sequence(given):
        raise TypeError(
            f"metrics must be a list of names such as 'accuracy', or of metrics, got {given!r}"
        )
    return [given] if one else list(given)


def check_trainable(parameters: Mapping[str, Parameter], who: str) -> None:
    """Refuse to train a network in which nothing can change.

    Raises
    ------
    RuntimeError
        If it has no parameters, or all of them are frozen.
    """
    if not parameters:
        raise RuntimeError(
            f"{who}: there is nothing to train, the network has no parameters; a file may keep "
            "its weights as constants"
        )
    if not any(parameter.requires_grad for parameter in parameters.values()):
        raise RuntimeError(
            f"{who}: there is nothing to train, all {len(parameters)} parameters are frozen; let "
            'some learn by unfreeze(), or unfreeze("classifier.*") for those of some names'
        )
