"""What cannot be converted, collected so that one error can list all of it."""

from __future__ import annotations


class UnsupportedError(ValueError):
    """One thing that has no counterpart."""


class Problems:
    """A list of what cannot be converted."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def add(self, where: str, why: object) -> None:
        """Note one thing."""
        self.found.append(f"{where}: {why}")

    def check(self, who: str) -> None:
        """Raise one error for everything that was found.

        Raises
        ------
        ValueError
            If there was anything.
        """
        if self.found:
            listing = "\n  ".join(dict.fromkeys(self.found))
            raise ValueError(f"{who}: what follows cannot be converted:\n  {listing}")
