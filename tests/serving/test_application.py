"""The application itself: what it says of the model, its settings, and models it cannot serve."""

from __future__ import annotations

import pytest

import xpcnn
from tests.serving.clients import IMAGE, classifier, serve
from xpcnn.serving import application, check_installed

MODEL = classifier()


def test_the_description():
    async def use(client):
        return await client.get("/"), await client.head("/health")

    found, health = serve(MODEL, use, max_batch=7, max_size="2kB", timeout=3)
    assert found.json() == {
        "xpcnn": xpcnn.__version__,
        "inputs": {"x": {"shape": [None, 1, 6, 5], "dtype": "float32"}},
        "outputs": {"y": {"shape": [None, 3]}},
        "images": True,
        "class_names": None,
        "limits": {"samples": 7, "bytes": 2000, "seconds": 3.0},
    }
    assert health.status_code == 200


def test_metrics_are_what_prometheus_reads():
    parser = pytest.importorskip("prometheus_client.parser")

    async def use(client):
        for _ in range(3):
            await client.post("/predict", json=[IMAGE.tolist()] * 2)
        await client.post("/predict", json=[])
        return await client.get("/metrics")

    answer = serve(MODEL, use)
    assert answer.headers["content-type"].startswith("text/plain")
    found = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in parser.text_string_to_metric_families(answer.text)
        for sample in family.samples
    }
    path = ("path", "/predict")
    assert found["xpcnn_requests_total", path, ("status", "200")] == 3
    assert found["xpcnn_requests_total", path, ("status", "422")] == 1
    assert found["xpcnn_request_seconds_count", path] == 4
    assert found["xpcnn_request_seconds_bucket", ("le", "+Inf"), path] == 4
    assert found["xpcnn_batch_samples_sum",] == 6
    assert found["xpcnn_batch_samples_bucket", ("le", "2.0")] == 3
    assert found["xpcnn_batch_samples_bucket", ("le", "1.0")] == 0
    assert found["xpcnn_batch_seconds_count",] == 3
    assert found["xpcnn_samples_waiting",] == 0


@pytest.mark.parametrize(
    ("settings", "error", "said"),
    [
        ({"max_batch": 0}, ValueError, "max_batch must be at least 1, got 0"),
        ({"max_batch": 1.5}, TypeError, "max_batch must be an integer"),
        ({"max_delay_ms": -1}, ValueError, "max_delay_ms must be from 0 to 60000"),
        ({"max_delay_ms": "2"}, TypeError, "max_delay_ms must be a number"),
        ({"max_delay_ms": float("nan")}, ValueError, "max_delay_ms must be finite"),
        ({"max_delay_ms": 500, "timeout": 0.5}, ValueError, "no time to answer within the timeout"),
        ({"max_size": "10"}, ValueError, "max_size must be a number with a unit"),
        ({"max_size": 0}, ValueError, "max_size must be more than nothing"),
        ({"max_size": 1.5}, TypeError, "max_size must be a number of bytes"),
        ({"max_queue": 0}, ValueError, "max_queue must be at least 1"),
        ({"timeout": 0}, ValueError, "timeout must be from 0.001"),
        ({"timeout": None}, TypeError, "timeout must be a number"),
        ({"max_bach": 3}, TypeError, "max_bach"),
    ],
)
def test_settings_are_checked(settings, error, said):
    with pytest.raises(error, match=said):
        application(MODEL, **settings)


def test_a_model_that_is_not_built():
    with pytest.raises(ValueError, match="not built: train it, or call model.build"):
        application(xpcnn.Model([xpcnn.Linear(out_features=2)], device="cpu"))


def test_something_else_than_a_model():
    with pytest.raises(TypeError, match="expected a Model, got 'model.safetensors'; load it"):
        application("model.safetensors")


def test_a_network_without_an_output_for_each_sample():
    graph = xpcnn.Graph("x", [("mean", xpcnn.operations.ReduceMean([0]), "x")], "mean")
    model = xpcnn.Model(graph, device="cpu")
    model.build((None, 3))
    with pytest.raises(ValueError, match="one output for each sample"):
        application(model)


def test_what_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr("xpcnn.serving._NEEDED", ("numpy", "no_such_package", "nor_this"))
    with pytest.raises(ImportError, match=r'no_such_package, nor_this; run: pip install "xpcnn\['):
        check_installed()
    with pytest.raises(ImportError, match=r"xpcnn\[serve\]"):
        application(MODEL)
