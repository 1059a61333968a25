"""A model behind HTTP: images or JSON in, names and probabilities out.

``xpcnn serve model.safetensors`` runs it; :func:`application` is for servers of your own. It needs
``pip install "xpcnn[serve]"``.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from xpcnn.serving.limits import Limits
from xpcnn.serving.served import Served
from xpcnn.training.model import Model

if TYPE_CHECKING:
    from xpcnn.serving.http import Application

__all__ = ["application"]

_NEEDED = ("starlette", "uvicorn", "prometheus_client", "python_multipart", "PIL")


def application(
    model: Model,
    *,
    max_batch: int = 32,
    max_delay_ms: float = 2.0,
    max_size: int | str = "10MB",
    max_queue: int = 256,
    timeout: float = 30.0,
) -> Application:
    """Return an ASGI application that serves a model.

    It answers ``POST /predict``, ``GET /health``, ``GET /metrics`` and ``GET /``. Requests that
    wait at the same time are put together, and the model runs on them in one thread.

    Parameters
    ----------
    model : Model
        Built; it must not be changed while it is served.
    max_batch : int
        The most samples the model is run on at a time, and of one request.
    max_delay_ms : float
        Milliseconds that a request may wait for others to go with it.
    max_size : int or str
        The most bytes of a body, as a number or as text such as "10MB".
    max_queue : int
        The most requests that are read, wait or run at a time; more are answered by 503.
    timeout : float
        Seconds within which a body has to come, and a request to be answered.

    Raises
    ------
    ImportError
        If Starlette or another package of the extra "serve" is not installed.
    TypeError, ValueError
        If an argument is out of range, the model is not built, or it does not give one output for
        each sample.

    Examples
    --------
    >>> import xpcnn
    >>> from xpcnn.serving import application
    >>> model = xpcnn.Model([xpcnn.Linear(4, 3), xpcnn.Softmax()], device="cpu", seed=0)
    >>> model.build((None, 4))
    (1, 3)
    >>> app = application(model)  # for uvicorn.run(app), say
    """
    check_installed()
    from xpcnn.serving.http import Application

    limits = Limits(max_batch, max_delay_ms, max_size, max_queue, timeout)
    return Application(Served(model, limits.max_batch), limits)


def check_installed() -> None:
    """Raise an ImportError that says what to install, unless all that serving needs is there."""
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(f'serving needs {", ".join(missing)}; run: pip install "xpcnn[serve]"')
