"""Which parameters are trained: chosen by patterns on their names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from xpcnn._patterns import check_pattern, matches, no_match_error
from xpcnn.layers.parameter import Parameter


def set_frozen(layer: Any, patterns: Sequence[str], frozen: bool, who: str) -> list[str]:
    """Freeze what patterns pick in a layer, or let it be trained again.

    Parameters
    ----------
    layer : Layer
    patterns : sequence of str
        Without any, everything is meant.
    frozen : bool
    who : str
        For messages.

    Returns
    -------
    list of str
        Names of what changed: parameters, and normalisations without parameters.

    Raises
    ------
    TypeError, ValueError
        If a pattern is no text, or picks nothing. Nothing has been changed then.
    """
    parts = _parts(layer)
    known = [*parts, *(name for name, _ in layer.layers_within())]
    for pattern in patterns:
        check_pattern(pattern, who)
        if not any(matches(pattern, name) for name in known):
            raise no_match_error(pattern, known, who)
    changed = []
    for name, part in parts.items():
        picked = not patterns or any(matches(pattern, name) for pattern in patterns)
        if picked and _is_frozen(part) is not frozen:
            _freeze(part, frozen)
            changed.append(name)
    return changed


def frozen_parts(layer: Any) -> list[str]:
    """Name the parameters that are frozen, and the normalisations without parameters that are."""
    return [name for name, part in _parts(layer).items() if _is_frozen(part)]


def freeze_parts(layer: Any, names: Iterable[str]) -> None:
    """Freeze what has one of these names, and nothing else."""
    wanted, parts = set(names), _parts(layer)
    frozen = {id(part) for name, part in parts.items() if name in wanted}
    for part in parts.values():
        _freeze(part, id(part) in frozen)


def _parts(layer: Any) -> dict[str, Any]:
    """Return what can be frozen by dotted name: parameters, and normalisations without any."""
    tensors = layer._tensors().items()
    found: dict[str, Any] = {name: t for name, t in tensors if isinstance(t, Parameter)}
    for name, inner in layer.layers_within():
        gathers = getattr(inner, "track_running_stats", False) and hasattr(inner, "hold_statistics")
        if gathers and not inner.parameters():
            found[name] = inner
    return found


def _is_frozen(part: Any) -> bool:
    return not part.requires_grad if isinstance(part, Parameter) else bool(part.holds_statistics)


def _freeze(part: Any, frozen: bool) -> None:
    if isinstance(part, Parameter):
        if part.requires_grad is frozen:  # what is the same needs no note
            part.requires_grad = not frozen
    else:
        part.hold_statistics(frozen)
