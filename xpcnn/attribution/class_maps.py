"""Where a network sees a class: Grad-CAM."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpcnn import _xp
from xpcnn.attribution.explained import Explained, Options
from xpcnn.attribution.feature_layers import last_feature_layer
from xpcnn.layers import Upsample
from xpcnn.layers.inference import Watch
from xpcnn.training.looking import find_layers, is_one_name
from xpcnn.window import as_flag

MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}


def grad_cam(
    model: Any,
    x: Any,
    target: Any = None,
    *,
    layer: str | None = None,
    upsample: bool = True,
    relu: bool = True,
    output: str | None = None,
    probabilities: bool = False,
    batch_size: int | None = None,
) -> np.ndarray:
    """Return where the network sees a class: a map of each sample, by Grad-CAM.

    The feature maps of a layer are added up, each weighted by the mean of the gradient of the score
    with respect to it, and what is negative is set to 0 (Selvaraju et al., 2017).

    Parameters
    ----------
    model, x, target, output, probabilities, batch_size
        As for :func:`saliency`; `x` may be signals, images or volumes.
    layer : str, optional
        Name of a layer that gives feature maps (N, channels, ...). If left out, it is the last
        convolution with the normalisation, residual sum and activation behind it, so that the maps
        are what the paper calls activations.
    upsample : bool
        Whether to enlarge the maps to the size of the input, by linear interpolation.
    relu : bool
        ``False`` leaves negative numbers, where the network sees what speaks against the class.

    Returns
    -------
    numpy.ndarray
        (N, L), (N, H, W) or (N, D, H, W), without channels. The numbers are not scaled: divide by
        their maximum to show them.

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described, the network has no convolution, or the layer gives no
        feature maps, or does not lead to the output.

    Examples
    --------
    >>> import numpy as np, xpcnn
    >>> layers = [xpcnn.Conv2d(1, 4, 3), xpcnn.ReLU(), xpcnn.GlobalAvgPool2d(), xpcnn.Linear(4, 3)]
    >>> model = xpcnn.Model(layers, device="cpu", seed=0)
    >>> x = np.random.default_rng(0).random((2, 1, 8, 8), dtype="float32")
    >>> xpcnn.attribution.grad_cam(model, x).shape
    (2, 8, 8)
    >>> xpcnn.attribution.grad_cam(model, x, layer="0", upsample=False).shape
    (2, 6, 6)
    """
    who = "grad_cam"
    upsample, relu = as_flag(upsample, who, "upsample"), as_flag(relu, who, "relu")
    explained = Explained(model, x, target, Options(output, probabilities, batch_size), who)
    name = _chosen(model, layer)
    layers = find_layers(model.network, name, who)
    maps = []
    with explained.running():
        for numbers in explained.batches(explained.count):
            _, seen = explained.gradients(explained.rows(numbers), numbers, layers)
            maps.append(_weighted(seen, name, who)[: len(numbers)])
    found = np.concatenate(maps)
    found = np.maximum(found, 0.0) if relu else found
    if upsample:
        found = _enlarged(found, explained)
    return found.astype("float64" if model.dtype == "float64" else "float32")


def _chosen(model: Any, layer: Any) -> str:
    """Return the name of the layer whose maps are looked at."""
    if layer is None:
        found = last_feature_layer(model.network)
        if found is None:
            raise ValueError(
                "grad_cam: the network has no convolution; name the layer whose feature maps are "
                "to be looked at, with layer="
            )
        return found
    if not isinstance(layer, str):
        raise TypeError(
            f"grad_cam: layer must be the name of a layer, as model.summary() shows it, got "
            f"{layer!r:.200}"
        )
    if not is_one_name(model.network, layer):
        picked = find_layers(model.network, layer, "grad_cam: layer")
        raise ValueError(
            f"grad_cam: layer {layer!r} is a pattern, which picks {', '.join(picked)}; name one"
        )
    return layer


def _weighted(seen: Watch, name: str, who: str) -> np.ndarray:
    """Return the weighted sum of the feature maps of a batch, in float64."""
    outputs, gradients = seen.outputs.get(name, []), seen.gradients.get(name, [])
    if len(outputs) != 1:
        raise ValueError(
            f"{who}: layer {name!r} runs {len(outputs)} times for one input, and its maps are not "
            "one thing; take another one"
        )
    (maps,) = outputs
    if isinstance(maps, tuple) or maps.ndim < 3:
        shape = "several arrays" if isinstance(maps, tuple) else f"shape {tuple(maps.shape)}"
        raise ValueError(
            f"{who}: layer {name!r} gives {shape}, and what is needed are feature maps, such as "
            "(N, channels, height, width); take a convolution, or a layer close behind one"
        )
    if not gradients:
        raise ValueError(f"{who}: layer {name!r} does not lead to the output that is explained")
    a, g = (_xp.to_numpy(array).astype(np.float64) for array in (maps, gradients[0]))
    weights = g.mean(axis=tuple(range(2, g.ndim)), keepdims=True)
    return np.asarray((weights * a).sum(axis=1))


def _enlarged(maps: np.ndarray, explained: Explained) -> np.ndarray:
    """Bring maps to the size of the one input that has as many axes."""
    ndim = maps.ndim - 1
    sizes = {x.shape[2:] for x in explained.inputs if x.ndim == ndim + 2}
    if len(sizes) != 1 or ndim not in MODES:
        raise ValueError(
            f"grad_cam: maps of {ndim} axes cannot be enlarged to the size of an input, since "
            f"{len(sizes)} sizes of inputs have as many; give upsample=False"
        )
    (size,) = sizes
    return np.asarray(Upsample(size=size, mode=MODES[ndim])(maps[:, None])[:, 0])
