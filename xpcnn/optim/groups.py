"""Settings of an optimizer that differ between parameters, chosen by patterns on their names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from xpcnn._patterns import check_pattern, matches, no_match_error


class ReadOnly(Mapping[str, Any]):
    """A dict that does not change, since what was made of it would not follow."""

    def __init__(self, items: Mapping[str, Any]) -> None:
        self._items = dict(items)

    def __getitem__(self, name: str) -> Any:
        return self._items[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        return repr(self._items)


class Groups(ReadOnly):
    """For each pattern on names of parameters, the settings of those that it picks.

    Where several patterns pick a parameter, a later one goes before an earlier one, setting by
    setting.

    Parameters
    ----------
    given : mapping of str to mapping, or pairs as a model's file has them
    who : str
        For messages.

    Raises
    ------
    TypeError, ValueError
        If it is something else, or a group has no settings.

    Examples
    --------
    >>> groups = Groups({"fc.*": {"lr": 0.1, "eps": 1e-6}, "*.bias": {"lr": 0.2}}, "Adam")
    >>> groups.settings_of("fc.bias")
    {'lr': 0.2, 'eps': 1e-06}
    """

    def __init__(self, given: Any, who: str) -> None:
        where = f"{who}: groups"
        groups = _as_dict(
            given,
            f'{where} must map patterns to settings, as in {{"*.bias": dict(weight_decay=0)}}',
        )
        found = {}
        for pattern, settings in groups.items():
            check_pattern(pattern, where)
            here = f"{where}[{pattern!r}]"
            items = _as_dict(settings, f"{here} must be settings such as dict(lr=0.01)")
            # a file has lists in the place of tuples
            found[pattern] = ReadOnly(
                {name: tuple(v) if isinstance(v, list) else v for name, v in items.items()}
            )
            if not found[pattern]:
                raise ValueError(f"{here} has no settings; leave the group out")
        super().__init__(found)

    def settings_of(self, name: str) -> dict[str, Any]:
        """Return the settings of a parameter that differ from the optimizer's own."""
        found: dict[str, Any] = {}
        for pattern, settings in self.items():
            if matches(pattern, name):
                found |= settings
        return found

    def check(self, names: Iterable[str], who: str) -> None:
        """Raise a ValueError if a pattern picks none of the parameters."""
        names = list(names)
        for pattern in self:
            if not any(matches(pattern, name) for name in names):
                raise no_match_error(pattern, names, f"{who}: groups")

    def as_lists(self) -> list[list[Any]]:
        """Return them as JSON has them."""
        return [
            [pattern, [[n, list(v) if isinstance(v, tuple) else v] for n, v in settings.items()]]
            for pattern, settings in self.items()
        ]


def _as_dict(given: Any, problem: str) -> dict[str, Any]:
    """Make a dict of a mapping, or of a list of pairs."""
    if not isinstance(given, (Mapping, list, tuple)):
        raise TypeError(f"{problem}; got {given!r:.200}")
    try:
        return dict(given)
    except (TypeError, ValueError):
        raise TypeError(f"{problem}; got {given!r:.200}") from None
