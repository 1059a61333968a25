"""POST /predict: what is answered to arrays."""

from __future__ import annotations

import asyncio
import io

import numpy as np
import pytest

import xpcnn
from tests.serving.clients import IMAGE, classifier, error_of, post, serve, softmax

MODEL = classifier()
FEW = np.random.default_rng(4).random((5, 1, 6, 5), "float32")


def test_a_sample_gets_its_class_and_probability():
    answer = post(MODEL, json={"instances": IMAGE.tolist()})
    assert answer.status_code == 200
    (found,) = answer.json()["predictions"]
    expected = softmax(MODEL.predict(IMAGE[None]))[0]
    assert found["class"] == expected.argmax()
    assert found["probability"] == pytest.approx(expected.max(), rel=1e-6)
    assert set(found) == {"class", "probability"}


@pytest.mark.parametrize("form", ["instances", "list", "inputs", "npy", "fortran", "npy 64"])
def test_several_samples_in_every_form(form):
    request = {
        "instances": lambda: {"json": {"instances": FEW.tolist()}},
        "list": lambda: {"json": FEW.tolist()},
        "inputs": lambda: {"json": {"inputs": {"x": FEW.tolist()}}},
        "npy": lambda: npy(FEW),
        "fortran": lambda: npy(np.asfortranarray(FEW)),
        "npy 64": lambda: npy(FEW.astype(">f8")),
    }[form]()
    answer = post(MODEL, "/predict?top=3", **request)
    expected = softmax(MODEL.predict(FEW))
    assert answer.status_code == 200, answer.text
    for found, row in zip(answer.json()["predictions"], expected, strict=True):
        assert [each["class"] for each in found["top"]] == np.argsort(-row).tolist()
        shown = [each["probability"] for each in found["top"]]
        np.testing.assert_allclose(shown, np.sort(row)[::-1], rtol=1e-6)
        assert found["class"] == found["top"][0]["class"]
        assert found["probability"] == shown[0]


def npy(x: np.ndarray, **headers: str) -> dict:
    file = io.BytesIO()
    np.save(file, x)
    return {
        "content": file.getvalue(),
        "headers": {"content-type": "application/x-npy", **headers},
    }


def test_many_clients_each_get_their_own_answer():
    x = np.random.default_rng(5).random((40, 1, 6, 5), "float32")
    expected = softmax(MODEL.predict(x))

    async def use(client):
        answers = await asyncio.gather(
            *(client.post("/predict", json={"instances": each.tolist()}) for each in x)
        )
        return answers, (await client.get("/metrics")).text

    answers, metrics = serve(MODEL, use, max_batch=16)
    for answer, row in zip(answers, expected, strict=True):
        (found,) = answer.json()["predictions"]
        assert found["class"] == row.argmax()
        assert found["probability"] == pytest.approx(row.max(), rel=1e-5)
    assert 'xpcnn_requests_total{path="/predict",status="200"} 40.0' in metrics
    assert "xpcnn_batch_samples_sum 40.0" in metrics
    assert float(metrics.split("xpcnn_batch_samples_count ")[1].split()[0]) < 40


def chain(*layers: xpcnn.Layer, loss: str | None = None, shape=(None, 4), **settings):
    model = xpcnn.Model(list(layers), device="cpu", seed=0, **settings)
    model.build(shape)
    if loss is not None:
        model.compile("sgd", loss)
    return model


ROW = [0.5, -1.0, 2.0, 0.25]


@pytest.mark.parametrize(
    ("ends", "loss"),
    [
        ([xpcnn.Softmax()], None),
        ([xpcnn.LogSoftmax()], None),
        ([xpcnn.LogSoftmax()], "nll"),
        ([], "cross_entropy"),
    ],
)
def test_probabilities_whatever_the_network_ends_in(ends, loss):
    linear = xpcnn.Linear(4, 3)
    model = chain(linear, *ends, loss=loss)
    scores = np.array(ROW) @ np.asarray(linear.weight.data).T + np.asarray(linear.bias.data)
    (found,) = post(model, "/predict?top=3", json=[ROW]).json()["predictions"]
    shown = {each["class"]: each["probability"] for each in found["top"]}
    np.testing.assert_allclose([shown[k] for k in range(3)], softmax(scores), rtol=1e-5)


@pytest.mark.parametrize("ends", [[], [xpcnn.Sigmoid()]])
def test_a_single_column_is_the_probability_of_the_second_class(ends):
    linear = xpcnn.Linear(4, 1)
    model = chain(linear, *ends, loss="bce" if ends else "bce_with_logits")
    score = (np.array(ROW) @ np.asarray(linear.weight.data).T + np.asarray(linear.bias.data))[0]
    (found,) = post(model, "/predict?top=2", json=[ROW]).json()["predictions"]
    shown = {each["class"]: each["probability"] for each in found["top"]}
    assert shown[1] == pytest.approx(1 / (1 + np.exp(-score)), rel=1e-5)
    assert shown[0] + shown[1] == pytest.approx(1)


def test_independent_answers_do_not_add_up_to_one():
    linear = xpcnn.Linear(4, 3)
    model = chain(linear, loss="bce_with_logits")
    scores = np.array(ROW) @ np.asarray(linear.weight.data).T + np.asarray(linear.bias.data)
    (found,) = post(model, "/predict?top=3", json=[ROW]).json()["predictions"]
    shown = {each["class"]: each["probability"] for each in found["top"]}
    np.testing.assert_allclose([shown[k] for k in range(3)], 1 / (1 + np.exp(-scores)), rtol=1e-5)


@pytest.mark.parametrize("loss", [None, "mse"])
def test_other_outputs_come_as_they_are(loss):
    model = chain(xpcnn.Linear(4, 2), loss=loss)
    found = post(model, json=[ROW, ROW]).json()["predictions"]
    np.testing.assert_allclose(found, model.predict([ROW, ROW]), rtol=1e-6)
    assert "leave it out" in error_of(post(model, "/predict?top=1", json=[ROW]), 400)


def two_inputs() -> xpcnn.Model:
    graph = xpcnn.Graph(
        inputs=["picture", "age"],
        nodes=[
            ("flat", xpcnn.Flatten(), "picture"),
            ("both", xpcnn.operations.Concat(dim=1), ["flat", "age"]),
            ("small", xpcnn.Linear(5, 2), "both"),
            ("large", xpcnn.Linear(5, 3), "both"),
        ],
        outputs=["small", "large"],
    )
    model = xpcnn.Model(graph, device="cpu", seed=0)
    model.build(((None, 1, 2, 2), (None, 1)))
    return model


def test_several_inputs_and_outputs_go_by_name():
    model = two_inputs()
    given = {"picture": FEW[:3, :, :2, :2].tolist(), "age": [[1.0], [2.5], [3]]}
    found = post(model, json={"inputs": given}).json()["predictions"]
    expected = model.predict({name: np.array(x, "float32") for name, x in given.items()})
    for row, small, large in zip(found, *expected, strict=True):
        assert list(row) == ["small", "large"]
        np.testing.assert_allclose(row["small"], small, rtol=1e-6)
        np.testing.assert_allclose(row["large"], large, rtol=1e-6)
    # a single sample of each
    one = {"picture": given["picture"][0], "age": [1.0]}
    (alone,) = post(model, json={"inputs": one}).json()["predictions"]
    for name, values in alone.items():
        np.testing.assert_allclose(values, found[0][name], rtol=1e-6)


def test_wrong_inputs_by_name():
    model, picture = two_inputs(), FEW[:2, :, :2, :2].tolist()
    for given, said in [
        ({"instances": picture}, "inputs 'picture', 'age'; give {\"inputs\": {...}}"),
        ({"inputs": {"picture": picture}}, "an object with 'picture', 'age', got 'picture'"),
        ({"inputs": picture}, "got no object"),
        ({"inputs": {"picture": picture, "age": [[1.0]]}}, "{'picture': 2, 'age': 1}"),
        ({"inputs": {"picture": picture, "age": [[1], [None]]}}, "age: expected numbers of shape"),
    ]:
        answer = post(model, json=given)
        assert answer.status_code in (400, 422)
        assert said in error_of(answer, answer.status_code)
    assert "for which there is JSON" in error_of(post(model, **npy(FEW)), 415)


def test_indices_are_whole_numbers():
    model = chain(xpcnn.Embedding(7, 3), xpcnn.Flatten(), xpcnn.Linear(6, 2), shape=(None, 2))
    found = post(model, json=[[3, 6]]).json()["predictions"]
    np.testing.assert_allclose(found, model.predict(np.array([[3, 6]])), rtol=1e-6)
    assert "fractions in the place of whole" in error_of(post(model, json=[[3, 1.5]]), 422)
    assert "refuses these numbers" in error_of(post(model, json=[[3, 7]]), 422)
    assert "too large for int64" in error_of(post(model, json=[[3, 10**30]]), 422)

    async def use(client):  # a bad index among good ones
        rows = [[[1, 2]], [[1, 9]], [[3, 6]]]
        return await asyncio.gather(*(client.post("/predict", json=row) for row in rows))

    statuses = [answer.status_code for answer in serve(model, use, max_delay_ms=20)]
    assert statuses == [200, 422, 200]


@pytest.mark.parametrize("device", ["strict", "torch:cpu"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_other_libraries_and_dtypes(device, dtype):
    pytest.importorskip({"strict": "array_api_strict", "torch:cpu": "torch"}[device])
    model = classifier(device=device, dtype=dtype)
    found = post(model, json=FEW.tolist()).json()["predictions"]
    expected = softmax(model.predict(FEW.astype(dtype)))
    assert [each["class"] for each in found] == expected.argmax(axis=1).tolist()
    np.testing.assert_allclose(
        [each["probability"] for each in found], expected.max(axis=1), rtol=1e-5
    )


def test_a_network_for_a_fixed_number_of_samples_is_filled_up():
    graph = xpcnn.Graph("x", [("y", xpcnn.Linear(4, 2), "x")], "y", batch=4)
    model = xpcnn.Model(graph, device="cpu", seed=0)
    model.build((4, 4))
    rows = np.random.default_rng(0).random((6, 4), "float32")
    found = post(model, json=rows.tolist()).json()["predictions"]
    expected = model.predict(np.concatenate([rows, rows[:2]]))[:6]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("names", [["yes"], ["no", "yes"]])
def test_names_of_a_single_column(names):
    linear = xpcnn.Linear(4, 1)
    model = chain(linear, loss="bce_with_logits")
    model.load_state_dict({"0.weight": [[1.0, 0, 0, 0]], "0.bias": [0.0]})
    model.class_names = names
    (found,) = post(model, json=[[3.0, 0, 0, 0]]).json()["predictions"]
    assert found == {"name": "yes", "class": 1, "probability": pytest.approx(1 / (1 + np.exp(-3)))}
    (found,) = post(model, json=[[-3.0, 0, 0, 0]]).json()["predictions"]
    assert found["name"] == ("no" if len(names) == 2 else "not yes")
