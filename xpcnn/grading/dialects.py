"""The ways in which courses write a layer: names of arguments, order of axes, gradients."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from xpcnn.grading.calling import NotOfferedError, UnrecognisedError, guarded, to_host

# Names as they are without underscores and in lower case.
ROLES: dict[str, str] = {
    "W": "w weight weights kernels wt weightmatrix w1 filt filterweights initw initialw",
    "b": "b bias biases b1 initb",
    "stride": "stride strides s step steps stridesize poolstride",
    "pad": "pad padding pads p paddingsize npad",
    "out": "nfilters filternum numfilters outchannels outch cout noutputchannels outputchannels "
    "filters nout outfeatures nnodes2 noutput outputsize outputdim outdim units fn outsize nf "
    "numfilter noutputs nodes2 nnodesout numoutputs outfeature filterscount nodesout hidden",
    "in": "nchannels inchannels channels inch cin ninputchannels inputchannels c nin infeatures "
    "nnodes1 ninput inputsize inputdim indim insize numchannels ninputs nodes1 nnodesin numinputs "
    "infeature nodesin numfeatures nfeatures",
    "size": "kernelsize filtersize ksize size k kernel fsize poolsize f fs filterlength ks "
    "windowsize window kernelshape filtershape poolingsize poolshape filterwidth pool",
    "height": "filterh kernelh poolh kh fh ph filterheight kernelheight poolheight hh hf",
    "width": "filterw kernelw poolw kw fw pw kernelwidth poolwidth ww wf",
    "gamma": "gamma g scale",
    "beta": "beta shift",
    "ratio": "dropoutratio ratio rate droprate dropoutrate dropprob dropoutprob prob p dropout",
    "keep": "keepprob keep keepratio keeprate",
    "lr": "lr learningrate eta alpha stepsize",
    "initializer": "initializer init initialiser weightinit",
    "optimizer": "optimizer opt optimiser optim",
    "activation": "activation act activationfunction",
    "x": "x input inputs a img image images data inputdata z aprev xin imgs batch signal "
    "logits scores",
    "t": "t target targets label labels d ytrue yt yactual onehot truth teacher",
    "y": "y pred prediction predictions yhat ypred output proba probs yprob",
    "col": "col cols columns dcol dcols",
    "shape": "shape inputshape xshape imshape imgshape imageshape",
    "backward": "isbackward backward",
    "param": "convparam poolparam hparameters hparams hparam param convparams poolparams bnparam "
    "bnparams dropoutparam dropparam",
}
FLAGS = ("train_flg", "train_flag", "training", "is_training", "train", "is_train", "mode")
ARRAYS = {"W": ("W", "w", "weight", "weights", "kernel", "kernels", "filters", "filter", "F", "Ws"),
          "b": ("b", "bias", "biases", "B"), "gamma": ("gamma", "g", "weight", "scale", "W"),
          "beta": ("beta", "bias", "shift", "b")}  # fmt: skip


def plain(name: str) -> str:
    """Leave out what is only a matter of spelling."""
    return name.replace("_", "").replace("-", "").lower()


def roles_of(function: Callable[..., Any], preferred: tuple[str, ...]) -> dict[str, str | None]:
    """Return what each parameter of a function means, in their order; None if nobody knows.

    `preferred` decides where a name has several meanings: ``p`` is the padding of a convolution
    and the ratio of a dropout.
    """
    found: dict[str, str | None] = {}
    for name, parameter in signature(function).items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        roles = [r for r, names in ROLES.items() if plain(name) in names.split()]
        liked = [r for r in roles if r in preferred]
        found[name] = next(iter(liked or roles), None)
    if "W" in preferred and not {"W", "out", "in"} & set(found.values()):
        for name in found:
            if plain(name) in ("kernel", "filter", "filters"):
                found[name] = "W"  # without numbers of filters, it is what they are made of
    return found


def signature(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """Return the parameters of a function; nothing of one that does not tell."""
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):
        return {}


def arguments(
    function: Callable[..., Any],
    values: Mapping[str, Any],
    preferred: tuple[str, ...],
    asked: tuple[str, ...] = (),
    who: str = "it",
) -> dict[str, Any]:
    """Choose the arguments of a function by the roles of its parameters."""
    roles = roles_of(function, preferred)
    for setting in asked:
        if not {setting, "param"} & set(roles.values()):
            raise NotOfferedError(setting)
    chosen = {}
    for name, role in roles.items():
        if callable(signature(function)[name].default) and not _empty(function, name):
            continue  # f=np.tanh is no size of a filter
        if role is not None and role in values:
            chosen[name] = values[role]
        elif _empty(function, name):
            raise UnrecognisedError(
                f"{who} needs an argument {name!r}, and nothing is known to pass for it"
            )
    return chosen


def _empty(function: Callable[..., Any], name: str) -> bool:
    return signature(function)[name].default is inspect.Parameter.empty


@dataclass(frozen=True)
class Layout:
    """How a course lays its arrays out.

    `images` is "first" for (N, C, ...), "last" for (N, ..., C), "unbatched" for (C, ...), "line"
    for the plain (L,), "rows" for (N, D), and "columns" for (D, N). `weights` is "as is", "last"
    for (..., C, F), "transposed", or "flat" for (F, C * taps).
    """

    images: str = "first"
    weights: str = "as is"
    bias: str = "line"

    def theirs(self, name: str, a: np.ndarray) -> Any:
        if name in ("x", "y", "dout", "dx"):
            if self.images == "last":
                a = np.moveaxis(a, 1, -1)
            elif self.images == "columns":
                a = a.T
            elif self.images == "unbatched":
                a = a[0]
            elif self.images == "line":
                a = a[0, 0]
            return np.array(a, order="C")
        if name == "W":
            if self.weights == "last":
                a = np.moveaxis(a, (1, 0), (-2, -1))
            elif self.weights == "transposed":
                a = a.T
            elif self.weights == "flat":
                a = a.reshape(a.shape[0], -1)
            elif self.weights == "line":
                a = a[0, 0]
            return np.array(a, order="C")
        if self.bias == "row" and name == "b":
            return np.array(a).reshape((1,) * self.bias_rank(a) + a.shape)
        if self.bias == "column" and name == "b":
            return np.array(a).reshape(-1, 1)
        return np.array(a)

    @property
    def has_bias(self) -> bool:
        """Whether there is a bias; only what takes none is checked without."""
        return self.bias != "none"

    def bias_rank(self, a: np.ndarray) -> int:
        return 3 if self.images == "last" else 1

    def ours(self, name: str, a: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Undo it; what has another shape than it should stays as it is."""
        if name in ("x", "y", "dout", "dx"):
            if self.images == "last" and a.ndim == len(shape):
                return np.moveaxis(a, -1, 1)
            if self.images == "columns" and a.ndim == 2:
                return a.T
            if self.images == "unbatched" and a.ndim == len(shape) - 1:
                return a[None]
            if self.images == "line" and a.ndim == 1:
                return a[None, None]
            return a
        if name == "dW":
            if self.weights == "last" and a.ndim == len(shape):
                return np.moveaxis(a, (-1, -2), (0, 1))
            if self.weights == "transposed" and a.ndim == 2:
                return a.T
            if self.weights in ("flat", "line") and a.size == np.prod(shape):
                return a.reshape(shape)
            return a
        if a.size == np.prod(shape) and a.size == max((*a.shape, 1)):
            return a.reshape(shape)  # (1, F) and (F, 1) are as good as (F,)
        return a

    def __str__(self) -> str:
        images = {"first": "(N, C, ...)", "last": "(N, ..., C)", "unbatched": "(C, ...)",
                  "line": "(L,)", "rows": "(N, D)", "columns": "(D, N)",
                  "plain": ""}[self.images]  # fmt: skip
        weights = {"as is": "", "last": ", W (..., C, F)", "transposed": ", W (in, out)",
                   "flat": ", W (F, C * taps)", "line": ", W (taps,)"}[self.weights]  # fmt: skip
        bias = "" if self.has_bias else ", without b"
        return f"x {images}".rstrip() + weights + bias


class Stub:
    """Stands in for the initializer, optimizer or activation that a layer of a course is given."""

    def W(self, *shape: Any) -> np.ndarray:  # noqa: N802
        return np.zeros([int(n) for n in shape])

    def B(self, *shape: Any) -> np.ndarray:  # noqa: N802
        return np.zeros(int(shape[-1]))

    b = B

    def update(self, layer: Any = None, *others: Any) -> Any:
        return layer

    def forward(self, x: Any) -> Any:
        return x

    backward = forward
    __call__ = forward


def places(obj: Any, role: str) -> Iterator[tuple[Any, Any, str]]:
    """Yield where a parameter may lie: the owner, its key, and the name, for `get` and `put`."""
    attributes = vars(obj) if hasattr(obj, "__dict__") else {}
    for name in ARRAYS[role]:
        if to_host(attributes.get(name)) is not None:
            yield obj, name, name
        for store in ("params", "parameters", "param"):
            held = attributes.get(store)
            if isinstance(held, dict) and to_host(held.get(name)) is not None:
                yield held, name, name
    for store in ("params", "parameters", "param"):
        held = attributes.get(store)
        if isinstance(held, list) and len(held) == 2:
            yield held, 0 if role in ("W", "gamma") else 1, role


def get(owner: Any, key: Any) -> Any:
    """Read what lies at a place."""
    return owner[key] if isinstance(owner, (dict, list)) else getattr(owner, key)


def put(owner: Any, key: Any, value: Any) -> None:
    """Write to a place."""
    if isinstance(owner, (dict, list)):
        owner[key] = value
    else:
        setattr(owner, key, value)


def held_gradient(obj: Any, role: str) -> np.ndarray | None:
    """Return the gradient that an object keeps of a parameter, under any usual name."""
    attributes = vars(obj) if hasattr(obj, "__dict__") else {}
    lower = {name.lower(): value for name, value in attributes.items()}
    for name in (n.lower() for n in ARRAYS[role]):
        for spelling in (f"d{name}", f"d_{name}", f"grad_{name}", f"{name}_grad", f"g{name}",
                         f"grad{name}", f"delta_{name}", f"{name}grad", f"dl_d{name}",
                         f"grad_{name}s", f"delta{name}"):  # fmt: skip
            if (found := to_host(lower.get(spelling))) is not None:
                return found
    for store in ("grads", "gradients", "grad", "dparams"):
        held = attributes.get(store)
        if isinstance(held, dict):
            for name in ARRAYS[role]:
                for spelling in (name, f"d{name}"):
                    if (found := to_host(held.get(spelling))) is not None:
                        return found
        elif isinstance(held, (list, tuple)) and len(held) == 2:
            return to_host(held[0 if role in ("W", "gamma") else 1])
    return None


def method(obj: Any, *names: str) -> Callable[..., Any] | None:
    """Return the first of several methods that an object has."""
    for name in names:
        found = getattr(obj, name, None)
        if callable(found):
            return found
    return None


def with_flag(function: Callable[..., Any], training: bool) -> dict[str, Any]:
    """Return the argument that says whether this is training, if there is one."""
    for name in signature(function):
        if name in FLAGS:
            default = signature(function)[name].default
            if isinstance(default, str) or name == "mode":
                return {name: "train" if training else "test"}
            return {name: training}
    return {}


def set_mode(obj: Any, training: bool) -> bool:
    """Set the mode of an object that keeps it in an attribute or has train() and eval()."""
    switch = method(obj, "train" if training else "eval")
    if switch is not None:
        guarded("train()" if training else "eval()", switch)
        return True
    for name in ("training", "train_flg", "is_training", "is_train", "train"):
        if isinstance(getattr(obj, name, None), bool):
            setattr(obj, name, training)
            return True
    return False


def name_of(theirs: Any) -> str:
    """Return what a class, an object or a function is called."""
    name = getattr(theirs, "__name__", None) or type(theirs).__name__
    return re.sub(r"<lambda>", "lambda", name)


class Signed:
    """Something with a given signature."""

    def __init__(self, parameters: dict[str, inspect.Parameter]) -> None:
        order = sorted(parameters.values(), key=lambda p: p.default is not inspect.Parameter.empty)
        self.__signature__ = inspect.Signature(
            [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in order]
        )

    def __call__(self) -> None: ...
