"""The function :func:`animate` and what it returns."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from xpcnn._files import replace_file
from xpcnn.errors import check_choice, check_language
from xpcnn.explaining.animation import gif, page
from xpcnn.explaining.animation.gather import gathered
from xpcnn.explaining.animation.running import WHO, Run, run
from xpcnn.explaining.animation.scatter import scattered
from xpcnn.explaining.animation.scene import Scene
from xpcnn.explaining.animation.views import gather_of, is_gathered, scatter_of, weights_of
from xpcnn.explaining.animation.weights import summed_weights
from xpcnn.explaining.animation.words import WORDS
from xpcnn.window import as_int


class Animation:
    """A window that slides over an image, step by step; made by :func:`animate`.

    In a notebook it shows itself, with a slider and a button to play it. ``len(animation)`` is the
    number of steps.

    Attributes
    ----------
    scene : Scene
        What is shown in each step.
    lang : {"en", "ja"}
    """

    def __init__(self, scene: Scene, lang: str, in_english: Callable[[], Scene]) -> None:
        self.scene = scene
        self.lang = lang
        self._in_english = in_english

    def __len__(self) -> int:
        return len(self.scene.frames)

    def __repr__(self) -> str:
        return (
            f"<Animation of {self.scene.title!r}, {len(self)} steps; it shows itself in a "
            "notebook, or save('x.html'), save('x.gif')>"
        )

    def _repr_html_(self) -> str:
        return page.fragment(self.scene, self.lang)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the animation to a file, ``.html`` or ``.gif``.

        A GIF needs Pillow: ``pip install "xpcnn[images]"``. With Japanese text it also needs a
        font that has Japanese (on Debian and Ubuntu ``apt install fonts-noto-cjk``); without one
        the GIF is in English, with a warning. An HTML file needs neither.

        Raises
        ------
        ValueError
            If the name ends otherwise.
        ImportError
            If Pillow is missing, for a GIF.
        OSError
            If the file cannot be written.
        """
        if not isinstance(path, (str, os.PathLike)):
            raise TypeError(f"Animation.save: path must be the name of a file, got {path!r}")
        ending = Path(path).suffix.lower()
        if ending not in (".html", ".gif"):
            raise ValueError(
                f"Animation.save: path must end in .html or .gif, got {os.fspath(path)!r}"
            )
        if ending == ".gif":
            gif.check_pillow()
        content = (
            page.document(self.scene, self.lang).encode()
            if ending == ".html"
            else gif.encoded(self._readable())
        )
        replace_file(path, content)  # type: ignore[arg-type]

    def _readable(self) -> Scene:
        """Return the scene in a language that this machine's fonts have."""
        if self.lang == "en" or gif.has_japanese():
            return self.scene
        warnings.warn(
            "Animation.save: no font with Japanese was found, so that the GIF is in English; "
            "install one (on Debian and Ubuntu: apt install fonts-noto-cjk), or save as .html",
            UserWarning,
            stacklevel=3,
        )
        return self._in_english()


def animate(
    operation: Any,
    x: Any,
    dy: Any = None,
    *,
    lang: str = "en",
    what: str = "forward",
    sample: int = 0,
    channel: int = 0,
    max_frames: int = 60,
) -> Animation:
    """Show a window sliding over an image while the rows of the im2col matrix fill.

    Forward, every step takes the numbers under the window as a row of the matrix, and makes one
    number of the output of them. Backward, every step makes a row of the gradient, and adds it
    back under the window (col2im). A transposed convolution does it the other way round. The
    operation itself stays as it is.

    Parameters
    ----------
    operation : layer
        Conv1d, Conv2d, ConvTranspose1d, ConvTranspose2d, MaxPool1d, MaxPool2d, AvgPool1d or
        AvgPool2d, built or not, or a convolution or max pooling of :mod:`xpcnn.scratch`.
    x : array or lists of numbers
        Input (N, C, L) or (N, C, H, W); the axis of samples may be left out, and that of channels
        too where there is one.
    dy : array or lists of numbers, optional
        Gradient of the output, for the backward; ones if left out.
    lang : {"en", "ja"}
        Language of the sentences.
    what : {"forward", "backward", "weights"}
        "weights" shows how the gradient of a filter comes about, of a convolution.
    sample : int
        Which of the samples is shown.
    channel : int
        Which channel is shown of what is computed: of the output, or of the input's gradient.
    max_frames : int
        Most positions of the window, at least 2; of more, so many are chosen evenly.

    Returns
    -------
    Animation
        With ``save("x.html")`` and ``save("x.gif")``; in a notebook it shows itself.

    Raises
    ------
    TypeError
        If nothing slides in the operation, or an argument is of the wrong kind.
    ValueError
        If `x` does not fit the operation, `dy` its output, or there is no such sample or channel.

    Notes
    -----
    Of images, the first 12 rows and columns are shown at most, of signals 24 numbers, of inputs
    three channels; the sums are of all.

    Examples
    --------
    >>> import xpcnn
    >>> from xpcnn.explaining.animation import animate
    >>> animation = animate(xpcnn.MaxPool1d(2), [1, 3, 2, 5])
    >>> len(animation)
    2
    >>> animation.scene.frames[1].lines
    ('y[0, 0, 1] = max(2, 5) = 5',)
    """
    check_language(WHO, lang)
    check_choice(WHO, "what", what, ("forward", "backward", "weights"))
    if what == "forward" and dy is not None:
        raise ValueError(
            f"{WHO}: dy is the gradient of the output, which only the backward takes; say "
            "what='backward' or 'weights', or leave dy out"
        )
    sample, channel = as_int(sample, WHO, "sample", 0), as_int(channel, WHO, "channel", 0)
    max_frames = as_int(max_frames, WHO, "max_frames", 2)
    ran = run(operation, x, dy, what != "forward")
    view = View(sample, channel, max_frames)
    return Animation(_scene(ran, what, lang, view), lang, lambda: _scene(ran, what, "en", view))


class View(NamedTuple):
    """What of a run is shown."""

    sample: int
    channel: int
    max_frames: int


def _scene(ran: Run, what: str, lang: str, view: View) -> Scene:
    words = WORDS[lang]
    shown = (view.sample, view.channel)
    if what == "weights":
        gathering = weights_of(ran, *shown)
        grids, frames, notes = summed_weights(gathering, len(ran.x), words, view.max_frames)
    elif is_gathered(ran):
        grids, frames, notes = gathered(gather_of(ran, *shown), words, view.max_frames)
    else:
        grids, frames, notes = scattered(scatter_of(ran, *shown), words, view.max_frames)
    shows_weights = what != "weights"
    notes = [words["drawn"]] * (ran.drawn and shows_weights) + [words["ones"]] * ran.ones + notes
    title = words[what].format(name=ran.name)
    return Scene(title, tuple(notes), tuple(grids), tuple(frames))
