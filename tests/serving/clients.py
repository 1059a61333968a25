"""What tests of the web application share: small models, and clients in the same process."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest

import xpcnn
from xpcnn.serving import application

httpx = pytest.importorskip("httpx")
pytest.importorskip("starlette")
pytest.importorskip("prometheus_client")

IMAGE = np.random.default_rng(3).random((1, 6, 5), "float32")


def classifier(seed: int = 0, **settings: Any) -> xpcnn.Model:
    """Make a small network with three classes for images of shape (1, 6, 5)."""
    layers = [xpcnn.Conv2d(1, 4, 3), xpcnn.ReLU(), xpcnn.Flatten(), xpcnn.Linear(48, 3)]
    model = xpcnn.Model(layers, seed=seed, **{"device": "cpu", **settings})
    model.build((None, 1, 6, 5))
    model.compile("sgd", "cross_entropy")
    return model


def softmax(y: np.ndarray) -> np.ndarray:
    e = np.exp(y.astype("float64"))
    return e / e.sum(axis=-1, keepdims=True)


def serve(model: xpcnn.Model, use: Callable[..., Awaitable[Any]], **limits: Any) -> Any:
    """Call a function with a client of an application that serves a model."""

    async def main() -> Any:
        app = application(model, **limits)
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with app.lifespan(), httpx.AsyncClient(transport=transport, base_url="http://s") as c:
            return await use(c)

    return asyncio.run(main())


def post(model: xpcnn.Model, path: str = "/predict", **request: Any) -> Any:
    """Return the answer to one request: how to send it is what httpx' ``post`` takes."""
    limits = request.pop("limits", {})

    async def use(client: Any) -> Any:
        return await client.post(path, **request)

    return serve(model, use, **limits)


def error_of(answer: Any, status: int) -> str:
    """Return the message of an answer that must have this status."""
    assert answer.status_code == status, answer.text
    assert list(answer.json()) == ["error"]
    return answer.json()["error"]
