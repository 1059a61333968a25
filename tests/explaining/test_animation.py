"""Every number that an animation shows, against loops, and what it is saved as."""

from __future__ import annotations

import base64
import itertools
import json
import re

import numpy as np
import pytest

import xpcnn
from xpcnn.explaining.animation import animate
from xpcnn.explaining.animation.words import ENGLISH, JAPANESE
from xpcnn.scratch.conv1d import MaxPooling1D, SimpleConv1d
from xpcnn.scratch.simple_conv_net import Convolution, Pooling


def tables(animation, step):
    """Return the tables of a step by title: texts and roles, without the labels around them."""
    cells, found, start = animation.scene.frames[step].cells, {}, 0
    for grid in animation.scene.grids:
        own = cells[start : start + grid.rows * grid.columns]
        start += grid.rows * grid.columns
        rows = [own[i : i + grid.columns] for i in range(0, len(own), grid.columns)]
        found[grid.title] = [row[1:] for row in rows[1:]]
    return found


def numbers(rows):
    return [[float(cell.text) for cell in row] for row in rows]


def built(layer, shape, *, seed=0):
    """Give a layer small integers as weights, so that all numbers are exact."""
    layer.build(shape, dtype="float64")
    draw = np.random.default_rng(seed).integers
    for parameter in layer.parameters().values():
        parameter.data = draw(-3, 4, parameter.shape).astype(float)
    return layer


def integers(*shape):
    return np.random.default_rng(len(shape)).integers(-5, 6, shape).astype(float)


# -- Worked by hand --------------------------------------------------------------------------------


def test_the_example_of_the_course_forward():
    a = animate(SimpleConv1d(np.array([3, 5, 7]), np.array([1])), [1, 2, 3, 4])
    assert [frame.lines for frame in a.scene.frames] == [
        ("y[0, 0, 0] = 1·3 + 2·5 + 3·7 + 1 = 35",),
        ("y[0, 0, 1] = 2·3 + 3·5 + 4·7 + 1 = 50",),
    ]
    assert numbers(tables(a, 1)["im2col matrix"]) == [[3, 5, 7], [1, 2, 3], [2, 3, 4]]
    assert [cell.text for cell in tables(a, 0)["y[0, 0]"][0]] == ["35", ""]


def test_the_example_of_the_course_backward():
    conv = SimpleConv1d(np.array([3, 5, 7]), np.array([1]))
    a = animate(conv, [1, 2, 3, 4], [10, 20], what="backward")
    assert [frame.lines for frame in a.scene.frames] == [
        (
            "dcol[0] = 10·(3, 5, 7) = (30, 50, 70)",
            "dx: 0 + 30 = 30;  0 + 50 = 50;  0 + 70 = 70",
        ),
        (
            "dcol[1] = 20·(3, 5, 7) = (60, 100, 140)",
            "dx: 50 + 60 = 110;  70 + 100 = 170;  0 + 140 = 140",
        ),
    ]
    assert numbers(tables(a, 1)["dx[0, 0] (running sums)"]) == [[30, 110, 170, 140]]
    assert conv.dW is None


def test_pooling_by_hand():
    x = [[1, 7, 2], [5, 4, 7]]
    a = animate(xpcnn.MaxPool2d(2, stride=1), x)
    assert [f.lines[0] for f in a.scene.frames] == [
        "y[0, 0, 0, 0] = max(1, 7, 5, 4) = 7",
        "y[0, 0, 0, 1] = max(7, 2, 4, 7) = 7",
    ]
    a = animate(xpcnn.MaxPool2d(2, stride=1), x, [[10, 20]], what="backward")
    # of two sevens under the second window the first wins
    assert numbers(tables(a, 1)["dx[0, 0] (running sums)"]) == [[0, 30, 0], [0, 0, 0]]
    assert a.scene.frames[1].lines[1] == "dx: 10 + 20 = 30"
    a = animate(xpcnn.AvgPool1d(2, padding=1, count_include_pad=False), [3, 5])
    assert [f.lines[0] for f in a.scene.frames] == [
        "y[0, 0, 0] = (0 + 3) / 1 = 3",
        "y[0, 0, 1] = (5 + 0) / 1 = 5",
    ]


def test_of_several_nan_the_last_wins_as_in_the_layer():
    x = [float("nan"), 1.0, float("nan")]
    a = animate(xpcnn.MaxPool1d(3), x, [10], what="backward")
    assert numbers(tables(a, 0)["dx[0, 0] (running sums)"]) == [[0, 0, 10]]
    layer = xpcnn.MaxPool1d(3)
    layer.forward(np.array([[x]]), training=True)
    assert layer.backward(np.array([[[10.0]]])).tolist() == [[[0, 0, 10]]]


def test_a_line_of_rounded_numbers_says_so():
    a = animate(xpcnn.AvgPool1d(3, stride=1), [1, 0, 0, 3])
    assert [frame.lines[0] for frame in a.scene.frames] == [
        "y[0, 0, 0] = (1 + 0 + 0) / 3 ≈ 0.3333",
        "y[0, 0, 1] = (0 + 0 + 3) / 3 = 1",
    ]


# -- By loops --------------------------------------------------------------------------------------


def geometry(layer, spatial, x):
    """Yield each position of the window, with the padded places that it sees."""
    k, s, p, d = layer.kernel_size, layer.stride, layer.padding, layer.dilation
    sizes = [
        (n + 2 * pad - gap * (taps - 1) - 1) // step + 1
        for n, taps, step, pad, gap in zip(spatial, k, s, p, d, strict=True)
    ]
    for position in itertools.product(*map(range, sizes)):
        yield (
            position,
            [
                tuple(
                    q * step + t * gap for q, step, t, gap in zip(position, s, tap, d, strict=True)
                )
                for tap in itertools.product(*map(range, k))
            ],
        )


CONVOLUTIONS = [
    (xpcnn.Conv2d(2, 3, 3, stride=2, padding=1), (2, 2, 6, 7)),
    (xpcnn.Conv2d(1, 1, (2, 3), dilation=2, bias=False), (1, 1, 5, 7)),
    (xpcnn.Conv2d(4, 2, 2, groups=2), (1, 4, 3, 4)),
    (xpcnn.Conv1d(2, 2, 3, padding=2, stride=2), (1, 2, 9)),
]


@pytest.mark.parametrize(("layer", "shape"), CONVOLUTIONS)
def test_convolution_forward_by_loops(layer, shape):
    layer, x = built(layer, shape), integers(*shape)
    sample, channel = shape[0] - 1, layer.out_channels - 1
    a = animate(layer, x, sample=sample, channel=channel)
    width = layer.weight.shape[1]
    block = x[sample, channel // (layer.out_channels // layer.groups) * width :][:width]
    padded = np.pad(block, ((0, 0), *((p, p) for p in layer.padding)))
    w = np.asarray(layer.weight.value)[channel].reshape(-1)
    bias = 0.0 if layer.bias is None else float(layer.bias.value[channel])
    steps = list(geometry(layer, shape[2:], x))
    assert len(a) == len(steps)
    for step, (position, seen) in enumerate(steps):
        row = [float(plane[place]) for plane in padded for place in seen]
        value = sum(n * m for n, m in zip(row, w, strict=True)) + bias
        found = tables(a, step)
        current = [r for r in found["im2col matrix"] if r and r[0].role == "window"]
        assert numbers(current) == [row[:18]]
        (result,) = [c for r in found[f"y[{sample}, {channel}]"] for c in r if c.role == "result"]
        assert float(result.text) == value
        (line,) = a.scene.frames[step].lines
        name = f"y[{', '.join(map(str, (sample, channel, *position)))}] = "
        assert line.startswith(name)
        assert line.endswith(f" = {value:g}")
        worked = line.removeprefix(name).rpartition(" = ")[0].replace("·", "*")
        assert eval(worked) == value
        marked = [c for t, rows in found.items() if t[0] == "x" for r in rows for c in r]
        assert [float(c.text) for c in marked if c.role == "window"] == row


@pytest.mark.parametrize(("layer", "shape"), CONVOLUTIONS)
def test_convolution_backward_by_loops(layer, shape):
    layer, x = built(layer, shape), integers(*shape)
    dy = integers(*layer.output_shape(shape))
    sample, channel = shape[0] - 1, shape[1] - 1
    a = animate(layer, x, dy, what="backward", sample=sample, channel=channel)
    per_group = layer.weight.shape[1]
    filters = layer.out_channels // layer.groups
    first = channel // per_group * filters
    w = np.asarray(layer.weight.value)[first : first + filters, channel % per_group]
    sums = np.zeros([n + 2 * p for n, p in zip(shape[2:], layer.padding, strict=True)])
    steps = list(geometry(layer, shape[2:], x))
    assert len(a) == len(steps) + any(layer.padding)
    name = f"dx[{sample}, {channel}] (running sums)"
    for step, (position, seen) in enumerate(steps):
        row = [
            sum(
                float(dy[(sample, first + f, *position)]) * float(w[f][tap]) for f in range(filters)
            )
            for tap in itertools.product(*map(range, layer.kernel_size))
        ]
        for place, value in zip(seen, row, strict=True):
            sums[place] += value
        found = tables(a, step)
        matrix = next(rows for title, rows in found.items() if title.startswith("dcol"))
        assert numbers([r for r in matrix if r[0].role == "window"]) == [row]
        assert numbers(found[name]) == np.atleast_2d(sums).tolist()
    inside = tuple(slice(p, p + n) for p, n in zip(layer.padding, shape[2:], strict=True))
    shown = [[c for c in row if c.text] for row in tables(a, len(a) - 1)[name]]
    assert numbers([row for row in shown if row]) == np.atleast_2d(sums[inside]).tolist()
    layer.zero_grad()
    layer.forward(x, training=True)
    assert np.array_equal(layer.backward(dy)[sample, channel], sums[inside])


def test_transposed_convolution_by_loops():
    layer, x = (
        built(xpcnn.ConvTranspose2d(2, 2, 3, stride=2, padding=1), (1, 2, 3, 3)),
        integers(1, 2, 3, 3),
    )
    a = animate(layer, x, channel=1)
    w, sums = np.asarray(layer.weight.value), np.zeros((7, 7))
    for step, (p, q) in enumerate(itertools.product(range(3), range(3))):
        for i, j, c in itertools.product(range(3), range(3), range(2)):
            sums[2 * p + i, 2 * q + j] += x[0, c, p, q] * w[c, 1, i, j]
        assert numbers(tables(a, step)["y[0, 1] (running sums)"]) == sums.tolist()
    last = [[c for c in r if c.text] for r in tables(a, 9)["y[0, 1] (running sums)"]]
    expected = sums[1:-1, 1:-1] + float(layer.bias.value[1])
    assert numbers([r for r in last if r]) == expected.tolist()
    # its backward is a convolution: dx[c, p, q] = sum of dy under the window times w[c]
    dy = integers(1, 2, 5, 5)
    a = animate(layer, x, dy, what="backward", channel=1)
    padded = np.pad(dy[0], ((0, 0), (1, 1), (1, 1)))
    for step, (p, q) in enumerate(itertools.product(range(3), range(3))):
        value = (padded[:, 2 * p : 2 * p + 3, 2 * q : 2 * q + 3] * w[1]).sum()
        line = a.scene.frames[step].lines[0]
        assert line.startswith(f"dx[0, 1, {p}, {q}] = ")
        assert eval(line.split(" = ")[1].replace("·", "*")) == value == float(line.split(" = ")[2])


@pytest.mark.parametrize("average", [False, True])
def test_pooling_backward_by_loops(average):
    cls = xpcnn.AvgPool2d if average else xpcnn.MaxPool2d
    layer, x, dy = cls(3, stride=2, padding=1), integers(1, 2, 5, 6), 9 * integers(1, 2, 3, 3)
    a = animate(layer, x, dy, what="backward", channel=1)
    padded, sums = np.pad(x[0, 1], 1, constant_values=-np.inf), np.zeros((7, 8))
    for step, (p, q) in enumerate(itertools.product(range(3), range(3))):
        seen = [(2 * p + i, 2 * q + j) for i in range(3) for j in range(3)]
        if average:
            for place in seen:
                sums[place] += dy[0, 1, p, q] / 9
        else:
            sums[max(seen, key=lambda place: padded[place])] += dy[0, 1, p, q]
        assert numbers(tables(a, step)["dx[0, 1] (running sums)"]) == sums.tolist()
    layer.forward(x, training=True)
    assert np.array_equal(layer.backward(dy)[0, 1], sums[1:-1, 1:-1])


def test_classes_of_the_courses():
    rng = np.random.default_rng(0)
    w, x = rng.integers(-3, 4, (2, 3, 2, 2)), rng.integers(-3, 4, (1, 3, 4, 4))
    a = animate(Convolution(w, np.array([1, 2]), stride=2, pad=1), x, channel=1)
    padded = np.pad(x[0], ((0, 0), (1, 1), (1, 1)))
    for frame, (p, q) in zip(a.scene.frames, itertools.product(range(3), range(3)), strict=True):
        value = (padded[:, 2 * p : 2 * p + 2, 2 * q : 2 * q + 2] * w[1]).sum() + 2
        assert frame.lines[0].endswith(f" = {value}")
    assert len(animate(Pooling(2, 2, stride=2), x)) == 4
    a = animate(MaxPooling1D(2, stride=2), [4, 1, 2, 8])
    assert [frame.lines[0][-1] for frame in a.scene.frames] == ["4", "8"]


# -- What is left out, and what is refused ---------------------------------------------------------


def test_large_images_and_many_windows():
    layer = built(xpcnn.Conv2d(5, 1, 3), (1, 5, 28, 28))
    a = animate(layer, integers(1, 5, 28, 28), max_frames=10)
    assert len(a) == 10
    assert a.scene.notes == (
        "Only the first 12 × 12 of 28 × 28 are shown.",
        "10 of 100 windows are shown; those between are filled in at once.",
        "3 of 5 channels of x are shown; the sums are of all.",
        "18 of 45 columns of the matrix are shown; the sums are of all.",
    )
    assert "(18 more terms)" in a.scene.frames[0].lines[0]
    assert "… " not in tables(a, 9)["y[0, 0]"][0][0].text
    assert all(cell.text for row in tables(a, 9)["y[0, 0]"] for cell in row)


def test_the_operation_stays_as_it_is():
    layer, x = built(xpcnn.Conv2d(1, 1, 2), (1, 1, 3, 3)), integers(1, 1, 3, 3)
    kept, state = x.copy(), layer.state_dict()
    animate(layer, x, what="backward")
    assert np.array_equal(x, kept)
    assert layer.weight.grad is None
    assert all(layer.state_dict()[name] is array for name, array in state.items())
    fresh = xpcnn.Conv2d(None, 2, 3)
    a = animate(fresh, integers(1, 1, 3, 3))
    assert not fresh.is_built
    assert fresh.in_channels is None
    assert a.scene.notes == ("The layer has no weights yet: these were drawn for the picture.",)


X = [[1.0, 2.0], [3.0, 4.0]]


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((xpcnn.Linear(2, 2), X), {}, "operation must be a layer with a window.*got Linear"),
        ((xpcnn.Conv2d, X), {}, "got the class Conv2d; make one of the class first"),
        ((xpcnn.Sequential(xpcnn.ReLU()), X), {}, "give one layer of the network"),
        ((xpcnn.MaxPool3d(2), X), {}, "works on volumes"),
        ((xpcnn.MaxPool2d(2), [1.0, 2.0]), {}, r"x must be laid out as \(N, C, H, W\)"),
        ((xpcnn.MaxPool2d(2), [[1.0], [2.0, 3.0]]), {}, "lists of different lengths"),
        ((xpcnn.MaxPool2d(2), "text"), {}, "x must hold real numbers"),
        ((xpcnn.MaxPool2d(2), X, X), {}, "dy is the gradient of the output"),
        ((xpcnn.MaxPool2d(2), X, X), {"what": "backward"}, r"dy must have the shape of the output"),
        ((xpcnn.MaxPool2d(2), X), {"lang": "de"}, "lang must be one of 'en', 'ja'"),
        ((xpcnn.MaxPool2d(2), X), {"what": "both"}, "what must be one of 'forward', 'backward'"),
        ((xpcnn.MaxPool2d(2), X), {"sample": 1}, "sample must be from 0 to 0"),
        ((xpcnn.MaxPool2d(2), X), {"channel": 3}, "channel must be from 0 to 0"),
        ((xpcnn.MaxPool2d(2), X), {"max_frames": 1}, "max_frames must be at least 2"),
        ((xpcnn.Conv2d(1, 1, 13), np.ones((1, 1, 20, 20))), {}, "window.*larger than"),
    ],
)
def test_wrong_arguments(arguments, options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        animate(*arguments, **options)


# -- Files -----------------------------------------------------------------------------------------


def sentences(words):
    return {key: sorted(re.findall(r"{(\w+)}", text)) for key, text in words.items()}


def test_both_languages_say_the_same():
    assert sentences(ENGLISH) == sentences(JAPANESE)


@pytest.mark.parametrize("lang", ["en", "ja"])
def test_html(tmp_path, lang):
    layer = built(xpcnn.Conv2d(1, 1, 3), (1, 1, 6, 6))
    a = animate(layer, integers(1, 1, 6, 6), lang=lang)
    a.save(tmp_path / "a.html")
    text = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert len(text.encode()) < 300_000
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")
    pictures = [base64.b64decode(p).decode() for p in re.findall(r"base64,([\w+/=]+)", text)]
    assert len(pictures) == 2
    assert "y[0, 0, 3, 3]" in pictures[1]
    assert ("窓" in pictures[1]) == (lang == "ja")
    data = json.loads(re.search(r"var data = (.*);\n", text)[1])
    assert len(data["steps"]) == len(a) == 16
    names = [re.search(r'id="([\w-]+)"', a._repr_html_())[1] for _ in range(2)]
    assert names[0] != names[1]


def test_changes_lead_from_the_first_step_to_the_last():
    a = animate(xpcnn.MaxPool2d(2, stride=1), integers(1, 1, 4, 4), what="backward")
    data = json.loads(re.search(r"var data = (.*);\n", a._repr_html_())[1])
    texts = [cell.text for cell in a.scene.frames[0].cells]
    for frame, (changed, _, _) in zip(a.scene.frames, data["steps"], strict=True):
        for number, _, text in changed:
            texts[number] = text
        assert texts == [cell.text for cell in frame.cells]


@pytest.mark.parametrize("lang", ["en", "ja"])
def test_gif(tmp_path, lang):
    image = pytest.importorskip("PIL.Image")
    from xpcnn.explaining.animation import gif

    if lang == "ja" and not gif.has_japanese():
        pytest.skip("needs a font with Japanese")
    a = animate(built(xpcnn.Conv2d(1, 1, 3), (1, 1, 6, 6)), integers(1, 1, 6, 6), lang=lang)
    a.save(tmp_path / "a.gif")
    assert (tmp_path / "a.gif").stat().st_size < 400_000
    with image.open(tmp_path / "a.gif") as picture:
        assert picture.n_frames == 16


def test_gif_without_a_japanese_font(tmp_path, monkeypatch):
    pytest.importorskip("PIL")
    from xpcnn.explaining.animation import gif

    monkeypatch.setattr(gif, "has_japanese", lambda: False)
    a = animate(xpcnn.MaxPool1d(2), [1, 2, 3, 4], lang="ja")
    with pytest.warns(UserWarning, match="no font with Japanese"):
        a.save(tmp_path / "a.gif")
    assert (tmp_path / "a.gif").exists()


def test_wrong_files(tmp_path):
    a = animate(xpcnn.MaxPool1d(2), [1, 2, 3, 4])
    with pytest.raises(ValueError, match="must end in .html or .gif, got 'a.mp4'"):
        a.save("a.mp4")
    with pytest.raises(TypeError, match="path must be the name of a file, got 3"):
        a.save(3)


@pytest.mark.parametrize("spelling", ["strict", "torch:cpu"])
def test_other_libraries(spelling):
    pytest.importorskip("torch" if "torch" in spelling else "array_api_strict")
    device = xpcnn.device.resolve(spelling)
    layer = xpcnn.Conv1d(1, 1, 2)
    layer.build((1, 1, 3), device=device)
    layer.weight.data = device.asarray(np.array([[[3.0, 5.0]]]), "float32")
    layer.bias.data = device.asarray(np.array([1.0]), "float32")
    a = animate(layer, device.asarray(np.array([[[1.0, 2.0, 4.0]]]), "float32"))
    assert a.scene.frames[1].lines == ("y[0, 0, 1] = 2·3 + 4·5 + 1 = 27",)
