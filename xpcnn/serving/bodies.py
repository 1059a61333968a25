"""From the body of a request to arrays of samples: which kinds of bodies there are."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from starlette.datastructures import UploadFile
from starlette.requests import Request

from xpcnn.serving.batching import Arrays
from xpcnn.serving.limits import Limits
from xpcnn.serving.pictures import Pictures
from xpcnn.serving.problems import Problem
from xpcnn.serving.reading import Reader
from xpcnn.serving.served import Served

KINDS = "image/jpeg, image/png, ..., multipart/form-data, application/json or application/x-npy"
_AT_ONCE = 1 << 16
"""Bytes of JSON up to which another thread would take longer."""
_IMAGES_AT_A_TIME = 4


class Bodies:
    """Reads bodies and makes arrays of them, for one model."""

    def __init__(self, served: Served, limits: Limits) -> None:
        self._limits = limits
        self._reader = Reader(served, limits.max_batch)
        self._pictures = Pictures(served)
        self._images = asyncio.Semaphore(_IMAGES_AT_A_TIME)  # each takes memory for its pixels

    @property
    def takes_images(self) -> bool:
        """Whether the model takes images."""
        return self._pictures.reader is not None

    async def inputs(self, request: Request, until: float) -> Arrays:
        """Read a body and make arrays of it; the event loop goes on meanwhile.

        Raises
        ------
        Problem
            If there is anything wrong with it, or it has not come until then.
        """
        read = self._how_to_read(request)
        body = await self._body(request, until)
        if not body:
            raise Problem(400, f"the body is empty; expected {self._reader.expected}")
        return await read(request, body)

    def _how_to_read(self, request: Request) -> Callable[[Request, bytes], Any]:
        encoding = request.headers.get("content-encoding", "identity")
        if encoding != "identity":
            raise Problem(415, f"Content-Encoding {encoding[:40]!r}: send the body as it is")
        kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
        if kind == "application/json":
            return partial(self._arrays, self._reader.json)
        if kind == "application/x-npy":
            return partial(self._arrays, self._reader.npy)
        if kind.startswith("image/"):
            return self._image
        if kind == "multipart/form-data":
            return self._form
        hint = "; with curl, -H 'Content-Type: image/jpeg', say" if "urlencoded" in kind else ""
        found = f"Content-Type {kind[:40]!r} is not understood" if kind else "no Content-Type"
        raise Problem(415, f"{found}; send {KINDS}{hint}")

    async def _body(self, request: Request, until: float) -> bytes:
        most = self._limits.most_bytes
        length = request.headers.get("content-length", "0")
        if len(length) > 18 or (length.isdecimal() and int(length) > most):
            raise _too_large(most)
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout_at(until):
                async for part in request.stream():
                    size += len(part)
                    if size > most:
                        raise _too_large(most)
                    parts.append(part)
        except TimeoutError:
            raise Problem(
                408,
                f"the body did not come within {self._limits.timeout:g} s",
                {"Connection": "close"},
            ) from None
        return b"".join(parts)

    async def _arrays(
        self, read: Callable[[bytes], Arrays], request: Request, body: bytes
    ) -> Arrays:
        return read(body) if len(body) <= _AT_ONCE else await asyncio.to_thread(read, body)

    async def _image(self, request: Request, body: bytes) -> Arrays:
        return await self._images_of([body])

    async def _images_of(self, files: list[bytes]) -> Arrays:
        async with self._images:
            return await asyncio.to_thread(self._pictures.read, files)

    async def _form(self, request: Request, body: bytes) -> Arrays:
        async def replay() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        most = self._limits.max_batch
        try:
            form = Request(request.scope, replay).form(max_files=most, max_fields=most)
            async with form as fields:
                items = [item for _, item in fields.multi_items()]
                if not items or not all(isinstance(item, UploadFile) for item in items):
                    raise Problem(400, "the form must have files alone: one image in each field")
                files = [await item.read() for item in items if isinstance(item, UploadFile)]
        except Problem:
            raise
        except Exception as error:  # the parser's own, and those of what it calls
            text = getattr(error, "detail", None) or str(error) or type(error).__name__
            raise Problem(
                400, f"the form cannot be read: {text[:200]} (up to {most} files may come)"
            ) from None
        return await self._images_of(files)


def _too_large(most: int) -> Problem:
    return Problem(413, f"the body is larger than {most:,} bytes, which is the limit")
