"""Losses and metrics as users name them, for one output or for each of several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from xpcnn import losses, metrics
from xpcnn.losses.per_output import LossPerOutput
from xpcnn.metrics.per_output import OutputMetric
from xpcnn.training import border


def choose_loss(loss: Any, outputs: Sequence[str], weights: Any) -> losses.Loss:
    """Make the loss of a network with these outputs."""
    if isinstance(loss, losses.Loss) or len(outputs) == 1:
        if weights is not None:
            raise ValueError("loss_weights needs several outputs, each with a loss of its own")
        is_one = isinstance(loss, losses.Loss)
        return losses.get(loss if is_one else border.one_each(loss, outputs, "loss", "output")[0])
    chosen = [losses.get(one) for one in border.one_each(loss, outputs, "loss", "output")]
    if weights is not None:
        weights = border.one_each(weights, outputs, "loss_weights", "output")
    return LossPerOutput(chosen, weights)


def choose_metrics(chosen: Any, outputs: Sequence[str]) -> list[metrics.Metric]:
    """Make the metrics of a network with these outputs."""
    if len(outputs) == 1:
        return [metrics.get(one) for one in _as_list(chosen)]
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
    return [
        OutputMetric(metrics.get(one), name, list(outputs).index(name))
        for name, given in chosen.items()
        for one in _as_list(given)
    ]


def bind(chosen: Sequence[metrics.Metric], loss: losses.Loss | None) -> None:
    """Tell metrics what the loss says about predictions."""
    for metric in chosen:
        metric.bind(loss)


def check_loss(loss: losses.Loss, outputs: Sequence[str]) -> None:
    """Raise unless the loss is made for as many outputs."""
    if loss.predictions != len(outputs):
        raise ValueError(
            f"the network has {len(outputs)} output(s), {', '.join(outputs)}, and "
            f"{type(loss).__name__} takes {loss.predictions}; compile with a loss that fits, or "
            f"one for each output, as in loss={{{outputs[0]!r}: 'mse', ...}}"
        )


def prepare_labels(
    loss: losses.Loss, y: Any, outputs: Sequence[str], shapes: Sequence[Any], count: int, who: str,
    dtype: str,
) -> Any:  # fmt: skip
    """Check labels on the host, once: one array, or a tuple where each output has a loss."""
    if isinstance(loss, LossPerOutput):
        given = border.one_each(y, outputs, who, "output")
        named = [(labels, f"{who}[{name!r}]") for labels, name in zip(given, outputs, strict=True)]
        labels = [border.as_labels(labels, count, name) for labels, name in named]
        return loss.prepare_target(shapes, labels, dtype)
    if isinstance(y, Mapping):
        (y,) = border.one_each(y, outputs[:1], who, "output")
    shape = shapes[0] if loss.predictions == 1 else tuple(shapes)
    return loss.prepare_target(shape, border.as_labels(y, count, who), dtype)


def _as_list(given: Any) -> list[Any]:
    return [given] if isinstance(given, (str, metrics.Metric)) else list(given)
