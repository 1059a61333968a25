"""Optimizers against cases worked by hand and against PyTorch."""

from __future__ import annotations

import inspect
import json
import math
from typing import Any

import numpy as np
import pytest

from xpcnn import optim
from xpcnn._xp import Array, device_of, dtype_name, to_numpy
from xpcnn.device import Device
from xpcnn.initializers import zeros
from xpcnn.layers.parameter import Parameter

OPTIMIZERS = [
    name
    for name in optim.__all__
    if isinstance(cls := getattr(optim, name), type)
    and issubclass(cls, optim.Optimizer)
    and cls is not optim.Optimizer
]


def parameter(data: Array, grad: Array | None = None) -> Parameter:
    made = Parameter(tuple(data.shape), zeros())
    made.data = data
    made.grad = grad
    return made


# -- By hand, on every device ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("optimizer", "expected"),
    [
        # Two updates from p = 1 with gradients 0.5 and 0.5, by the equations.
        (optim.SGD(0.1), 1 - 0.05 - 0.05),
        (optim.SGD(0.1, momentum=0.5), 1 - 0.05 - 0.1 * 0.75),
        (optim.SGD(0.1, momentum=0.5, nesterov=True), 1 - 0.1 * 0.75 - 0.1 * (0.5 + 0.5 * 0.75)),
        (optim.SGD(0.1, weight_decay=0.2), 0.93 - 0.1 * (0.5 + 0.2 * 0.93)),
        (optim.Adagrad(0.1, eps=0.0), 1 - 0.1 - 0.1 / math.sqrt(2)),
        (optim.RMSprop(0.1, alpha=0.75, eps=0.0), 1 - 0.1 * 2 - 0.1 / math.sqrt(7 / 16)),
        (optim.Adam(0.1, eps=0.0), 1 - 0.1 - 0.1),
        (optim.AdamW(0.1, eps=0.0, weight_decay=0.5), (0.95 - 0.1) * 0.95 - 0.1),
        (optim.Adamax(0.1, eps=0.0), 1 - 0.1 - 0.1),
        (optim.SGD(0.1, clip_norm=0.25), 1 - 0.025 - 0.025),
        (optim.SGD(0.1, clip_value=0.1), 1 - 0.01 - 0.01),
        (optim.SGD(0.1, schedule=optim.Warmup(1, start_factor=0.5)), 1 - 0.025 - 0.05),
    ],
    ids=repr,
)
def test_two_updates_by_hand(device: Device, optimizer: optim.Optimizer, expected: float) -> None:
    optimizer.reset()
    start = device.asarray(np.array([1.0]))
    p = parameter(start, device.asarray(np.array([0.5])))
    optimizer.step({"p": p})
    optimizer.step({"p": p})
    np.testing.assert_allclose(to_numpy(p.data), [expected], rtol=1e-5)
    assert device_of(p.data) == device_of(start)
    assert optimizer.iterations == 2
    # Neither the old values nor the gradient were written to.
    assert float(start[0]) == 1.0
    assert float(p.grad[0]) == 0.5


# -- Against PyTorch -------------------------------------------------------------------------------

CASES: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.01}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
    ("Adagrad", {}),
    ("Adagrad", {"lr_decay": 0.1, "weight_decay": 0.1, "initial_accumulator_value": 0.3}),
    ("RMSprop", {}),
    ("RMSprop", {"alpha": 0.9, "momentum": 0.9, "centered": True, "weight_decay": 0.1}),
    ("Adadelta", {}),
    ("Adadelta", {"lr": 0.5, "rho": 0.8, "eps": 1e-4, "weight_decay": 0.1}),
    ("Adam", {}),
    ("Adam", {"lr": 0.1, "betas": (0.8, 0.9), "eps": 1e-3, "weight_decay": 0.1, "amsgrad": True}),
    ("AdamW", {}),
    ("AdamW", {"lr": 0.1, "weight_decay": 0.3, "amsgrad": True}),
    ("Adamax", {}),
    ("Adamax", {"lr": 0.1, "betas": (0.8, 0.9), "eps": 1e-3, "weight_decay": 0.1}),
]


@pytest.mark.parametrize(("name", "settings"), CASES)
@pytest.mark.parametrize("clip", [None, "clip_norm", "clip_value"])
def test_as_pytorch(
    rng: np.random.Generator, name: str, settings: dict[str, Any], clip: str | None
) -> None:
    torch = pytest.importorskip("torch")
    arrays = {"a": rng.normal(size=(4, 3)), "b": rng.normal(size=5), "late": rng.normal(size=2)}
    ours = {key: parameter(value) for key, value in arrays.items()}
    theirs = {key: torch.nn.Parameter(torch.tensor(value)) for key, value in arrays.items()}
    limit = {} if clip is None else {clip: 1.5}
    optimizer = getattr(optim, name)(**settings, **limit)
    reference = getattr(torch.optim, name)(list(theirs.values()), **settings)
    for step in range(20):
        for key in arrays:
            # A parameter that joins later counts its own updates.
            grad = None if key == "late" and step < 5 else rng.normal(size=arrays[key].shape)
            ours[key].grad = grad
            theirs[key].grad = None if grad is None else torch.tensor(grad)
        if clip == "clip_norm":
            torch.nn.utils.clip_grad_norm_(theirs.values(), 1.5)
        elif clip == "clip_value":
            torch.nn.utils.clip_grad_value_(theirs.values(), 1.5)
        optimizer.step(ours)
        reference.step()
        for key in arrays:
            np.testing.assert_allclose(
                ours[key].data, theirs[key].detach().numpy(), rtol=1e-12, atol=1e-12
            )


# -- What is updated -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name.lower() for name in OPTIMIZERS])
def test_keeps_float32(name: str) -> None:
    optimizer = optim.get(name)
    optimizer.clip_norm = 0.5
    p = parameter(np.ones(3, "float32"), np.ones(3, "float32"))
    for _ in range(2):
        optimizer.step({"p": p})
    assert p.data.dtype == np.float32
    slots = [v for k, v in optimizer.state_dict().items() if k not in ("iterations", "p/step")]
    assert all(slot.dtype == np.float32 for slot in slots)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_what_all_have_in_common_is_listed(name: str) -> None:
    *own, norm, value, schedule, groups = inspect.signature(
        getattr(optim, name)
    ).parameters.values()
    assert own[0].name == "lr"
    common = (norm, value, schedule, groups)
    assert [p.name for p in common] == ["clip_norm", "clip_value", "schedule", "groups"]
    assert {p.kind for p in common} == {inspect.Parameter.KEYWORD_ONLY}


def test_frozen_and_unused_parameters_stay() -> None:
    frozen, unused = parameter(np.ones(2), np.ones(2)), parameter(np.ones(2))
    frozen.requires_grad = False
    used = parameter(np.ones(2), np.full(2, 3.0))
    optimizer = optim.SGD(1.0, weight_decay=0.1, clip_norm=3.0)
    optimizer.step({"frozen": frozen, "unused": unused, "used": used})
    np.testing.assert_array_equal(frozen.data, 1.0)
    np.testing.assert_array_equal(unused.data, 1.0)
    # The frozen gradient has no part in the norm, sqrt(18).
    np.testing.assert_allclose(used.data, 1 - 3 / math.sqrt(2) - 0.1, rtol=1e-6)
    optimizer.step({})
    assert optimizer.iterations == 2


def test_both_limits_value_first() -> None:
    p = parameter(np.zeros(2), np.array([10.0, 1.0]))
    optim.SGD(1.0, clip_value=1.0, clip_norm=1.0).step({"p": p})
    np.testing.assert_allclose(p.data, -math.sqrt(0.5), rtol=1e-5)


def test_a_failed_update_changes_nothing() -> None:
    good, bad = parameter(np.ones(2), np.ones(2)), parameter(np.ones(3), np.ones(3))
    optimizer = optim.Adam()
    optimizer.step({"good": good, "bad": bad})
    before = good.data.copy()
    state = optimizer.state_dict()
    with pytest.raises(ValueError):
        optimizer.step({"good": good, "bad": parameter(np.ones((2, 2)), np.ones((2, 2)))})
    with pytest.raises(ValueError, match="belongs to another model"):
        optimizer.step({"good": good, "bad": parameter(np.ones(1), np.ones(1))})
    np.testing.assert_array_equal(good.data, before)
    assert optimizer.iterations == 1
    np.testing.assert_array_equal(optimizer.state_dict()["good/exp_avg"], state["good/exp_avg"])


def test_momentum_does_not_hold_on_to_the_gradient() -> None:
    grad = np.ones(2)
    p = parameter(np.zeros(2), grad)
    optimizer = optim.SGD(1.0, momentum=1.0)
    optimizer.step({"p": p})
    grad[:] = 0.0  # a kernel may write the next gradient into the same memory
    optimizer.step({"p": p})
    np.testing.assert_array_equal(p.data, -2.0)


# -- State -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("device", ["cpu", "strict:1", "torch:cpu"], indirect=True)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_resumed_run_is_the_same(device: Device, name: str) -> None:
    numbers = np.random.default_rng(3)
    start, gradients = numbers.normal(size=3), numbers.normal(size=(6, 3))
    settings = {"momentum": 0.9} if name in ("SGD", "RMSprop") else {}

    def train(optimizer: optim.Optimizer, p: Parameter, part: np.ndarray) -> None:
        for gradient in part:
            p.grad = device.asarray(gradient)
            optimizer.step({"layer.weight": p})

    straight, p = getattr(optim, name)(**settings), parameter(device.asarray(start))
    train(straight, p, gradients)
    first, q = getattr(optim, name)(**settings), parameter(device.asarray(start))
    train(first, q, gradients[:3])
    saved = {key: np.array(to_numpy(value)) for key, value in first.state_dict().items()}
    second = optim.from_config(json.loads(json.dumps(optim.to_config(first))))
    second.load_state_dict(saved, device, parameters={"layer.weight": q})
    assert second.iterations == 3
    train(second, q, gradients[3:])
    np.testing.assert_array_equal(to_numpy(q.data), to_numpy(p.data))


def test_load_lists_everything_that_does_not_fit() -> None:
    p = parameter(np.ones(2), np.ones(2))
    optimizer = optim.Adam()
    optimizer.step({"p": p})
    before = optimizer.state_dict()
    state = {
        "iterations": np.asarray(-1),
        "p/step": np.asarray(1.5),
        "p/exp_avg": np.ones(3),
        "p/momentum_buffer": np.ones(2),
        "q/exp_avg": np.ones(2),
        "loose": np.ones(2),
    }
    with pytest.raises(ValueError) as caught:
        optimizer.load_state_dict(state, parameters={"p": p})
    for piece in (
        "iterations: expected one whole number",
        "p/step: expected one whole number",
        "misshapen: p/exp_avg has shape (3,), expected (2,)",
        "unexpected: p/momentum_buffer",
        "no parameter q",
        "unexpected: loose",
        "missing: q/step",
    ):
        assert piece in str(caught.value)
    assert optimizer.state_dict().keys() == before.keys()
    np.testing.assert_array_equal(optimizer.state_dict()["p/exp_avg"], before["p/exp_avg"])


def test_move_and_reset() -> None:
    strict = pytest.importorskip("array_api_strict")
    p = parameter(np.ones(2), np.ones(2))
    optimizer = optim.Adam(schedule=optim.ReduceLROnPlateau(patience=0))
    optimizer.step({"p": p})
    optimizer.move("strict:1", "float32")
    moved = optimizer.state_dict()["p/exp_avg"]
    assert dtype_name(moved) == "float32"
    assert device_of(moved) == strict.Device("device1")
    for value in (1.0, 2.0):
        optimizer.schedule.observe(value)
    assert optimizer.current_lr() == pytest.approx(1e-4)
    optimizer.reset()
    assert optimizer.iterations == 0
    assert list(optimizer.state_dict()) == ["iterations"]
    assert optimizer.current_lr() == 1e-3


# -- Settings --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_configuration_round_trip(name: str, settings: dict[str, Any]) -> None:
    schedule = optim.Warmup(10, optim.CosineAnnealingLR(5))
    optimizer = getattr(optim, name)(**settings, clip_norm=2.0, schedule=schedule)
    again = optim.from_config(json.loads(json.dumps(optim.to_config(optimizer))))
    assert type(again) is type(optimizer)
    assert again.config() == optimizer.config()
    assert repr(again) == repr(optimizer)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: optim.SGD(-0.1), "SGD: lr must be at least 0"),
        (lambda: optim.SGD(math.nan), "lr"),
        (lambda: optim.SGD(math.inf), "lr must be at least 0 and finite"),
        (lambda: optim.SGD(nesterov=True), "nesterov needs a momentum"),
        (lambda: optim.SGD(momentum=0.9, dampening=0.1, nesterov=True), "no dampening"),
        (lambda: optim.SGD(momentum=-1.0), "momentum"),
        (lambda: optim.SGD(clip_norm=0.0), "clip_norm must be above 0"),
        (lambda: optim.SGD(clip_value=-1.0), "clip_value"),
        (lambda: optim.Adam(weight_decay=-1.0), "weight_decay"),
        (lambda: optim.Adam(betas=(0.9, 1.0)), "betas\\[1\\] must be at least 0 and below 1"),
        (lambda: optim.Adam(betas=0.9), "two numbers"),
        (lambda: optim.AdamW(eps=-1.0), "AdamW: eps"),
        (lambda: optim.Adadelta(rho=1.5), "rho must be between 0 and 1"),
        (lambda: optim.Adagrad(lr_decay=-1.0), "lr_decay"),
        (lambda: optim.RMSprop(alpha=-1.0), "alpha"),
    ],
)
def test_wrong_settings(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_wrong_types_of_settings() -> None:
    with pytest.raises(TypeError, match="lr must be a number, got '0.1'"):
        optim.SGD("0.1")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="schedule must be a Schedule"):
        optim.Adam(schedule=0.5)  # type: ignore[arg-type]


def test_get() -> None:
    assert isinstance(optim.get("AdamW"), optim.AdamW)
    optimizer = optim.SGD()
    assert optim.get(optimizer) is optimizer
    with pytest.raises(ValueError, match="'adamm'.*'sgd', 'adagrad', 'rmsprop'"):
        optim.get("adamm")
    with pytest.raises(ValueError, match="unknown class 'Model'"):
        optim.from_config({"class": "Model", "config": {}})
    with pytest.raises(ValueError, match="SGD: lr"):
        optim.from_config({"class": "SGD", "config": {"lr": -1.0}})


def test_an_optimizer_of_ones_own() -> None:
    class SignSGD(optim.Optimizer):
        def _update(self, xp, p, g, slots, lr, step):  # type: ignore[no-untyped-def]
            return p - lr * xp.sign(g)

    p = parameter(np.zeros(2), np.array([3.0, -0.1]))
    SignSGD(0.5).step({"p": p})
    np.testing.assert_array_equal(p.data, [-0.5, 0.5])


@pytest.mark.parametrize("make", [optim.Adam, lambda: optim.SGD(0.1, momentum=0.9)])
def test_state_of_another_model_is_refused(make: Any) -> None:
    optimizer = make()
    for shape, fits in (((2, 4), True), ((3, 4), False)):
        parameter = Parameter(shape, zeros())
        parameter.data = np.zeros(shape)
        parameter.grad = np.ones(shape)
        if fits:
            optimizer.step({"weight": parameter})
            continue
        with pytest.raises(
            ValueError, match=r"state for weight has the wrong shape, expected \(3, 4\)"
        ):
            optimizer.step({"weight": parameter})
        assert not parameter.data.any()
        assert optimizer.iterations == 1


@pytest.mark.parametrize(
    "optimizer", [optim.SGD(0.1), optim.Adam(), optim.RMSprop(), optim.Adagrad()]
)
@pytest.mark.parametrize("shape", [(2, 1), (3,), (2, 4)])
def test_a_gradient_of_another_shape_is_refused(optimizer, shape):
    weight = parameter(np.ones((2, 3), "float32"), np.ones(shape, "float32"))
    with pytest.raises(ValueError, match="gradient of weight has shape"):
        optimizer.step({"weight": weight})
    np.testing.assert_array_equal(weight.value, np.ones((2, 3)))
    assert optimizer.iterations == 0
