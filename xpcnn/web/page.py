"""The files of a page on which one draws, and a network predicts."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from xpcnn._files import check_target, replace_file
from xpcnn.layers import Layer
from xpcnn.layers.inference import undisturbed
from xpcnn.layers.preprocessing import Preprocessing, takes_bytes
from xpcnn.training import Model
from xpcnn.training.probabilities import class_probabilities, names_of_classes
from xpcnn.web.network import PageNetwork, page_network
from xpcnn.web.runtime import RUNTIME, runtime_files

_TEMPLATE = Path(__file__).with_name("index.html")
_SETTINGS = "{{settings}}"
"""What stands for the settings in the template."""

_LARGEST_SCALED = 32.0
"""What is made of white is at most so large, if the layer that scales is for bytes."""

FILES = ("index.html", "model.onnx", *(f"ort/{name}" for name in RUNTIME))
"""What a page consists of, in its folder."""


def export(
    model: Model, folder: str | Path, *, runtime: str | Path | None = None
) -> tuple[Path, ...]:
    """Write a web page on which one draws, and the model predicts in the browser.

    The page shows the probability of each class, the image as the network sees it, and the feature
    maps of the first convolution. It is static: any web server will do, and it works offline.

    Parameters
    ----------
    model : Model
        A classifier of images of shape (N, 1, height, width), as a network for MNIST is: white
        strokes on black, from 0 to 1.
    folder : str or Path
        Where to write the files; made if it is not there. Files that are there are replaced whole.
    runtime : str or Path, optional
        onnxruntime-web, which runs the network in the browser: a folder that has it, or the
        ``.tgz`` file that ``npm pack`` writes. Left out, npm fetches it.

    Returns
    -------
    tuple of Path
        The files, index.html first.

    Raises
    ------
    TypeError
        If an argument is of the wrong kind.
    ValueError
        If the page cannot show what the model takes or gives.
    UnsupportedModelError
        If layers cannot be expressed in ONNX.
    OSError
        If the files cannot be written, or `runtime` lacks some.
    RuntimeError
        If the model is not built, or npm cannot fetch onnxruntime-web.

    Examples
    --------
    >>> import xpcnn
    >>> model = xpcnn.Model([xpcnn.Flatten(), xpcnn.Linear(out_features=10)], device="cpu")
    >>> model.build((None, 1, 28, 28))
    (1, 10)
    >>> files = xpcnn.web.export(model, "page")  # doctest: +SKIP

    ``python -m http.server --directory page`` serves it then.
    """
    network, settings = _described(model)
    target = _folder(folder)
    content = {"index.html": _page(settings), "model.onnx": network.data}
    content |= {f"ort/{name}": data for name, data in runtime_files(runtime).items()}
    assert set(content) == set(FILES)
    paths = [target / name for name in FILES]
    (target / "ort").mkdir(parents=True, exist_ok=True)
    for path in paths:
        check_target(path)
    # the page last: until it is there, an old one goes with the files that it knows
    for path in reversed(paths):
        replace_file(path, content[path.relative_to(target).as_posix()])
    return tuple(paths)


def _described(model: Any) -> tuple[PageNetwork, dict[str, Any]]:
    """Check that the page can show a model; return its network, and what the page must know."""
    if not isinstance(model, Model):
        raise TypeError(f"web.export takes a Model, got {type(model).__name__}; write Model([...])")
    height, width = _image_size(model)
    zeros = np.zeros((1, 1, height, width), model.input_dtypes()[0])
    outputs = np.asarray(model.predict(zeros))
    classes = class_probabilities(model, outputs).shape[1]  # also says what is no classifier
    network = page_network(model, outputs.reshape(1, -1).shape[1])
    return network, {
        "model": f"model.onnx?{sha256(network.data).hexdigest()[:8]}",
        "input": network.input,
        "probabilities": network.probabilities,
        "features": network.features,
        "layer": network.layer,
        "height": height,
        "width": width,
        "white": _white(model.network),
        "classes": list(names_of_classes(model, classes)),
    }


def _white(network: Layer) -> int:
    """Return the number of a white pixel: 255 for networks that scale bytes, 1 for others.

    ``Normalize(0.13, 0.3)`` alone is for images from 0 to 1, of which it makes numbers near 0; of
    bytes it would make hundreds.
    """
    if not all(takes_bytes(network)):
        return 1
    scales = (x for _, x in network.layers_within() if isinstance(x, Preprocessing) and x.scales)
    first = next(scales)
    with undisturbed(first):
        scaled = first.forward(np.full((1, 1, 1, 1), 255, np.float32))
    return 255 if abs(scaled).max() <= _LARGEST_SCALED else 1


def _image_size(model: Model) -> tuple[int, int]:
    """Return height and width of the images, or say why one cannot draw what the model takes."""
    for names, what in ((model.inputs, "inputs"), (model.outputs, "outputs")):
        if len(names) != 1:
            raise ValueError(
                f"web.export: the page draws one image and shows the classes of one output; the "
                f"model has {len(names)} {what}, {', '.join(names)}"
            )
    shape = model.input_shape
    if shape is None or not model.network.is_built:
        raise RuntimeError(
            "web.export: the model is not built yet; train it, or call model.build((None, 1, 28, "
            "28))"
        )
    if len(shape) != 4 or shape[1] != 1:
        found = f"({', '.join(['N', *map(str, shape[1:])])})"
        colour = len(shape) == 4 and shape[1] == 3
        raise ValueError(
            "web.export: one draws white strokes on black, an image of shape (N, 1, height, "
            f"width); the model takes {'colour images' if colour else 'input'} of shape {found}"
            + ("; train one on grey images" if colour else "")
        )
    if model.dtype != "float32":
        raise ValueError(
            f"web.export: browsers run networks of float32, and the model is of {model.dtype}; "
            "convert it by model.to(dtype='float32')"
        )
    if model.batch not in (None, 1):
        raise ValueError(
            f"web.export: the page has one image at a time, and the model takes {model.batch}"
        )
    height, width = shape[2:]
    assert height is not None and width is not None
    return height, width


def _folder(folder: str | Path) -> Path:
    if not isinstance(folder, (str, Path)) or not str(folder):
        raise TypeError(f"web.export: folder must be the path of a folder, got {folder!r}")
    target = Path(folder)
    if target.exists() and not target.is_dir():
        raise NotADirectoryError(
            f"cannot write a page to {str(folder)!r}: it is a file; give a folder"
        )
    return target


def _page(settings: dict[str, Any]) -> bytes:
    """Return the page with its settings, which cannot end the script that they stand in."""
    text = json.dumps(settings, ensure_ascii=False).replace("<", "\\u003c")
    return _TEMPLATE.read_text(encoding="utf-8").replace(_SETTINGS, text).encode("utf-8")
