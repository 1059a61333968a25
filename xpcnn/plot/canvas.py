"""Where plots are drawn: figures and Axes, colors, and fonts that have the letters of a text."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np

TRAINING, VALIDATION = "#0072B2", "#D55E00"
"""Blue and vermilion of Okabe and Ito's palette, which color-blind readers tell apart too."""
COLORS = (
    TRAINING, VALIDATION, "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F", "#8C564B",
    "#B8A800", "#5E3C99",
)  # fmt: skip
STYLES = ("-", "--", "-.", ":")
"""Tell lines apart that share a color, where there are more lines than colors."""
SIGNED, UNSIGNED = "RdBu_r", "viridis"

_WITH_EAST_ASIAN = (
    "Noto Sans CJK JP", "Noto Sans JP", "IPAexGothic", "IPAGothic", "TakaoGothic", "VL Gothic",
    "Hiragino Sans", "Hiragino Kaku Gothic ProN", "Yu Gothic", "Meiryo", "MS Gothic",
    "Noto Sans CJK SC", "PingFang SC", "Microsoft YaHei", "SimHei", "WenQuanYi Zen Hei",
    "Noto Sans CJK KR", "Apple SD Gothic Neo", "Malgun Gothic", "Droid Sans Fallback",
    "Arial Unicode MS",
)  # fmt: skip
_LATIN_ENDS = 0x2E80
"""The first of the characters that a font for the scripts of Europe need not have."""


def pyplot() -> ModuleType:
    """Import matplotlib.

    Raises
    ------
    ImportError
        If it is not installed; says what to run.
    """
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            f'xpcnn.plot needs matplotlib; run: pip install "xpcnn[plot]" ({error})'
        ) from error
    return plt


def check_place(ax: Any, who: str, *, divided: bool = False) -> None:
    """Raise unless plots can be drawn at a place: ``None``, an Axes, or an empty figure.

    An Axes that is to be divided among several panels must be empty, and one of a grid.
    """
    pyplot()
    from matplotlib.axes import Axes
    from matplotlib.figure import FigureBase

    if ax is None:
        return
    if isinstance(ax, FigureBase):
        if ax.axes:
            raise ValueError(
                f"{who}: ax is a figure that has Axes already; give one of those, "
                "or an empty figure"
            )
        return
    if not isinstance(ax, Axes):
        more = ""
        if isinstance(ax, (list, tuple, np.ndarray)):
            more = "; give one of them, whose place is divided where several panels are needed"
        raise TypeError(
            f"{who}: ax must be an Axes, a figure or None, got {type(ax).__name__}{more}"
        )
    if ax.name != "rectilinear":
        raise ValueError(f"{who}: ax must be a plain Axes, got one with projection={ax.name!r}")
    if not divided:
        return
    if ax.has_data():
        raise ValueError(
            f"{who}: ax is divided among several panels, and something is drawn in it already; "
            "give an empty Axes"
        )
    if ax.get_subplotspec() is None:
        raise ValueError(
            f"{who}: ax is divided among several panels, which needs an Axes from "
            "plt.subplots(); or give a figure or subfigure"
        )


@contextmanager
def one_axes(ax: Any, who: str, size: tuple[float, float]) -> Iterator[Any]:
    """Provide the Axes to draw in; a figure that is made here is closed if drawing fails.

    Parameters
    ----------
    ax : Axes, figure or None
    who : str
        For messages.
    size : (float, float)
        Width and height in inches of a figure that is made.
    """
    with panels(ax, 1, who, size=size, title=None) as axes:
        yield axes[0]


@contextmanager
def panels(
    ax: Any,
    count: int,
    who: str,
    *,
    size: tuple[float, float],
    title: str | None,
    columns: int | None = None,
) -> Iterator[np.ndarray]:
    """Provide an array of `count` Axes in a grid, row by row.

    Parameters
    ----------
    size : (float, float)
        Width and height in inches of one panel, where a figure is made.
    title : str, optional
        Stands above all panels.
    columns : int, optional
        As many as make the grid about square if left out.
    """
    check_place(ax, who, divided=count > 1 or title is not None)
    plt = pyplot()
    wide = min(count, columns or (count if count < 4 else math.ceil(math.sqrt(count))))
    high = math.ceil(count / wide)
    figure = None
    if ax is None:
        room = 0.0 if title is None else 0.4 + 0.2 * title.count("\n")
        # A title needs room even above a single small panel.
        breadth = max(size[0] * wide, 0.0 if title is None else 4.0)
        figure = ax = plt.figure(figsize=(breadth, size[1] * high + room), layout="constrained")
    try:
        axes = _divided(ax, high, wide, title)
        for unused in axes[count:]:
            unused.remove()
        yield axes[:count]
    except BaseException:
        if figure is not None:
            plt.close(figure)
        raise


def _divided(ax: Any, high: int, wide: int, title: str | None) -> np.ndarray:
    """Return high * wide Axes in the place of an Axes or in a figure."""
    from matplotlib.axes import Axes

    if isinstance(ax, Axes) and title is None and high * wide == 1:
        return np.array([ax])
    if isinstance(ax, Axes):
        axes = _inside(ax, high, wide, title)
    else:
        axes = ax.subplots(high, wide, squeeze=False)
        if title is not None:
            ax.suptitle(title, fontsize="medium", **fonts(title))
    return axes.ravel()


def _inside(ax: Any, high: int, wide: int, title: str | None) -> np.ndarray:
    """Divide the place of an Axes, which itself becomes the strip that has the title."""
    spec = ax.get_subplotspec()
    assert spec is not None  # check_place has looked
    # A layout engine finds the gaps by itself.
    gaps = {"hspace": 0.5, "wspace": 0.4} if ax.figure.get_layout_engine() is None else {}
    strip = 0.0 if title is None else 0.08 * (1 + title.count("\n"))
    ax.set_axis_off()
    if title is not None:
        parts = spec.subgridspec(2, 1, height_ratios=[strip, 1.0 - strip])
        ax.set_subplotspec(parts[0])
        ax.set_title(title, y=0.2, pad=0.0, fontsize="medium", **fonts(title))
        spec = parts[1]
    return np.asarray(spec.subgridspec(high, wide, **gaps).subplots(squeeze=False))


def fonts(*texts: str) -> dict[str, Any]:
    """Return the arguments that have names drawn as they are.

    Dollar signs make no formula of them. For letters of East Asia, which matplotlib's own font
    lacks, those of a list of fonts that are installed come behind it.
    """
    if all(ord(letter) < _LATIN_ENDS for text in texts for letter in text):
        return {"parse_math": False}
    from matplotlib import font_manager, rcParams

    installed = {font.name for font in font_manager.fontManager.ttflist}
    further = [name for name in _WITH_EAST_ASIAN if name in installed]
    return {"parse_math": False, "fontfamily": [*rcParams["font.family"], *further]}


def without_ticks(ax: Any) -> None:
    """Take ticks off an Axes that holds a picture, and keep its frame."""
    ax.set_xticks([])
    ax.set_yticks([])


def colorbar(picture: Any, axes: np.ndarray, label: str) -> None:
    """Put the scale of several pictures beside them, a thin one."""
    rows = len({panel.get_subplotspec().rowspan.start for panel in axes})
    axes[0].figure.colorbar(picture, ax=list(axes), label=label, pad=0.02, aspect=8 + 8 * rows)


def whole_numbers(axis: Any) -> None:
    """Put ticks at whole numbers only."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def style_of(number: int) -> dict[str, str]:
    """Return color and line style of the line with this number."""
    styles = STYLES[number // len(COLORS) % len(STYLES)]
    return {"color": COLORS[number % len(COLORS)], "linestyle": styles}


def listed(names: Iterable[str], most: int = 8) -> str:
    """Write names for a message, and not too many."""
    given = list(names)
    more = f", ... ({len(given)} in all)" if len(given) > most else ""
    return ", ".join(map(repr, given[:most])) + more
