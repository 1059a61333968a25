"""``xpcnn.explain``: languages, layout, what it takes and refuses, and what it leaves alone."""

from __future__ import annotations

import re
import string
from html.parser import HTMLParser

import numpy as np
import pytest

import xpcnn
from tests.pages import Page
from xpcnn._columns import columns_of
from xpcnn.explaining.text import as_text, wrapped
from xpcnn.explaining.words import SENTENCES
from xpcnn.scratch import conv1d, deep_conv_net, deep_nn, simple_conv_net

CASES = [
    (xpcnn.Conv1d(1, 2, 3, padding=1), np.arange(5.0).reshape(1, 1, 5), {}),
    (xpcnn.Conv2d(2, 2, 2, groups=2, padding="same"), np.arange(36.0).reshape(2, 2, 3, 3) / 7, {}),
    (xpcnn.Conv2d(8, 8, 3, bias=False), np.arange(800.0).reshape(1, 8, 10, 10) / 3, {}),
    (xpcnn.ConvTranspose2d(2, 2, 3, stride=2, padding=1), np.arange(18.0).reshape(1, 2, 3, 3), {}),
    (xpcnn.MaxPool2d(2, padding=1), np.arange(9.0).reshape(1, 1, 3, 3), {}),
    (xpcnn.AvgPool1d(2), np.arange(40.0).reshape(2, 2, 10) / 3, {}),
    (xpcnn.Linear(30, 20), np.arange(90.0).reshape(3, 30) / 1e6, {}),
    (xpcnn.BatchNorm2d(20), np.arange(160.0).reshape(2, 20, 2, 2), {}),
    (xpcnn.BatchNorm1d(2, affine=False), np.arange(6.0).reshape(3, 2), {"training": False}),
    (xpcnn.Softmax(), np.arange(60.0).reshape(2, 30), {}),
    (xpcnn.Tanh(), np.arange(60.0).reshape(2, 30), {}),
    (xpcnn.Dropout(0.3), np.arange(60.0).reshape(2, 30), {}),
    (xpcnn.Flatten(), np.arange(60.0).reshape(2, 5, 6), {}),
    (xpcnn.CrossEntropyLoss(), np.arange(60.0).reshape(20, 3), {"target": np.arange(20) % 3}),
    (xpcnn.MSELoss(), np.arange(6.0).reshape(2, 3), {"target": np.ones((2, 3))}),
]
IDS = [type(case[0]).__name__ + str(n) for n, case in enumerate(CASES)]


# -- Languages -------------------------------------------------------------------------------------


def test_both_languages_have_the_same_places():
    def places(sentence):
        return sorted(name for _, name, *_ in string.Formatter().parse(sentence) if name)

    for key, (english, japanese) in SENTENCES.items():
        assert english, key
        assert japanese, key
        assert places(english) == places(japanese), key


@pytest.mark.parametrize("key", [k for k, (e, _) in SENTENCES.items() if len(e) > 25])
def test_sentences_are_in_japanese(key):
    assert re.search("[\u3040-\u30ff\u4e00-\u9fff]", SENTENCES[key][1])


# -- Layout ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("lang", ["en", "ja"])
@pytest.mark.parametrize(("layer", "x", "options"), CASES, ids=IDS)
def test_text_is_narrow_and_html_is_whole(layer, x, options, lang):
    shown = xpcnn.explain(layer, x, lang=lang, **options)
    text = str(shown)
    assert repr(shown) == text
    assert max(map(columns_of, text.splitlines())) <= 100
    assert len(text) < 40_000
    html = shown._repr_html_()
    assert len(html) < 150_000
    assert "<script" not in html
    assert "http" not in html
    assert ' id="' not in html  # nothing clashes where two are shown
    _Whole().check(html)
    assert not re.search(r"\{\w+\}", text)  # no place was left open


class _Whole(HTMLParser):
    """Every tag is closed, in order."""

    def check(self, html):
        self.open = []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_wide_characters_count_twice():
    assert columns_of("畳み込み col") == 12
    lines = wrapped("窓の下にある値を1行に並べます。" * 10, 40)
    assert max(map(columns_of, lines)) <= 40
    assert not any(line[0] in "、。ャッー" for line in lines)
    assert "".join(lines) == "窓の下にある値を1行に並べます。" * 10


def test_limit_leaves_out_the_middle():
    shown = xpcnn.explain(xpcnn.Linear(20, 1), np.ones((1, 20)), limit=4)
    text = str(shown)
    assert "… 16 more lines …" in text
    assert "dweight[0, 2]" in text
    assert "dweight[0, 3]" not in text
    assert "dweight[0, 19]" in text
    assert "… 13 more terms …" in " ".join(text.split())  # 8 of 21 are shown


def test_no_sections_is_a_title():
    assert as_text("title", []) == "title\n====="


# -- What it takes ---------------------------------------------------------------------------------


def test_arrays_of_every_library(device):
    layer = xpcnn.Conv1d(1, 1, 2)
    x = device.asarray(np.array([[[1, 2, 3]]], dtype="float32"))
    layer.forward(x)
    state = {"weight": np.array([[[2, 3]]], "float32"), "bias": np.array([1], "float32")}
    layer.load_state_dict({k: device.asarray(v) for k, v in state.items()})
    shown = str(xpcnn.explain(layer, x, dy=device.asarray(np.array([[[1.0, 2]]], "float32"))))
    assert "y[0, 0, 1] = 2·2 + 3·3 + 1 = 14" in shown
    assert "dx[0, 0, 1] = 1·3 + 2·2 = 7" in shown


def test_a_layer_without_weights_gets_some():
    layer = xpcnn.Conv1d(None, 2, 3)
    first, second = (str(xpcnn.explain(layer, [[1, 2, 3, 4]])) for _ in range(2))
    assert first == second
    assert "had no weights yet" in first
    assert "taken as" in first or "batch of one" in first
    assert layer.in_channels is None
    assert not layer.is_built


def test_explaining_changes_nothing():
    x = np.arange(12.0).reshape(3, 4)
    layer = xpcnn.BatchNorm1d(4)
    layer.build(x.shape, dtype="float64")
    layer.freeze("weight")
    layer.forward(x, training=True)
    before = {name: a.copy() for name, a in layer.state_dict().items()}
    np.random.seed(3)
    state = np.random.get_state()[1].copy()
    xpcnn.explain(layer, x)
    assert np.array_equal(state, np.random.get_state()[1])
    for name, a in layer.state_dict().items():
        assert np.array_equal(a, before[name])
    assert layer.weight.grad is None
    layer.backward(np.ones((3, 4)))  # what the forward before it kept is still there
    affine = conv1d.Affine(np.ones((4, 2)), np.zeros(2))
    xpcnn.explain(affine, x)
    assert affine.dW is None
    assert np.array_equal(x, np.arange(12.0).reshape(3, 4))


def test_frozen_normalisation_is_explained_as_it_works():
    layer = xpcnn.BatchNorm1d(2)
    layer.build((3, 2), dtype="float64")
    layer.freeze()
    assert "running mean and variance" in str(xpcnn.explain(layer, [[1, 2], [3, 4]]))


def test_frozen_convolution_has_gradients_all_the_same():
    layer = xpcnn.Conv1d(1, 1, 2)
    layer.build((1, 1, 3))
    layer.freeze()
    assert "dweight[0, 0, 1] = 2·1 + 3·1 = 5" in str(xpcnn.explain(layer, [[[1, 2, 3]]]))


@pytest.mark.parametrize(
    ("w", "x"),
    [
        ((3,), (5,)), ((3,), (2, 5)), ((3,), (2, 1, 5)), ((2, 1, 3), (5,)), ((2, 3, 3), (3, 5)),
        ((2, 3, 3), (2, 3, 5)),
    ],
)  # fmt: skip
def test_signals_of_the_course_in_all_shapes(w, x, rng):
    W, b = rng.integers(-3, 4, w) * 1.0, rng.integers(-3, 4, 1 if len(w) == 1 else w[0]) * 1.0
    conv = conv1d.Conv1d(W, b, stride=2, pad=1)
    values = rng.integers(-3, 4, x) * 1.0
    shown = str(xpcnn.explain(conv, values, limit=1000))
    y = conv.forward(values)
    dx = conv.backward(np.ones(y.shape))
    for name, array in (("y", y), ("dx", dx), ("dW", conv.dW)):
        for index in np.ndindex(*array.shape):
            written = re.escape(f"{name}[{', '.join(map(str, index))}]")
            (line,) = re.findall(rf"^ +{written} += (?:.*\n +)??.*?(-?\d+)$", shown, re.M)
            assert float(line) == array[index], (name, index)


def test_a_single_sample_of_scores():
    shown = str(xpcnn.explain(xpcnn.CrossEntropyLoss(), [0, 0], target=1))
    assert shown == str(xpcnn.explain(xpcnn.CrossEntropyLoss(), [[0, 0]], target=[1]))
    assert "L[0] = -log(0.5) ≈ 0.6931" in shown


def test_a_global_pooling_of_many():
    x = np.arange(400.0).reshape(1, 1, 20, 20)
    text = str(xpcnn.explain(xpcnn.GlobalMaxPool2d(keepdims=True), x))
    assert "max(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, …, 399) = 399" in text


def test_a_nan_is_shown():
    text = str(xpcnn.explain(xpcnn.MaxPool1d(2), [[[1, float("nan")]]]))
    assert "max(1, NaN) = NaN" in text


def test_an_explanation_moves():
    conv = conv1d.SimpleConv1d(W=np.array([3, 5, 7]), b=np.array([1]))
    shown = xpcnn.explain(conv, [1, 2, 3, 4], dy=[10, 20], lang="ja")
    for what in ("forward", "backward"):
        moving = shown.animate(what)
        assert len(moving) > 1
        assert moving.lang == "ja"
    with pytest.raises(TypeError):
        xpcnn.explain(xpcnn.ReLU(), [[1]]).animate()
    with pytest.raises(TypeError):
        xpcnn.explain(xpcnn.MSELoss(), [[1]], target=[[1]]).animate()


# -- Files -----------------------------------------------------------------------------------------


def test_files(tmp_path):
    shown = xpcnn.explain(xpcnn.ReLU(), [[1, -1]], lang="ja")
    shown.save(tmp_path / "a.txt")
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == f"{shown}\n"
    shown.save(str(tmp_path / "a.html"))
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert 'lang="ja"' in page
    with pytest.raises(TypeError, match="path must be the name of a file, got 3"):
        shown.save(3)
    with pytest.raises(ValueError, match=r"path must end in '\.html' or '\.txt', got 'a\.pdf'"):
        shown.save("a.pdf")


def test_the_page(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = Page("docs/explain.md")
    page.run()
    printed = capsys.readouterr().out
    lines = re.findall(r"^- `(.*?)`", page.text, re.M)
    assert len(lines) == 3
    for line in lines:
        assert line in printed
    assert "逆伝播" in printed
    assert (tmp_path / "convolution.html").exists()


# -- Errors ----------------------------------------------------------------------------------------


def _loop(x):
    return x


@pytest.mark.parametrize(
    ("operation", "x", "options", "error", "message"),
    [
        (xpcnn.ReLU(), "abc", {}, TypeError, "x must hold numbers, .* got 'abc'"),
        (xpcnn.ReLU(), None, {}, TypeError, "x must hold numbers"),
        (xpcnn.ReLU(), ["a"], {}, TypeError, "x must hold numbers"),
        (xpcnn.ReLU(), [[1], [1, 2]], {}, ValueError, "lists of different lengths"),
        (xpcnn.ReLU(), [], {}, ValueError, r"shape \(0,\); give at least one sample"),
        (xpcnn.ReLU(), [[1]], {"lang": "de"}, ValueError, "lang must be one of 'en', 'ja'"),
        (xpcnn.ReLU(), [[1]], {"limit": 2}, ValueError, "limit must be at least 4, got 2"),
        (xpcnn.ReLU(), [[1]], {"dy": [1, 2]}, ValueError, r"dy must have .* \(1, 1\), got \(2,\)"),
        (xpcnn.ReLU(), [[1]], {"target": [1]}, TypeError, "target has no effect on ReLU"),
        (xpcnn.ReLU(), [[1]], {"training": True}, TypeError, "training has no effect on ReLU"),
        (xpcnn.Dropout(), [[1]], {"training": 1}, TypeError, "training must be True or False"),
        (xpcnn.MSELoss(), [[1]], {}, TypeError, "a loss needs target="),
        (xpcnn.MSELoss(), [[1]], {"target": "a"}, TypeError, "target must hold numbers"),
        (xpcnn.MSELoss(), [[1]], {"target": [1, 2]}, ValueError, "expected targets of shape"),
        (xpcnn.MSELoss(), [[1]], {"target": [[1]], "dy": [1]}, TypeError, "dy has no effect"),
        (xpcnn.MSELoss(reduction="none"), [[1]], {"target": [[1]]}, ValueError, "reduction='mean'"),
        (xpcnn.CrossEntropyLoss(), [[1, 2]], {"target": [-100]}, ValueError, "nothing counts"),
        (xpcnn.Conv2d(2, 1, 3), [[1, 2], [3, 4]], {}, ValueError, "expected 4 dimensions"),
        (xpcnn.Conv2d(1, 1, 3), [[[1, 2], [3, 4]]], {}, ValueError, "the kernel covers"),
        (xpcnn.ReLU, [[1]], {}, TypeError, r"got the class ReLU; make one, e\.g\. ReLU\("),
        (xpcnn.functional.conv, [[1]], {}, TypeError, "got conv; give a layer with its weights"),
        (_loop, [[1]], {}, TypeError, "got _loop; give a layer"),
        (xpcnn.RMSNorm(1), [[1]], {}, TypeError, "RMSNorm is not explained; these are: "),
        (xpcnn.FocalLoss(), [[1]], {"target": [0]}, TypeError, "FocalLoss is not explained"),
        (deep_conv_net.MeanSquaredLoss(), [[1, 2]], {"target": [5]}, ValueError, "labels must lie"),
        (deep_conv_net.Dropout(0.5), [[1]], {}, TypeError, "the Dropout of xpcnn.scratch is not"),
        (simple_conv_net.SimpleConvNet((1, 12, 12)), [[1]], {}, TypeError, "is a network"),
        (3, [[1]], {}, TypeError, "int is not explained"),
        (deep_nn.SGD(0.1), [[1]], {}, TypeError, "the SGD of xpcnn.scratch is not"),
        (conv1d.Affine(np.ones((2, 2)), np.ones(2)), [[[1]]], {}, ValueError, r"\(N, D\)"),
        (conv1d.SimpleConv1d(np.ones(3), np.ones(1)), [1, 2], {}, ValueError, "the kernel covers"),
    ],
)  # fmt: skip
def test_wrong_use_is_explained(operation, x, options, error, message):
    with pytest.raises(error, match=message):
        xpcnn.explain(operation, x, **options)


def test_a_subclass_may_compute_anything():
    class Odd(xpcnn.Conv1d, ndim=1):
        pass

    with pytest.raises(TypeError, match="Odd is not explained"):
        xpcnn.explain(Odd(1, 1, 1), [[[1]]])


def test_an_animation_speaks_the_explanation_s_language_or_another():
    explanation = xpcnn.explain(xpcnn.Conv1d(1, 1, 2), [1, 2, 3], lang="ja")
    assert explanation.animate().lang == "ja"
    assert explanation.animate(lang="en").lang == "en"
