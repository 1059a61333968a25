"""Convolution by cuDNN, through NVIDIA's frontend: graphs, plans and their execution.

cuDNN takes a computation as a graph of operations on tensors that are described by shape, strides
and dtype, and answers with a list of plans, the one that it believes to be the fastest in front.
Building a plan takes milliseconds, so plans are kept; executing one takes pointers alone.

Shapes are (N, C, *spatial), with two or three spatial dimensions, and the memory is channels-last:
(N, *spatial, C). What is set here holds for the whole process.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import threading
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from math import prod
from types import ModuleType
from typing import Any, Literal, NamedTuple

from xpcnn._xp import Array
from xpcnn.errors import is_out_of_memory
from xpcnn.kernels.cuda import source
from xpcnn.kernels.precision import float32_products, get_deterministic, get_precision
from xpcnn.kernels.workspace import get_workspace_limit
from xpcnn.window import Ints, Window

logger = logging.getLogger(__name__)

Product = Literal["y", "dx", "dw"]

DTYPES = {"float32": "FLOAT", "float16": "HALF", "bfloat16": "BFLOAT16"}
"""Ours and cuDNN's names of the dtypes that it convolves.

Not float64: nvidia-cudnn-frontend 1.26 hands the factor 1 over as a float32 where cuDNN 9.19 reads
a float64, which makes 5e-315 of it, or what lies beside it in memory."""

X, W, B, Y = 1, 2, 3, 4
"""Numbers of the tensors in every graph: image, filters, bias, result of the forward. A gradient
has the number of what it is the gradient of."""

ALIGNMENT = 16
"""Bytes; plans assume that every array begins at a multiple of it."""

WORKSPACE_FACTOR = 16
"""cuDNN may use so many times the workspace limit: a GPU's fast algorithms need room, 1 GiB as in
PyTorch, which the default of 64 MiB for columns would exclude."""

_MOST_PLANS = 4096


class Settings(NamedTuple):
    """What decides, besides the arrays, which plan is good."""

    float32: str = "float32"
    deterministic: bool = False
    autotune: bool = False
    exact: bool = False
    workspace: int = WORKSPACE_FACTOR * 64 * 2**20


_chosen = Settings()


def set_autotune(on: bool) -> None:
    """Choose whether all plans are built and timed when a shape is first seen.

    That takes a second or so per shape; without it, cuDNN's guess is taken.
    """
    global _chosen
    _chosen = _chosen._replace(autotune=bool(on))


def get_settings() -> Settings:
    """Return what is set now, here and for all kernels."""
    return _chosen._replace(
        float32=float32_products.get(),
        deterministic=get_deterministic(),
        exact=get_precision() == "exact",
        workspace=WORKSPACE_FACTOR * get_workspace_limit(),
    )


_compute_type: tuple[str, int] | None = None
"""What CuPy was told last, and for which device."""


def set_compute_type() -> None:
    """Make CuPy's matrix products of float32 follow :data:`precision.float32_products`.

    CuPy holds one setting for the process, so every operation that multiplies sets it before.
    """
    global _compute_type
    cupy = importlib.import_module("cupy")
    wanted = (float32_products.get(), cupy.cuda.runtime.getDevice())
    if wanted == _compute_type:
        return
    linalg = importlib.import_module("cupy._core._routines_linalg")
    # Older GPUs have no TF32, and CuPy warns.
    tf32 = wanted[0] == "tf32" and int(cupy.cuda.Device().compute_capability) >= 80
    kind = linalg.COMPUTE_TYPE_TF32 if tf32 else linalg.COMPUTE_TYPE_DEFAULT
    linalg.set_compute_type("float32", kind)
    _compute_type = wanted


@dataclass(frozen=True, slots=True)
class Problem:
    """One product of a convolution: what a plan is made for, and kept under.

    Attributes
    ----------
    product : {"y", "dx", "dw"}
        The forward, the gradient of the input, or that of the filters.
    x, w : tuple of int
        Shapes of image and filters, (N, C, *spatial) and (O, C / groups, *kernel).
    window : Window
    dtype : str
        Of all arrays; sums are made in float32 at least.
    bias, relu : bool
        What the forward does besides.
    settings : Settings
    """

    product: Product
    x: Ints
    w: Ints
    window: Window
    dtype: str
    bias: bool
    relu: bool
    settings: Settings

    @property
    def y(self) -> Ints:
        """Shape of the forward's result."""
        return (self.x[0], self.w[0], *self.window.output_shape(self.x[2:]))


class Plan(NamedTuple):
    """A graph with the plan that executes it."""

    graph: Any
    workspace: int
    number: int | None = None

    def execute(self, pointers: dict[int, int], workspace: int, handle: Any) -> None:
        """Put it into the stream of the handle."""
        if self.number is None:
            self.graph.execute(pointers, workspace, handle=handle)
        else:
            self.graph.execute_plan_at_index(pointers, workspace, self.number, handle=handle)


# -- Graphs --------------------------------------------------------------------------------------


def channels_last_strides(shape: Ints) -> list[int]:
    """Return the strides, in elements, of (N, C, *spatial) stored as (N, *spatial, C)."""
    channels, *spatial = shape[1:]
    strides = [channels * prod(spatial[axis + 1 :]) for axis in range(len(spatial))]
    return [channels * prod(spatial), 1, *strides]


def describe(cudnn: ModuleType, problem: Problem, **where: Any) -> Any:
    """Write a problem down as a graph.

    Parameters
    ----------
    cudnn : module
    problem : Problem
    **where
        What to plan for: ``handle=`` of a GPU, or ``device_property=`` of one that is not here.
    """
    dtype = getattr(cudnn.data_type, DTYPES[problem.dtype])
    compute = cudnn.data_type.FLOAT
    graph = cudnn.pygraph(
        io_data_type=dtype, intermediate_data_type=compute, compute_data_type=compute, **where
    )

    def tensor(number: int, shape: Ints) -> Any:
        return graph.tensor(
            dim=list(shape),
            stride=channels_last_strides(shape),
            data_type=dtype,
            uid=number,
            name="?XWBY"[number],
        )

    def sized(tensor: Any, shape: Ints) -> Any:
        # What is left to be inferred may come out wrong: dgrad takes C / groups for C.
        return tensor.set_dim(list(shape)).set_stride(channels_last_strides(shape))

    window = problem.window
    options = {
        "pre_padding": [before for before, _ in window.padding],
        "post_padding": [after for _, after in window.padding],
        "stride": list(window.stride),
        "dilation": list(window.dilation),
    }
    x, w, y = problem.x, problem.w, problem.y
    if problem.product == "y":
        number, shape = Y, y
        result = graph.conv_fprop(image=tensor(X, x), weight=tensor(W, w), **options)
        if problem.bias:
            bias = (1, y[1], *(1,) * window.ndim)
            result = graph.bias(input=sized(result, y), bias=tensor(B, bias))
        if problem.relu:
            result = graph.relu(input=sized(result, y))
    elif problem.product == "dx":
        number, shape = X, x
        result = graph.conv_dgrad(loss=tensor(Y, y), filter=tensor(W, w), **options)
    else:
        number, shape = W, w
        result = graph.conv_wgrad(image=tensor(X, x), loss=tensor(Y, y), **options)
    sized(result, shape).set_output(True).set_data_type(dtype).set_uid(number)
    return graph


def unwanted(cudnn: ModuleType, problem: Problem) -> list[Any]:
    """List the numerical notes of engines that must not be used."""
    settings = problem.settings
    # Both lose more than the dtype of the arrays does.
    names = ["DOWN_CONVERT_INPUTS", "REDUCED_PRECISION_REDUCTION"]
    if problem.dtype == "float32" and settings.float32 == "float32":
        names.append("TENSOR_CORE")
    if settings.exact:
        names += ["FFT", "WINOGRAD"]
        names += [f"WINOGRAD_TILE_{size}" for size in ("4x4", "6x6", "13x13")]
    if settings.deterministic:
        names.append("NONDETERMINISTIC")
    return [getattr(cudnn.numerical_note, name) for name in names]


def list_plans(cudnn: ModuleType, graph: Any, problem: Problem) -> None:
    """Ask for the plans of a graph and strike out those that must not be used.

    Raises
    ------
    cudnnGraphNotSupportedError
        If there is none.
    """
    graph.validate()
    graph.build_operation_graph()
    graph.create_execution_plans([cudnn.heur_mode.A, cudnn.heur_mode.FALLBACK])
    graph.deselect_numeric_notes(unwanted(cudnn, problem))
    graph.deselect_workspace_greater_than(problem.settings.workspace)


# -- Handles and plans ---------------------------------------------------------------------------


@cache
def _load() -> ModuleType | str:
    """Import the frontend and load cuDNN, or say why that is not possible."""
    wanted = {"cudnn": "nvidia-cudnn-frontend", "cuda.pathfinder": "cuda-pathfinder"}
    for module, package in wanted.items():
        with suppress(ModuleNotFoundError):  # there may be no package `cuda` at all
            if importlib.util.find_spec(module) is not None:
                continue
        return f"{package} is not installed"
    try:
        # Where cuDNN does not find this library it ends the process, so it is loaded before.
        load = importlib.import_module("cuda.pathfinder").load_nvidia_dynamic_lib
        load("cublasLt")
        with suppress(Exception):  # without it, cuDNN has the compiled engines alone
            load("nvrtc")
        cudnn = importlib.import_module("cudnn")
        cudnn.backend_version()
    except Exception as error:
        return f"cuDNN cannot be loaded ({type(error).__name__}: {error})"
    return cudnn


class _Context:
    """What one thread keeps for one device: a handle, and the plans built with it.

    A handle has one stream and a graph one set of pointers, so neither is shared between threads.
    Both stay until the process ends.
    """

    def __init__(self, cudnn: ModuleType) -> None:
        self.cudnn = cudnn
        self.handle = cudnn.create_handle()
        self.stream: int | None = None
        self.plans: dict[Problem, Plan | None] = {}

    def work_in(self, stream: int) -> None:
        """Put what is executed from now on into a stream; setting it takes time at each call."""
        if stream != self.stream:
            self.stream = None  # in case of an error
            self.cudnn.set_stream(handle=self.handle, stream=stream)
            self.stream = stream

    def plan(self, problem: Problem, pointers: dict[int, int]) -> Plan | None:
        """Return the plan for a problem, or ``None`` where there is none."""
        if problem not in self.plans:
            if len(self.plans) >= _MOST_PLANS:
                self.plans.clear()
            try:
                self.plans[problem] = self._build(problem, pointers)
            except Exception as error:  # of many kinds: the frontend's own, ValueError, ...
                self._say(problem, error)
                if _may_pass(error):
                    return None
                self.plans[problem] = None
        return self.plans[problem]

    def _build(self, problem: Problem, pointers: dict[int, int]) -> Plan:
        graph = describe(self.cudnn, problem, handle=self.handle)
        list_plans(self.cudnn, graph, problem)
        if problem.settings.autotune:
            return _fastest(graph, pointers, self.handle)
        graph.check_support()
        graph.build_plans()
        return Plan(graph, graph.get_workspace_size())

    @staticmethod
    def _say(problem: Problem, error: Exception) -> None:
        first_line = str(error).partition("\n")[0][:200]
        text = f"cuDNN has no plan for {_summary(problem)}: {first_line}"
        if problem.bias or problem.relu:
            logger.debug(text)  # it is asked for the product alone next
        else:
            warn_once((problem.product, problem.dtype), text)


def _may_pass(error: Exception) -> bool:
    """Whether the next try may succeed: memory ran out, whatever the class of the error."""
    return is_out_of_memory(error) or "alloc_failed" in str(error).lower()


def _fastest(graph: Any, pointers: dict[int, int], handle: Any) -> Plan:
    """Build all plans, time each with the arrays at hand, and return the best."""
    import cupy

    best: tuple[float, Plan] | None = None
    for index in range(graph.get_execution_plan_count()):
        try:
            graph.build_plan_at_index(index)
            size = graph.get_workspace_size_plan_at_index(index)
            plan = Plan(graph, size, index)
            room = cupy.cuda.alloc(size)
            plan.execute(pointers, room.ptr, handle)
            began, ended = cupy.cuda.Event(), cupy.cuda.Event()
            began.record()
            for _ in range(3):
                plan.execute(pointers, room.ptr, handle)
            ended.record()
            ended.synchronize()
            took = cupy.cuda.get_elapsed_time(began, ended)
        except Exception as error:  # it was struck out, or cannot be built for this GPU
            logger.debug("plan %d of %d: %s", index, graph.get_execution_plan_count(), error)
            continue
        if best is None or took < best[0]:
            best = took, plan
    if best is None:
        raise RuntimeError("none of its plans can be executed")
    return best[1]


_kept = threading.local()
_broken: str | None = None


def unavailable() -> str | None:
    """Say why cuDNN cannot be used in this process, half a sentence; ``None`` if it can."""
    cudnn = _load()
    return cudnn if isinstance(cudnn, str) else _broken


def _context(device: int) -> _Context | None:
    """Return this thread's context for a device; ``None`` if cuDNN cannot be used."""
    global _broken
    contexts: dict[int, _Context] = _kept.__dict__.setdefault("contexts", {})
    if device not in contexts:
        cudnn = _load()
        if isinstance(cudnn, str) or _broken is not None:
            warn_once("cuDNN", f"convolution goes without cuDNN: {unavailable()}")
            return None
        try:
            contexts[device] = _Context(cudnn)
        except Exception as error:
            _broken = f"cuDNN does not start ({error})"
            warn_once("cuDNN", f"convolution goes without cuDNN: {_broken}")
            return None
    return contexts[device]


def execute(problem: Problem, arrays: dict[int, Array]) -> bool:
    """Compute a product on the current device, in CuPy's current stream.

    Parameters
    ----------
    problem : Problem
    arrays : dict of int to array
        The arrays of the graph by their numbers, the one to be written included; all of them
        channels-last and aligned, as :func:`channels_last` returns them.

    Returns
    -------
    bool
        Whether it was done; not if cuDNN cannot be used, or has no plan for this or not the dtype.
    """
    if problem.dtype not in DTYPES:
        return False
    import cupy

    stream = cupy.cuda.get_current_stream()
    context = _context(cupy.cuda.runtime.getDevice())
    if context is None:
        return False
    context.work_in(stream.ptr)
    pointers = {number: address(array) for number, array in arrays.items()}
    plan = context.plan(problem, pointers)
    if plan is None:
        return False
    # CuPy's pool gives this memory to the next operation of the same stream, and none earlier.
    room = cupy.cuda.alloc(plan.workspace) if plan.workspace else None
    plan.execute(pointers, 0 if room is None else int(room.ptr), context.handle)
    return True


# -- Arrays --------------------------------------------------------------------------------------


def address(x: Array) -> int:
    """Return where the first element of a CuPy array lies."""
    return int(x.data.ptr)


def channels_last(xp: ModuleType, x: Array) -> Array:
    """Return x (N, C, *spatial) with its memory channels-last and aligned; itself if it is so."""
    x = source.laid_out(xp, x, last=True)
    if address(x) % ALIGNMENT == 0:
        return x
    copy = xp.moveaxis(x, 1, -1).copy()
    return xp.moveaxis(copy, -1, 1)


def aligned(xp: ModuleType, x: Array) -> Array:
    """Return x contiguous and aligned; itself if it is so."""
    return x if x.flags.c_contiguous and address(x) % ALIGNMENT == 0 else x.copy()


# -- What is said --------------------------------------------------------------------------------

_said: set[Any] = set()


def warn_once(subject: Any, text: str) -> None:
    """Log a warning, and what else there is to be said on the same subject for debugging alone."""
    logger.log(logging.DEBUG if subject in _said else logging.WARNING, text)
    _said.add(subject)


def _summary(problem: Problem) -> str:
    window = problem.window
    return (
        f"{problem.product} of {problem.dtype} images {problem.x} and filters {problem.w}, stride "
        f"{window.stride}, padding {window.padding}, dilation {window.dilation}"
        f"{', bias' if problem.bias else ''}{', ReLU' if problem.relu else ''}"
    )
