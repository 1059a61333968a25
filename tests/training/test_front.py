"""The front of a network, before all that is trained, runs as in prediction.

What comes out is compared with the layers themselves, run one by one as in training.
"""

from __future__ import annotations

import copy

import numpy as np
import pytest

import xpcnn
from tests.pytorch import nn, torch
from xpcnn._xp import to_numpy
from xpcnn.graph.front import FrontStep
from xpcnn.graph.steps import ConcatStep, FoldedStep
from xpcnn.kernels.constant import is_promised
from xpcnn.operations import Add, Concat


def block(width: int, out: int) -> list[xpcnn.layers.Layer]:
    return [xpcnn.Conv2d(width, out, 3, padding=1), xpcnn.BatchNorm2d(out), xpcnn.ReLU()]


def chain(*more: xpcnn.layers.Layer) -> xpcnn.Sequential:
    return xpcnn.Sequential(
        xpcnn.Sequential(*block(2, 4), xpcnn.MaxPool2d(2), *more),
        xpcnn.Residual(xpcnn.Sequential(*block(4, 4), xpcnn.Conv2d(4, 4, 1))),
        xpcnn.Flatten(),
        xpcnn.Linear(36, 3),
    )


def branches() -> xpcnn.Graph:
    """A graph of two inputs, whose branches meet, once by a sum with a normalisation before."""
    return xpcnn.Graph(
        ["left", "right"],
        [
            ("a", xpcnn.Sequential(*block(2, 4)), "left"),
            ("b", xpcnn.Conv2d(2, 4, 3, padding=1), "right"),
            ("norm", xpcnn.BatchNorm2d(4), "b"),
            ("sum", Add(), ["norm", "a"]),
            ("relu", xpcnn.ReLU(), "sum"),
            ("c", xpcnn.Conv2d(4, 3, 1), "a"),
            ("both", Concat(dim=1), ["relu", "c"]),
            ("flat", xpcnn.Flatten(), "both"),
            ("out", xpcnn.Linear(252, 3), "flat"),
        ],
        "out",
    )


def twice() -> xpcnn.Graph:
    """A graph with a block whose input somebody else takes too, and so does its output."""
    body = xpcnn.Sequential(*block(4, 4))
    return xpcnn.Graph(
        "x",
        [
            ("first", xpcnn.Conv2d(2, 4, 1), "x"),
            ("r", xpcnn.Residual(body), "first"),
            ("c", xpcnn.Conv2d(4, 4, 1), "first"),
            ("sum", Add(), ["r", "c"]),
            ("again", Add(), ["sum", "r"]),
            ("flat", xpcnn.Flatten(), "again"),
            ("out", xpcnn.Linear(144, 3), "flat"),
        ],
        "out",
    )


class Scaled(xpcnn.layers.Layer):
    """Somebody's own layer with a parameter, which counts how often it runs."""

    def __init__(self) -> None:
        self.factor = xpcnn.layers.Parameter((1,), xpcnn.initializers.ones())
        self.runs = 0

    def _forward(self, xp, x, training):
        self.runs += training
        return x * self.factor.value, x

    def _backward(self, xp, dy, saved, need_dx):
        self.factor.accumulate(xp.reshape(xp.sum(dy * saved), (1,)))
        return dy * self.factor.value


class Halved(xpcnn.layers.Layer):
    """Somebody's own layer, of whose gradients nothing is known."""

    backs = 0

    def _forward(self, xp, x, training):
        return x / 2, None

    def _backward(self, xp, dy, saved, need_dx):
        self.backs += 1
        return dy / 2


def made(network, device="cpu", inputs: int = 1) -> xpcnn.Model:
    model = xpcnn.Model(network, device=device, dtype="float64", seed=2)
    shape = (None, 2, 6, 6)
    model.build(shape if inputs == 1 else (shape,) * inputs)
    rng = np.random.default_rng(5)
    state = {name: to_numpy(array) for name, array in model.state_dict().items()}
    for name, array in state.items():  # numbers that no normalisation begins with
        if array.dtype.kind == "f":
            state[name] = array + rng.uniform(0.1, 0.6, array.shape)
    model.load_state_dict(state)
    return model


def data(model, inputs: int = 1, count: int = 5):
    rng = np.random.default_rng(7)
    return [
        model.device.asarray(rng.normal(size=(count, 2, 6, 6)), "float64") for _ in range(inputs)
    ]


def run(model, xs, need_dx):
    """Run a model forward and backward; return output, gradients and buffers."""
    model.zero_grad()
    y = model.forward(*xs, training=True)
    dx = model.backward(y * 0 + 1 + y, need_dx=need_dx)
    return outcome(model.network, y, dx)


def by_layers(model, xs, need_dx):
    """The same by the layers themselves, of a copy."""
    network = copy.deepcopy(model.network)
    network.zero_grad()
    y = network.forward(*xs, training=True)
    dx = network.backward(y * 0 + 1 + y, need_dx=need_dx)
    return outcome(network, y, dx)


def outcome(network, y, dx):
    found = {"y": y}
    for number, array in enumerate(dx if isinstance(dx, tuple) else (dx,)):
        found[f"dx{number}"] = array
    found |= {f"d {n}": p.grad for n, p in network.parameters().items()}
    found |= {n: b.value for n, b in network.buffers().items()}
    return {name: None if a is None else to_numpy(a) for name, a in found.items()}


def compare(model, xs, need_dx=False):
    expected = by_layers(model, xs, need_dx)
    found = run(model, xs, need_dx)
    for name, array in expected.items():
        if name.startswith("dx") and not need_dx:
            continue  # layers may give what nobody asks for
        assert (found[name] is None) == (array is None), name
        if array is not None:
            np.testing.assert_allclose(found[name], array, rtol=1e-9, atol=1e-9, err_msg=name)


def front_steps(model) -> list:
    return [s.step for s in model.program.steps if isinstance(s, FrontStep)]


NETWORKS = {
    "chain": (chain, 1, ("0", "1.body.0")),
    "dropout": (lambda: chain(xpcnn.Dropout(0.4)), 1, ("0",)),
    "all": (chain, 1, ()),
    "last layer": (chain, 1, ("3",)),
    "biases": (chain, 1, ("*.bias",)),
    "one branch": (branches, 2, ("a", "c")),
    "norm before a sum": (branches, 2, ("b", "norm")),
    "other branch": (branches, 2, ("a", "b", "norm")),
    "both branches": (branches, 2, ("a", "b", "norm", "c")),
    "gathers": (lambda: chain(xpcnn.BatchNorm2d(4, affine=False)), 1, ("0.0", "0.1")),
    "own layer": (lambda: chain(Scaled(), *block(4, 4)), 1, ("0",)),
    "unknown layer": (lambda: chain(Halved(), *block(4, 4)), 1, ("0",)),
    "block used twice": (twice, 1, ("r",)),
    "all but a block": (twice, 1, ("first", "c", "out")),
    "branches in one layer": (
        lambda: chain(
            xpcnn.Parallel([xpcnn.Conv2d(4, 2, 1), xpcnn.Dropout2d(0.5)]), xpcnn.Conv2d(6, 4, 1)
        ),
        1,
        ("0",),
    ),
}  # fmt: skip


@pytest.mark.parametrize("need_dx", [False, True])
@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_gradients_and_statistics_are_those_of_the_layers(device, name, need_dx):
    make, inputs, frozen = NETWORKS[name]
    model = made(make(), device, inputs)
    xs = data(model, inputs)
    model.freeze(*frozen)
    for _ in range(2):  # what is folded is made in the first
        compare(model, xs, need_dx)


@pytest.mark.parametrize(
    ("name", "count", "kind"),
    [("chain", 3, FoldedStep), ("one branch", 2, FoldedStep), ("biases", 0, None)],
)
def test_the_front_has_the_steps_of_inference(name, count, kind):
    make, inputs, frozen = NETWORKS[name]
    model = made(make(), inputs=inputs)
    model.freeze(*frozen)
    found = front_steps(model)
    assert len(found) == count
    predicting = [line.step for line in model.program.lines(training=False)]
    if kind is not None:
        assert isinstance(found[0], kind)
        assert found[0] in predicting  # which keeps the folded weights for both


def test_convolutions_that_are_put_together_are_so_in_the_front():
    graph = xpcnn.Graph(
        "x",
        [
            ("a", xpcnn.Conv2d(2, 3, 1), "x"),
            ("b", xpcnn.Conv2d(2, 3, 1), "x"),
            ("both", Concat(dim=1), ["a", "b"]),
            ("flat", xpcnn.Flatten(), "both"),
            ("out", xpcnn.Linear(216, 2), "flat"),
        ],
        "out",
    )
    model = made(graph)
    model.freeze("a", "b")
    assert [type(step) for step in front_steps(model)][:1] == [ConcatStep]
    xs = data(model)
    compare(model, xs, True)


def test_nothing_is_kept_in_the_front():
    model = made(chain(xpcnn.Dropout(0.4)))
    model.freeze("0")
    model.forward(*data(model), training=True)
    for step in front_steps(model):
        assert getattr(step, "_saved", None) is None
        assert all(layer._saved is None for layer in step.layers)
    assert any(getattr(step, "_saved", None) is not None for step in model.program.steps)


def test_what_is_trained_counts_at_once():
    model = made(chain())
    xs = data(model)
    for frozen in (("0",), ("0.0",), (), ("0", "1"), ("0.1.weight",)):
        model.unfreeze()
        if frozen:
            model.freeze(*frozen)
        compare(model, xs)
    model.unfreeze()
    model.network.layers[0].layers[0].weight.requires_grad = False
    compare(model, xs)


def test_a_change_between_forward_and_backward_is_one_for_the_next_forward():
    """The backward is that of the forward that was; a parameter frozen since takes no gradient."""
    model = made(chain())
    xs = data(model)
    expected = by_layers(model, xs, False)
    y = model.forward(*xs, training=True)
    model.freeze("0")
    model.backward(y * 0 + 1 + y)
    for name, parameter in model.parameters().items():
        if name.startswith("0."):
            assert parameter.grad is None
        else:
            np.testing.assert_allclose(parameter.grad, expected[f"d {name}"], rtol=1e-9, atol=1e-9)
    model.zero_grad()
    y = model.forward(*xs, training=True)
    model.unfreeze()
    model.backward(y * 0 + 1 + y)
    assert model.parameters()["0.0.weight"].grad is None
    assert model.parameters()["1.body.0.weight"].grad is not None


def test_an_own_layer_runs_once_for_a_gradient_of_the_input():
    model = made(chain(Scaled(), *block(4, 4)))
    model.freeze("0")
    run(model, data(model), need_dx=True)
    assert model.network.layers[0].layers[4].runs == 1


def test_a_layer_of_unknown_gradients_still_runs_backward():
    model = made(chain(Halved(), *block(4, 4)))
    model.freeze("0")
    run(model, data(model), need_dx=False)
    assert model.network.layers[0].layers[4].backs == 1


def test_segments_lie_behind_the_front():
    model = made(chain())
    xs = data(model)
    model.freeze("0")
    expected = run(model, xs, True)
    first = len(front_steps(model))
    with pytest.raises(ValueError, match="step 0, .* is frozen and keeps nothing"):
        model.run_again([(0, first + 2)])
    model.run_again([(first, first + 2)])
    for need_dx in (True, False):
        for name, array in run(model, xs, need_dx).items():
            if expected[name] is not None and name != "dx0" and name.split(".")[-1][0] not in "rn":
                np.testing.assert_array_equal(array, expected[name], err_msg=name)
    model.unfreeze()
    assert model.segments == ()


def test_folded_weights_follow_a_change_of_the_frozen_weights():
    model = made(chain())
    xs = data(model)
    model.freeze("0")
    run(model, xs, False)
    state = {n: 1.5 * to_numpy(a) for n, a in model.state_dict().items() if n.startswith("0.0")}
    model.load_state_dict(state, strict=False)
    compare(model, xs)
    model.parameters()["0.0.weight"].data[:] *= 2  # in place, by an array that was lent
    compare(model, xs)


def test_memory_of_the_front_is_not_kept():
    def use(*frozen):
        model = xpcnn.Model(chain(), device="cpu", seed=0)
        model.build((None, 2, 6, 6))
        model.compile("sgd", "cross_entropy")
        if frozen:
            model.freeze(*frozen)
        return model.memory(64)

    before, found = use(), use("0")
    kept = dict(found.layers)
    front = [name for name in kept if "'0." in name]
    assert front
    assert all(kept[name] == 0 for name in front)
    assert found.total < before.total
    assert found.gradients < before.gradients


@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
def test_a_front_in_mixed_precision(precision):
    pytest.importorskip("torch")
    model = xpcnn.Model(chain(), device="torch:cpu", seed=0, precision=precision)
    x, y = np.random.default_rng(0).random((6, 2, 6, 6)).astype("float32"), np.arange(6) % 3
    model.compile(xpcnn.optim.SGD(0.1), "cross_entropy")
    model.build((None, 2, 6, 6))
    model.freeze("0", "1")
    before = {n: to_numpy(a).copy() for n, a in model.state_dict().items()}
    model.fit(x, y, epochs=1, batch_size=3, verbose=0)
    changed = {
        n for n, a in model.state_dict().items() if not np.array_equal(to_numpy(a), before[n])
    }
    assert changed == {"3.weight", "3.bias"}


def test_training_a_frozen_network_is_pytorchs_in_eval_mode():
    """requires_grad_(False) and eval() for the front; three steps of the classifier."""
    theirs = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4, 3),
    ).double()  # fmt: skip
    layers = [*block(2, 4), xpcnn.MaxPool2d(2), xpcnn.Conv2d(4, 4, 3), *block(4, 4)[1:]]
    ours = made(xpcnn.Sequential(*layers, xpcnn.Flatten(), xpcnn.Linear(4, 3)))
    theirs.load_state_dict({n: torch.tensor(to_numpy(a)) for n, a in ours.state_dict().items()})
    for layer in theirs[:7]:
        layer.requires_grad_(False).eval()
    ours.freeze(*map(str, range(7)))
    ours.compile(xpcnn.optim.SGD(0.1, momentum=0.9), "cross_entropy")
    optimizer = torch.optim.SGD(theirs[8].parameters(), 0.1, momentum=0.9)
    rng = np.random.default_rng(1)
    for _ in range(3):
        x, y = rng.normal(size=(8, 2, 6, 6)), rng.integers(0, 3, 8)
        ours.train_on_batch(x, y)
        optimizer.zero_grad()
        nn.functional.cross_entropy(theirs(torch.tensor(x)), torch.tensor(y)).backward()
        optimizer.step()
    for name, tensor in theirs.state_dict().items():
        found = to_numpy(ours.state_dict()[name])
        np.testing.assert_allclose(found, tensor.numpy(), rtol=1e-9, atol=1e-12, err_msg=name)


def test_the_front_is_known_by_the_network_alone():
    """What is frozen behind something that is trained is no front."""
    model = made(chain())
    model.freeze("1", "3")
    assert front_steps(model) == []


def test_a_callback_may_unfreeze_in_training_with_a_limit_of_memory():
    blocks = [layer for width in (2, *[8] * 7) for layer in block(width, 8)]
    model = xpcnn.Model([*blocks, xpcnn.Flatten(), xpcnn.Linear(288, 3)], device="cpu", seed=0)
    model.build((None, 2, 6, 6))
    model.compile("sgd", "cross_entropy")
    model.freeze("0")
    x, y = np.random.default_rng(0).random((64, 2, 6, 6), dtype="float32"), np.arange(64) % 3
    limit = int(0.7 * model.memory(64).total)

    class Unfreeze(xpcnn.Callback):
        def on_epoch_end(self, epoch, logs):
            seen.append(len(self.model.segments))
            self.model.unfreeze()

    seen = []
    before = to_numpy(model.network.layers[0].weight.value).copy()
    model.fit(x, y, epochs=2, batch_size=64, memory=limit, callbacks=[Unfreeze()], verbose=0)
    assert seen[0] > 0
    assert seen[1] == 0
    assert model.segments == ()
    assert (to_numpy(model.network.layers[0].weight.value) != before).all()


def test_early_stopping_leaves_the_folded_weights_alone():
    """Who asks for the arrays may write to them, so that nothing made of them can be kept."""
    model = xpcnn.Model(chain(), device="cpu", seed=0)
    model.build((None, 2, 6, 6))
    model.freeze("0", "1")
    model.compile("sgd", "cross_entropy")
    x, y = np.random.default_rng(0).random((8, 2, 6, 6), dtype="float32"), np.arange(8) % 3
    stop = xpcnn.EarlyStopping("loss", patience=5, restore_best_weights=True)

    class Watch(xpcnn.Callback):
        def on_epoch_end(self, epoch, logs):
            kept = self.model.network.layers[0].layers[0].weight
            promised.append(is_promised(kept.value))

    promised = []
    model.fit(x, y, epochs=2, callbacks=[stop, Watch()], verbose=0)
    assert promised == [True, True]


@pytest.mark.parametrize("need_dx", [False, True])
def test_an_output_of_the_front(need_dx):
    """Of two outputs one comes from the front, and has a gradient all the same."""
    graph = xpcnn.Graph(
        "x",
        [
            ("a", xpcnn.Sequential(*block(2, 3)), "x"),
            ("flat", xpcnn.Flatten(), "a"),
            ("out", xpcnn.Linear(108, 3), "flat"),
        ],
        ["a", "out"],
    )
    model = made(graph)
    (x,) = data(model)
    model.freeze("a")
    other = copy.deepcopy(model.network)
    found = []
    for network in (model, other):
        outputs = network.forward(x, training=True)
        dx = network.backward(*(1.0 + y for y in outputs), need_dx=need_dx)
        found.append(
            [*outputs, network.parameters()["out.weight"].grad, *([dx] if need_dx else [])]
        )
        assert network.parameters()["a.0.weight"].grad is None
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("need_dx", [False, True])
def test_a_table_of_vectors_in_the_front(need_dx):
    model = xpcnn.Model([xpcnn.Embedding(5, 3), xpcnn.Flatten(), xpcnn.Linear(6, 2)], device="cpu")
    tokens = np.array([[0, 1], [4, 2]])
    model.build((None, 2))
    model.freeze("0")
    y = model.forward(tokens, training=True)
    assert model.backward(np.ones_like(y), need_dx=need_dx) is None
    rows = model.parameters()["0.weight"].value[tokens].reshape(2, 6)
    np.testing.assert_allclose(
        model.parameters()["2.weight"].grad, np.stack([rows.sum(axis=0)] * 2), rtol=1e-6
    )


@pytest.mark.parametrize("frozen", [(), ("0", "1")])
def test_a_backward_needs_a_forward(frozen):
    model = made(chain())
    model.freeze(*frozen)
    y = model.forward(*data(model), training=True)
    for need_dx in (False, True):
        model.forward(*data(model), training=True)
        model.backward(y, need_dx=need_dx)
        with pytest.raises(RuntimeError, match="backward needs a forward"):
            model.backward(y, need_dx=need_dx)
        model.forward(*data(model))  # one without training serves, too
        model.backward(y, need_dx=need_dx)
        with pytest.raises(RuntimeError, match="backward needs a forward"):
            model.backward(y, need_dx=need_dx)
