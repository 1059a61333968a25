"""The web application, on Starlette."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import xpcnn
from xpcnn.errors import is_out_of_memory
from xpcnn.serving.answers import check_top, predictions
from xpcnn.serving.batching import Arrays, Batcher
from xpcnn.serving.bodies import Bodies
from xpcnn.serving.limits import Limits
from xpcnn.serving.measures import Measures
from xpcnn.serving.problems import Problem, busy
from xpcnn.serving.served import Served

HUNG_UP = 499
"""Status of a request whose client has gone; nobody sees it but the counters."""

Message = MutableMapping[str, Any]


class Application:
    """A model behind HTTP; :attr:`asgi` is what a server runs."""

    def __init__(self, served: Served, limits: Limits) -> None:
        self._served, self._limits = served, limits
        self._bodies = Bodies(served, limits)
        self._measures = Measures(lambda: self._batcher.samples_waiting)
        self._batcher = Batcher(
            served.run,
            max_batch=limits.max_batch,
            max_delay=limits.max_delay_ms / 1000,
            ran=self._measures.ran,
        )
        self._underway = 0  # requests for predictions that are not answered yet
        routes = [
            Route("/", self.describe),
            Route("/health", self.health),
            Route("/metrics", self.metrics),
            Route("/predict", self.predict, methods=["POST"]),
        ]
        self._paths = {route.path for route in routes}
        app = Starlette(
            routes=routes,
            lifespan=self.lifespan,
            exception_handlers={
                Problem: _answer_problem,
                HTTPException: _answer_http,
                ClientDisconnect: _answer_nobody,
                Exception: _answer_failure,
            },
        )
        app.router.redirect_slashes = False
        self._app = app

    @asynccontextmanager
    async def lifespan(self, app: object = None) -> AsyncIterator[None]:
        """Answer predictions as long as a ``with`` lasts; servers do so by themselves."""
        async with self._batcher:
            yield

    async def __call__(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        """Answer, and count it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), 500
        path = scope["path"] if scope["path"] in self._paths else "other"

        async def note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, note)
        finally:
            self._measures.answered(path, status, time.perf_counter() - began)

    # -- What is asked for ---------------------------------------------------------------------

    async def describe(self, request: Request) -> Response:
        """Say what the model takes and gives."""
        served, limits = self._served, self._limits
        names = served.class_names
        return JSONResponse(
            {
                "xpcnn": xpcnn.__version__,
                "inputs": {
                    name: {"shape": [None, *shape], "dtype": dtype}
                    for name, (shape, dtype) in served.inputs.items()
                },
                "outputs": {
                    name: {"shape": [None, *shape]}
                    for name, shape in zip(served.outputs, served.shapes, strict=True)
                },
                "images": self._bodies.takes_images,
                "class_names": None if names is None else list(names),
                "limits": {
                    "samples": limits.max_batch,
                    "bytes": limits.most_bytes,
                    "seconds": limits.timeout,
                },
            }
        )

    async def health(self, request: Request) -> Response:
        """Say whether there is anybody to answer."""
        works = self._batcher.is_working
        return JSONResponse({"status": "ok" if works else "ended"}, 200 if works else 503)

    async def metrics(self, request: Request) -> Response:
        """Give the counters in Prometheus' text format."""
        content_type = {"Content-Type": self._measures.content_type}
        return Response(self._measures.text(), headers=content_type)

    async def predict(self, request: Request) -> Response:
        """Run the model on what the body holds."""
        if not self._batcher.is_working:
            raise busy("the application has not been started, or has ended")
        if self._underway >= self._limits.max_queue:
            raise busy(f"{self._underway} requests are being answered already")
        self._underway += 1
        try:
            until = asyncio.get_running_loop().time() + self._limits.timeout
            top = check_top(_only_query(request, "top"), self._served)
            inputs = await self._bodies.inputs(request, until)
            outputs = await self._outputs(request, inputs, until)
            return JSONResponse(predictions(outputs, self._served, top))
        finally:
            self._underway -= 1

    async def _outputs(self, request: Request, inputs: Arrays, until: float) -> Arrays:
        """Wait for the outputs; if the client hangs up, or it takes too long, drop the request."""
        answer = self._batcher.put(inputs)
        hung_up = asyncio.ensure_future(request.receive())  # nothing else comes behind the body
        try:
            left = until - asyncio.get_running_loop().time()
            await asyncio.wait((answer, hung_up), timeout=left, return_when="FIRST_COMPLETED")
        finally:
            hung_up.cancel()
            if not answer.done():
                answer.cancel()
        if answer.cancelled():
            if hung_up.done() and not hung_up.cancelled():
                raise ClientDisconnect
            raise busy(f"the model had no time for it within {self._limits.timeout:g} s")
        error = answer.exception()
        if error is None:
            return answer.result()
        if is_out_of_memory(error):
            raise busy("there is not enough memory for it now") from error
        if isinstance(error, (ValueError, TypeError, IndexError)):
            raise Problem(422, f"the model refuses these numbers: {error}") from error
        raise error


def _only_query(request: Request, name: str) -> str | None:
    """Return a parameter of the query, the only one there may be."""
    others = sorted(set(request.query_params) - {name})
    if others or len(request.query_params.getlist(name)) > 1:
        found = repr(others[0][:40]) if others else f"{name!r} more than once"
        raise Problem(400, f"the query: expected {name}=K or nothing, got {found}")
    return request.query_params.get(name)


# -- What is answered when something is wrong ----------------------------------------------------


async def _answer_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return JSONResponse({"error": error.text}, error.status, error.headers)


async def _answer_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    texts = {
        404: "there is /predict for POST, and /, /health and /metrics for GET",
        405: f"{request.method} is not for {request.url.path}; only POST is for /predict",
    }
    text = texts.get(error.status_code, error.detail)
    return JSONResponse({"error": text}, error.status_code, error.headers)


async def _answer_nobody(request: Request, error: Exception) -> Response:
    return Response(status_code=HUNG_UP)


async def _answer_failure(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": f"the server failed ({type(error).__name__})"}, 500)
