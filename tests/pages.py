"""The pages of documentation: what they show, run as a reader would paste it."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
COPIED = ("notebooks", "project", "gallery")  # folders in docs/ that a build of the site fills
PAGES = (
    "README.md",
    "CONTRIBUTING.md",
    *sorted(
        path.relative_to(ROOT).as_posix()
        for path in ROOT.glob("docs/**/*.md")
        if path.relative_to(ROOT / "docs").parts[0] not in COPIED
    ),
)
"""Paths of all pages, from the root."""


class Page:
    """One page, as `Page("docs/data.md")`."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.text = (ROOT / path).read_text(encoding="utf-8")
        self.blocks: list[tuple[str, str]] = re.findall(
            r"^ *```(\w*)\n(.*?)^ *```$", self.text, re.M | re.S
        )

    def of(self, language: str) -> list[str]:
        """Return the blocks of one language."""
        return [text for name, text in self.blocks if name == language]

    def commands(self) -> list[str]:
        """Return the lines of what is for a shell."""
        return [line for text in self.of("bash") for line in text.splitlines() if line.strip()]

    def promised(self) -> list[str]:
        """Return what comments behind ``print(...)`` say is printed."""
        return re.findall(r"print\(.*\)  # (.*)", "".join(self.of("python")))

    def links(self) -> list[Path]:
        """Return the files that links lead to."""
        targets = re.findall(r"\]\((?!https?:)([^)#]+)", self.text)
        return [(ROOT / self.path).parent / target for target in targets]

    def run(
        self, optional: tuple[str, ...] = (), given: dict[str, Any] | None = None, skip: str = "^$"
    ) -> dict[str, Any]:
        """Run the Python blocks one after the other in one namespace, which is returned.

        Blocks that import a package of `optional` are left out where it is not installed, and so
        are those with a match of `skip`. The namespace begins with what is `given`.
        """
        missing = [name for name in optional if importlib.util.find_spec(name) is None]
        names: dict[str, Any] = {"__name__": "page", **(given or {})}
        ran = 0
        for number, text in enumerate(self.of("python"), start=1):
            if any(re.search(rf"\b(import|from) {name}\b", text) for name in missing):
                continue
            if re.search(skip, text):
                continue
            exec(compile(text, f"{self.path}, Python block {number}", "exec"), names)
            ran += 1
        assert ran, f"nothing of {self.path} was run"
        return names
