"""Every public name of xpcnn, and which of its members a page of the reference shows."""

from __future__ import annotations

import importlib
import inspect
from collections import Counter
from functools import cache
from pathlib import Path

import xpcnn

INNER = (
    "explaining",
    "interop.onnx",
    "scratch.conv1d",
    "scratch.deep_conv_net",
    "scratch.deep_nn",
    "scratch.simple_conv_net",
    "scratch.tanh_cnn",
)
"""Public modules inside the parts of xpcnn."""

NOT_OURS = (r"numpy\..*", r"logging(\..*)?", r"sklearn\..*")
"""Patterns of names in other libraries, which the site, built without a network, cannot link."""


def modules() -> list[str]:
    """Return the names of all public modules."""
    parts = [n for n in xpcnn.__all__ if inspect.ismodule(getattr(xpcnn, n))]
    return ["xpcnn", *(f"xpcnn.{name}" for name in (*parts, *INNER))]


@cache
def public() -> dict[str, object]:
    """Return every public object by its name; one that has several has the shortest."""
    found: dict[int, tuple[str, object]] = {}
    for module_name in modules():
        module = importlib.import_module(module_name)
        for name in getattr(module, "__all__", None) or named_in(module_name):
            item = getattr(module, name)
            if not inspect.ismodule(item):
                found.setdefault(id(item), (f"{module_name}.{name}", item))
    return dict(found.values())


def named_in(module_name: str) -> list[str]:
    """Return the names of what a module without ``__all__`` has of the package's own."""
    module = importlib.import_module(module_name)
    own = {n: item for n, item in vars(module).items() if not n.startswith("_")}
    return [n for n, item in own.items() if getattr(item, "__module__", "").startswith("xpcnn")]


def file_names() -> dict[str, str]:
    """Return other names of files for the names that differ from others by capitals only."""
    counts = Counter(name.lower() for name in public())
    return {
        name: f"{name}-function" for name in public() if counts[name.lower()] > 1 and islow(name)
    }


def forget_old_pages(folder: Path) -> None:
    """Remove the pages, written by an earlier build, of names that are no longer public."""
    renamed = file_names()
    wanted = {renamed.get(name, name) for name in public()}
    for page in folder.glob("*.rst"):
        if page.stem not in wanted:
            page.unlink()


def islow(name: str) -> bool:
    """Whether the last part of a name begins with a small letter."""
    return name.rpartition(".")[2][0].islower()


def find(full_name: str) -> object:
    """Return the object of a full name."""
    module, _, name = full_name.rpartition(".")
    return getattr(importlib.import_module(module), name)


def documented_bases(cls: type) -> list[type]:
    """Return the base classes that have pages of their own."""
    pages = {id(item) for item in public().values()}
    return [base for base in cls.__mro__[1:] if id(base) in pages]


def bases(full_name: str) -> list[str]:
    """Return the full names of the nearest base class with a page of its own, if there is one."""
    names = {id(item): name for name, item in public().items()}
    cls = find(full_name)
    assert isinstance(cls, type)
    return [names[id(base)] for base in documented_bases(cls)[:1]]


def members(full_name: str) -> list[tuple[str, str]]:
    """Return (kind, name) of the members of a class that its page shows.

    These are all that have a text and are not on the page of a base class already.
    """
    cls = find(full_name)
    assert isinstance(cls, type)
    above = documented_bases(cls)
    shown = []
    for name in sorted(n for n in dir(cls) if not n.startswith("_")):
        item = inspect.getattr_static(cls, name)
        owner = next(base for base in cls.__mro__ if name in vars(base))
        known = any(inspect.getattr_static(base, name, None) is item for base in above)
        if known or not owner.__module__.startswith("xpcnn") or not item.__doc__:
            continue
        if isinstance(item, (classmethod, staticmethod)) or inspect.isfunction(item):
            shown.append(("method", name))
        elif isinstance(item, property):
            shown.append(("property", name))
    return shown
