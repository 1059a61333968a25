"""Cross references by the names that stand in the source.

A docstring says :class:`Conv` or :func:`xpcnn.device.resolve`, as the file has them; the page of
the reference has the public name. Where there is no page, the name is shown without a link.
"""

from __future__ import annotations

import pydoc
import re
from typing import Any

import public_names
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment


def candidates(target: str) -> list[str]:
    """Return the public names that a reference may mean, the best first."""
    wanted = target.split(".")
    found = []
    for name, item in public_names.public().items():
        inner = f"{getattr(item, '__module__', '')}.{getattr(item, '__qualname__', '')}"
        for full in (name, inner):
            if full.split(".")[-len(wanted) :] == wanted:
                found.append(name)
    return found


def is_base(target: str) -> bool:
    """Whether a name is that of a base class without a page, as `Conv` of `Conv2d`."""
    classes = [item for item in public_names.public().values() if isinstance(item, type)]
    name = target.rpartition(".")[2]
    return any(base.__name__ == name for cls in classes for base in cls.__mro__)


def inside(target: str) -> bool:
    """Whether a full name is that of something in a file of the package that has no page."""
    try:
        return target.startswith("xpcnn.") and bool(pydoc.locate(target))
    except pydoc.ErrorDuringImport:
        return False


def classes_of(owner: str) -> list[type]:
    """Return the classes that a name may mean, with their base classes, the nearest first."""
    public = public_names.public()
    found = [public[name] for name in candidates(owner)]
    return [base for cls in found if isinstance(cls, type) for base in cls.__mro__]


def on_missing(
    app: Sphinx, env: BuildEnvironment, node: Any, contnode: nodes.Element
) -> nodes.Node | None:
    """Find the page of an object by the end of its name; a member's is that of its class."""
    if node.get("refdomain") != "py":
        return None
    target = node["reftarget"]
    owner, _, member = target.rpartition(".")
    classes = classes_of(owner or node.get("py:class") or "")
    pages = {id(item): name for name, item in public_names.public().items()}
    owners = [pages[id(cls)] for cls in classes if id(cls) in pages and hasattr(cls, member)]
    domain = env.domains["py"]
    for name in [*candidates(target), *(f"{owner}.{member}" for owner in owners), *owners]:
        if name in domain.objects:
            return domain.resolve_xref(
                env, node["refdoc"], app.builder, "obj", name, node, contnode
            )
    known = inside(target) or is_base(target) or any(hasattr(cls, member) for cls in classes)
    return contnode if known else None


BACK = re.compile(r'href="([^"]*reference/names/([\w.]+)(?:-function)?\.html)#([\w.]+)"')


def on_page(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Let the links from source back to the reference have the public names, as the pages do."""

    def link(match: re.Match[str]) -> str:
        href, public, anchor = match.groups()
        _, _, member = anchor.rpartition(f".{public.rpartition('.')[2]}")
        return f'href="{href}#{public}{member}"'

    if page.startswith("_modules/") and "body" in context:
        context["body"] = BACK.sub(link, context["body"])


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("missing-reference", on_missing)
    app.connect("html-page-context", on_page)
    return {"parallel_read_safe": True}
