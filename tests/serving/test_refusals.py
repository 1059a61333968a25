"""What a client does wrong is answered by 4xx and a message, and the server goes on."""

from __future__ import annotations

import asyncio
import io
import json
import threading
from collections.abc import AsyncIterator

import numpy as np
import pytest

import xpcnn
from tests.serving.clients import IMAGE, classifier, error_of, httpx, post, serve
from xpcnn.serving import application

MODEL = classifier()
GOOD = {"instances": IMAGE.tolist()}
JSON = {"content-type": "application/json"}
SHAPE = "(N, 1, 6, 5)"


def nested(shape: tuple[int, ...], value: object = 0.5) -> object:
    return value if not shape else [nested(shape[1:], value) for _ in range(shape[0])]


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"", 400, "the body is empty; expected shape (N, 1, 6, 5), with N up to 4"),
        (b"{", 400, "not valid JSON"),
        (b"\xff\xfe\xfa", 400, "not valid JSON"),
        (b'{"instances": [NaN]}', 400, "NaN is no number of JSON"),
        (b'{"instances": [-Infinity]}', 400, "-Infinity is no number of JSON"),
        (b"[" * 200_000, 413, "the body holds more than a request may"),
        (b"[" * 120, 400, "not valid JSON"),
        (b"{}", 400, "got an object with nothing in it"),
        (b'{"instances": 1, "b": 2}', 400, "got an object with 'instances', 'b'"),
        (b'"text"', 400, "got no object"),
        (b"3", 400, "got no object"),
        (b"null", 400, "got no object"),
        (
            b"[" + b"0," * 10_000 + b"0]",
            413,
            "than a request may; expected shape (N, 1, 6, 5)",
        ),
    ],
)
def test_json_that_is_none(body, status, said):
    answer = post(MODEL, content=body, headers=JSON, limits={"max_batch": 4})
    assert said in error_of(answer, status)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([], "there are no samples"),
        (3, "something else than lists at depth 1"),
        ("text", "something else than lists at depth 1"),
        (nested((6, 5)), "a list of 5 for axis 1, which has 1"),
        (nested((1, 6, 4)), "a list of 4 for axis 3, which has 5"),
        (nested((2, 1, 6, 5, 1)), "more lists in the place of numbers"),
        (nested((1, 6, 5), "1.5"), "text in the place of numbers"),
        (nested((1, 6, 5), None), "null in the place of numbers"),
        (nested((1, 6, 5), True), "true or false in the place of numbers"),
        (nested((1, 6, 5), {}), "an object in the place of numbers"),
        ([[[1, 2, 3, 4, 5]] * 5 + [[1, 2]]], "a list of 2 for axis 3, which has 5"),
        ([[[1, 2, 3, 4, 5]] * 5 + [7]], "something else than lists at depth 4"),
        ([[[]] * 6], "a list of 0 for axis 3"),
    ],
)
def test_samples_of_another_shape_or_kind(value, said):
    answer = post(MODEL, json={"instances": value})
    text = error_of(answer, 422)
    assert said in text
    assert SHAPE in text


@pytest.mark.parametrize("number", ["1e999", "1e300", "-1e39", "1" + "0" * 400, "9" * 5000])
def test_numbers_that_are_too_large(number):
    body = json.dumps(nested((1, 6, 5))).replace("0.5", number, 1)
    answer = post(MODEL, content=body, headers=JSON)
    assert answer.status_code in (400, 422)
    assert error_of(answer, answer.status_code)


def test_numbers_that_make_the_outputs_infinite():
    model = xpcnn.Model([xpcnn.Linear(2, 2)], device="cpu", seed=0)
    model.build((None, 2))
    model.load_state_dict({"0.weight": [[3e38, 3e38], [1.0, 1.0]], "0.bias": [0.0, 0.0]})

    async def use(client):
        rows = [[1e-9, 0.0]], [[3.0, 3.0]]
        return await asyncio.gather(*(client.post("/predict", json=row) for row in rows))

    with np.errstate(over="ignore"):
        good, bad = serve(model, use, max_delay_ms=20)
    assert good.status_code == 200
    assert "NaN or infinity for these numbers" in error_of(bad, 422)


def npy(x: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, x)
    return file.getvalue()


FLOATS = np.zeros((2, 1, 6, 5), "float32")
FEW = npy(FLOATS)


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"nonsense", 400, "no file of numpy.save"),
        (FEW[:20], 400, "no file of numpy.save"),
        (FEW[:-1], 400, "cut off"),
        (FEW + b"1", 400, "has more behind it"),
        (FEW[:6] + b"\x09" + FEW[7:], 400, "no file of numpy.save"),
        (FEW.replace(b"(2, 1, 6, 5)", b"(9**9**9,5) "), 400, "no file of numpy.save"),
        (FEW.replace(b"(2, 1, 6, 5)", b"(99999,1,6,5"), 400, "no file of numpy.save"),
        (FEW.replace(b"(2, 1, 6, 5), }  ", b"(999999,1,6,5), }"), 400, "cut off"),
        (FEW.replace(b"(2, 1, 6, 5)", b"(-2,1, 6, 5)"), 400, "cut off"),
        (npy(FLOATS[0, 0]), 422, "expected an array of shape (N, 1, 6, 5), or (1, 6, 5)"),
        (npy(FLOATS[None]), 422, "got (1, 2, 1, 6, 5)"),
        (npy(FLOATS.astype("uint8")), 422, "expected an array of float32, got uint8; convert"),
        (npy(FLOATS.astype("complex64")), 422, "got complex64"),
        (npy(FLOATS[:0]), 422, "there are no samples"),
        (npy(np.full_like(FLOATS, np.nan)), 422, "index [0, 0, 0, 0]"),
        (npy(np.full_like(FLOATS, 1e300, "float64")), 422, "too large for float32"),
    ],
)
def test_wrong_files_of_numpy(body, status, said):
    answer = post(MODEL, content=body, headers={"content-type": "application/x-npy"})
    assert said in error_of(answer, status)


def test_pickles_are_not_read():
    objects = np.array([print, None], object)
    file = io.BytesIO()
    np.save(file, objects, allow_pickle=True)
    answer = post(MODEL, content=file.getvalue(), headers={"content-type": "application/x-npy"})
    assert answer.status_code == 422
    assert "expected an array of shape" in error_of(answer, 422)


def test_other_types_of_content():
    for kind in ("", "text/plain", "application/x-www-form-urlencoded", "application/xml"):
        answer = post(MODEL, content=b"x", headers={"content-type": kind} if kind else {})
        assert "send image/jpeg, image/png, ..." in error_of(answer, 415)
    assert "with curl, -H" in error_of(
        post(MODEL, content=b"x", headers={"content-type": "application/x-www-form-urlencoded"}),
        415,
    )
    headers = {**JSON, "content-encoding": "gzip"}
    assert "as it is" in error_of(post(MODEL, content=b"x", headers=headers), 415)
    # but a charset beside the type is fine
    body = json.dumps(GOOD)
    headers = {"content-type": "Application/JSON; charset=utf-8"}
    assert post(MODEL, content=body, headers=headers).status_code == 200


@pytest.mark.parametrize("text", ["0", "4", "-1", "1.5", "x", "", "9" * 99, "²"])
def test_wrong_numbers_of_classes(text):
    answer = post(MODEL, params={"top": text}, json=GOOD)
    assert "top: expected a whole number from 1 to 3" in error_of(answer, 400)


def test_queries_without_effect():
    assert "got 'topp'" in error_of(post(MODEL, "/predict?topp=3", json=GOOD), 400)
    assert "more than once" in error_of(post(MODEL, "/predict?top=3&top=2", json=GOOD), 400)


def test_other_paths_and_methods():
    async def use(client):
        return [
            await client.get("/predict"),
            await client.delete("/predict"),
            await client.post("/health"),
            await client.get("/predict/"),
            await client.get("/../etc/passwd"),
            await client.get("/metrics"),
        ]

    get, delete, health, slash, other, metrics = serve(MODEL, use)
    assert "only POST is for /predict" in error_of(get, 405)
    assert get.headers["allow"] == "POST"
    error_of(delete, 405)
    error_of(health, 405)
    for answer in (slash, other):
        assert "there is /predict for POST" in error_of(answer, 404)
    assert 'path="other",status="404"} 2.0' in metrics.text


def test_bodies_that_are_too_large():
    sent = []

    async def parts() -> AsyncIterator[bytes]:
        for _ in range(1000):
            sent.append(1)
            yield b" " * 1000

    async def use(client):
        stated = await client.post("/predict", content=b" " * 5001, headers=JSON)
        streamed = await client.post("/predict", content=parts(), headers=JSON)
        lied = {**JSON, "content-length": "9" * 30}
        return stated, streamed, await client.post("/predict", content=b"1", headers=lied)

    for answer in serve(MODEL, use, max_size=5000):
        assert error_of(answer, 413) == "the body is larger than 5,000 bytes, which is the limit"
    assert len(sent) <= 7  # it was not read to the end
    assert post(MODEL, json=GOOD, limits={"max_size": "5kB"}).status_code == 200


def test_too_many_samples():
    answer = post(MODEL, json=[GOOD["instances"]] * 3, limits={"max_batch": 2})
    assert "got 3 samples, and a request may have 2; send them in several" in error_of(answer, 413)


def test_a_body_that_does_not_come():
    async def slow() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    answer = post(MODEL, content=slow(), headers=JSON, limits={"timeout": 0.05})
    assert "did not come within 0.05 s" in error_of(answer, 408)
    assert answer.headers["connection"] == "close"


class Held(xpcnn.Layer):
    """Waits, and says that it does."""

    def __init__(self) -> None:
        super().__init__()
        self._begun, self._may_go = threading.Event(), threading.Event()
        self._may_go.set()

    def output_shape(self, input_shape):
        return input_shape

    def _forward(self, xp, x, training):
        self._begun.set()
        self._may_go.wait(30)
        return x, None


def held_up() -> tuple[xpcnn.Model, Held]:
    """Make a model that waits in the middle of a prediction, once it is told to."""
    layer = Held()
    model = xpcnn.Model([layer], device="cpu")
    model.build((None, 1))
    return model, layer


def application_of(model, layer, **limits):
    app = application(model, **limits)
    layer._begun.clear()
    layer._may_go.clear()
    return app


def client_of(app):
    transport = httpx.ASGITransport(app=app)
    return httpx.AsyncClient(transport=transport, base_url="http://s")


async def begun(layer: Held) -> None:
    assert await asyncio.to_thread(layer._begun.wait, 30)


async def one_waits(client) -> None:
    async with asyncio.timeout(30):
        while "xpcnn_samples_waiting 1.0" not in (await client.get("/metrics")).text:
            await asyncio.sleep(0.001)


def test_a_full_queue_refuses():
    model, layer = held_up()

    async def main():
        app = application_of(model, layer, max_queue=2, max_delay_ms=0)
        async with app.lifespan(), client_of(app) as client:
            first = asyncio.create_task(client.post("/predict", json=[[1.0]]))
            await begun(layer)
            second = asyncio.create_task(client.post("/predict", json=[[2.0]]))
            await one_waits(client)
            refused = await client.post("/predict", json=[[3.0]])
            health = await client.get("/health")
            layer._may_go.set()
            return refused, health, await first, await second, await client.get("/metrics")

    refused, health, first, second, metrics = asyncio.run(main())
    assert "2 requests are being answered already; try again" in error_of(refused, 503)
    assert refused.headers["retry-after"] == "1"
    assert health.json() == {"status": "ok"}
    assert [r.json()["predictions"] for r in (first, second)] == [[[1.0]], [[2.0]]]
    assert 'path="/predict",status="503"} 1.0' in metrics.text


def test_what_waits_too_long_is_given_back():
    model, layer = held_up()

    async def main():
        app = application_of(model, layer, timeout=0.1, max_delay_ms=0)
        async with app.lifespan(), client_of(app) as client:
            first = await client.post("/predict", json=[[1.0]])
            second = await client.post("/predict", json=[[1.0]])
            await asyncio.sleep(0)
            metrics = await client.get("/metrics")
            layer._may_go.set()
        return first, second, metrics

    first, second, metrics = asyncio.run(main())
    for answer in (first, second):
        assert "no time for it within 0.1 s; try again" in error_of(answer, 503)
    assert "xpcnn_samples_waiting 0.0" in metrics.text


def test_a_client_that_hangs_up_is_forgotten():
    model, layer = held_up()

    async def call(app, messages: asyncio.Queue) -> list:
        """Send a request whose messages come from a queue."""
        sent = []

        async def send(message):
            sent.append(message)

        headers = [(b"content-type", b"application/json")]
        scope = {"type": "http", "method": "POST", "path": "/predict", "headers": headers}
        await app({**scope, "query_string": b"", "http_version": "1.1"}, messages.get, send)
        return sent

    async def main():
        app = application_of(model, layer, max_delay_ms=0, max_batch=1)
        async with app.lifespan(), client_of(app) as client:
            first = asyncio.create_task(client.post("/predict", json=[[1.0]]))
            await begun(layer)
            waits, half = asyncio.Queue(), asyncio.Queue()
            await waits.put({"type": "http.request", "body": b"[[2.0]]"})
            await half.put({"type": "http.request", "body": b"[[3.0", "more_body": True})
            await half.put({"type": "http.disconnect"})
            calls = [asyncio.create_task(call(app, queue)) for queue in (waits, half)]
            await one_waits(client)
            await waits.put({"type": "http.disconnect"})
            await asyncio.gather(*calls)
            metrics = (await client.get("/metrics")).text
            layer._may_go.set()
            await first
            last = await client.post("/predict", json=[[4.0]])
            return metrics, last, (await client.get("/metrics")).text

    metrics, last, at_the_end = asyncio.run(main())
    assert 'path="/predict",status="499"} 2.0' in metrics
    assert "xpcnn_samples_waiting 0.0" in metrics
    assert last.json() == {"predictions": [[4.0]]}
    assert "xpcnn_batch_samples_sum 2.0" in at_the_end  # the model never saw the others


class Broken(xpcnn.Layer):
    """Fails in the way that it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self._error: Exception | None = None

    def output_shape(self, input_shape):
        return input_shape

    def _forward(self, xp, x, training):
        if self._error is not None:
            raise self._error
        return x, None


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (MemoryError(), 503, "not enough memory"),
        (RuntimeError("a secret"), 500, "the server failed (RuntimeError)"),
    ],
)
def test_failures_of_the_model_itself(error, status, said):
    layer = Broken()
    model = xpcnn.Model([layer], device="cpu")
    model.build((None, 1))

    async def use(client):
        layer._error = error
        failed = await client.post("/predict", json=[[1.0]])
        layer._error = None
        return failed, await client.post("/predict", json=[[1.0]])

    failed, after = serve(model, use)
    text = error_of(failed, status)
    assert said in text
    assert "secret" not in text
    assert after.json() == {"predictions": [[1.0]]}


def test_an_application_that_was_not_started():
    async def main():
        async with client_of(application(MODEL)) as client:
            return await client.post("/predict", json=GOOD), await client.get("/health")

    answer, health = asyncio.run(main())
    assert "has not been started" in error_of(answer, 503)
    assert health.status_code == 503
