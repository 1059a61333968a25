"""Groups of parameters with settings of their own, against PyTorch's and by hand."""

from __future__ import annotations

import copy
import json
from typing import Unpack

import numpy as np
import pytest

import xpcnn
from tests.test_optim import OPTIMIZERS, parameter
from xpcnn import optim
from xpcnn._xp import to_numpy
from xpcnn.optim.optimizer import Common

NAMES = ("features.0.weight", "features.0.bias", "head.weight", "head.bias")
OWN = {
    "SGD": [{"momentum": 0.9, "dampening": 0.2}, {"momentum": 0.5, "weight_decay": 0.1}],
    "Adagrad": [{"lr_decay": 0.1}, {"weight_decay": 0.3, "eps": 1e-3}],
    "RMSprop": [{"alpha": 0.9, "momentum": 0.5}, {"eps": 1e-2, "weight_decay": 0.1}],
    "Adadelta": [{"rho": 0.7}, {"eps": 1e-3, "weight_decay": 0.1}],
    "Adam": [{"betas": (0.8, 0.9)}, {"eps": 1e-3, "weight_decay": 0.1}],
    "AdamW": [{"betas": (0.8, 0.9)}, {"eps": 1e-3, "weight_decay": 0.4}],
    "Adamax": [{"betas": (0.8, 0.9)}, {"eps": 1e-3, "weight_decay": 0.1}],
}


def made(device=None, seed=4):
    rng = np.random.default_rng(seed)
    shapes = [(3, 2), (3,), (2, 3), (2,)]
    arrays = [rng.normal(size=shape) for shape in shapes]
    if device is not None:
        arrays = [device.asarray(array) for array in arrays]
    return dict(zip(NAMES, map(parameter, arrays), strict=True))


def give_gradients(parameters, rng, device=None):
    for p in parameters.values():
        p.grad = rng.normal(size=p.shape)
        if device is not None:
            p.grad = device.asarray(p.grad)


def torch_groups(torch, tensors, groups):
    """PyTorch's list of groups of the same settings: each parameter in one of its own."""
    found = []
    for name, tensor in tensors.items():
        settings = {}
        for pick, given in groups:
            settings |= given if pick(name) else {}
        found.append({"params": [tensor], **settings})
    return found


def test_every_optimizer_is_compared():
    assert set(OWN) == set(OPTIMIZERS)


@pytest.mark.parametrize("schedule", [None, "step", "cosine", "one cycle"])
@pytest.mark.parametrize("name", OWN)
def test_as_pytorchs_groups(name, schedule):
    torch = pytest.importorskip("torch")
    head, bias = ({"lr": 0.03, **OWN[name][0]}, {"lr": 0.05, **OWN[name][1]})
    groups = [(lambda n: n.startswith("head"), head), (lambda n: n.endswith("bias"), bias)]
    ours = made()
    theirs = {n: torch.nn.Parameter(torch.tensor(p.value.copy())) for n, p in ours.items()}
    reference = getattr(torch.optim, name)(torch_groups(torch, theirs, groups), lr=0.02)
    lr = torch.optim.lr_scheduler
    plan, their_plan = {
        None: (None, None),
        "step": (optim.StepLR(2, 0.5), lambda: lr.StepLR(reference, 2, 0.5)),
        "cosine": (
            optim.CosineAnnealingLR(4, eta_min=0.01),
            lambda: lr.CosineAnnealingLR(reference, 4, eta_min=0.01),
        ),
        "one cycle": (
            optim.OneCycleLR(0.2, total_steps=8),
            lambda: lr.OneCycleLR(
                reference, [0.2 * g["lr"] / 0.02 for g in reference.param_groups], total_steps=8,
                cycle_momentum=False,
            ),
        ),
    }[schedule]  # fmt: skip
    their_plan = None if their_plan is None else their_plan()
    optimizer = getattr(optim, name)(0.02, schedule=plan, groups={"head": head, "*.bias": bias})
    rng = np.random.default_rng(0)
    for _ in range(8):
        give_gradients(ours, rng)
        for n, tensor in theirs.items():
            tensor.grad = torch.tensor(ours[n].grad)
        optimizer.step(ours)
        optimizer.end_epoch()
        reference.step()
        if their_plan is not None:
            their_plan.step()
        for n, tensor in theirs.items():
            np.testing.assert_allclose(
                ours[n].value, tensor.detach().numpy(), rtol=1e-10, atol=1e-12, err_msg=n
            )


def test_two_updates_by_hand(device):
    """From 1 with gradients of 0.5: the bias of the head takes its rate from the later pattern."""
    groups = {"head.*": {"lr": 0.2, "momentum": 0.5}, "*.bias": {"lr": 0.4, "weight_decay": 0.1}}
    optimizer = optim.SGD(0.1, groups=groups)
    ps = {n: parameter(device.asarray(np.ones(1)), device.asarray(np.full(1, 0.5))) for n in NAMES}
    optimizer.step(ps)
    optimizer.step(ps)
    expected = {
        "features.0.weight": 1 - 0.05 - 0.05,
        "features.0.bias": 0.76 - 0.4 * 0.576,  # after 1 - 0.4 * 0.6
        "head.weight": 1 - 0.1 - 0.2 * 0.75,
        "head.bias": 0.76 - 0.4 * (0.5 * 0.6 + 0.576),
    }
    for name, value in expected.items():
        np.testing.assert_allclose(to_numpy(ps[name].value), [value], rtol=1e-6, err_msg=name)


def test_limits_take_all_gradients_together():
    ps = {n: parameter(np.zeros(1), np.ones(1)) for n in NAMES}
    optim.SGD(1.0, clip_norm=1.0, groups={"head": {"lr": 2.0}}).step(ps)  # a norm of 2
    for name, p in ps.items():
        np.testing.assert_allclose(p.value, -1.0 if "head" in name else -0.5, rtol=1e-5)


def test_plateau_reduces_the_rate_of_every_group():
    schedule = optim.ReduceLROnPlateau(patience=0, factor=0.5, min_lr=0.4)
    optimizer = optim.SGD(1.0, schedule=schedule, groups={"head": {"lr": 0.5}})
    for value in (1.0, 2.0):
        schedule.observe(value)
    ps = {n: parameter(np.zeros(1), np.ones(1)) for n in NAMES}
    optimizer.step(ps)
    assert float(ps["features.0.weight"].value[0]) == -0.5
    assert float(ps["head.weight"].value[0]) == -0.4


def test_a_warm_up_of_a_schedule_that_sets_the_rate():
    schedule = optim.Warmup(2, optim.OneCycleLR(0.1, total_steps=4), start_factor=0.5)
    optimizer = optim.SGD(1.0, schedule=schedule, groups={"head": {"lr": 3.0}})
    for _ in range(4):
        ps = {n: parameter(np.zeros(1), np.ones(1)) for n in NAMES}
        lr = optimizer.current_lr()
        optimizer.step(ps)
        np.testing.assert_allclose(ps["head.bias"].value, -3 * lr, rtol=1e-6)
        np.testing.assert_allclose(ps["features.0.bias"].value, -lr, rtol=1e-6)


@pytest.mark.parametrize("name", OWN)
def test_groups_of_the_same_settings_are_no_groups(name, device):
    settings = {"lr": 0.02, **OWN[name][0]}
    groups = {"head": settings, "features.*": settings}
    plain, grouped = getattr(optim, name)(**settings), getattr(optim, name)(groups=groups)
    found = []
    for optimizer in (plain, grouped):
        rng, ps = np.random.default_rng(2), made(device)
        for _ in range(3):
            give_gradients(ps, rng, device)
            optimizer.step(ps)
        found.append([to_numpy(p.value) for p in ps.values()])
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("name", OWN)
def test_a_resumed_run_is_the_same(name):
    groups = {"head": {"lr": 0.03, **OWN[name][0]}, "*.bias": OWN[name][1]}

    def train(optimizer, ps, steps, rng):
        for _ in range(steps):
            give_gradients(ps, rng)
            optimizer.step(ps)

    straight, whole = getattr(optim, name)(groups=groups), made()
    train(straight, whole, 6, np.random.default_rng(1))
    first, parts, rng = getattr(optim, name)(groups=groups), made(), np.random.default_rng(1)
    train(first, parts, 3, rng)
    second = optim.from_config(json.loads(json.dumps(optim.to_config(first))))
    assert repr(second) == repr(first)
    assert second.config() == first.config()
    second.load_state_dict(first.state_dict(), parameters=parts)
    train(second, parts, 3, rng)
    for n, p in whole.items():
        np.testing.assert_array_equal(parts[n].value, p.value)


def test_what_is_shown_and_copied():
    optimizer = optim.Adam(1e-3, groups={"head.*": {"lr": 1e-2}, "*.bias": {"betas": (0.8, 0.9)}})
    shown = "Adam(groups={'head.*': {'lr': 0.01}, '*.bias': {'betas': (0.8, 0.9)}})"
    assert repr(optimizer) == shown
    assert repr(copy.deepcopy(optimizer)) == shown
    assert optim.SGD(groups={}).groups is None
    numbers = optim.SGD(groups={"head": {"lr": np.float32(0.5), "momentum": 1}})
    assert json.dumps(optim.to_config(numbers)["config"]["groups"]) == (
        '[["head", [["lr", 0.5], ["momentum", 1.0]]]]'
    )
    for change in (lambda g: g.update(a=1), lambda g: g["head.*"].__setitem__("lr", 1.0)):
        with pytest.raises((AttributeError, TypeError)):
            change(optimizer.groups)


def test_settings_may_change_between_updates():
    optimizer = optim.SGD(1.0, groups={"head": {"weight_decay": 0.5}, "*.bias": {"lr": 2.0}})

    def steps():
        ps = {n: parameter(np.ones(1), np.ones(1)) for n in NAMES}
        optimizer.step(ps)
        return [1.0 - float(p.value[0]) for p in ps.values()]

    assert steps() == [1.0, 2.0, 1.5, 3.0]
    optimizer.lr = 4.0  # the rate of a group is its own
    assert steps() == [4.0, 2.0, 6.0, 3.0]
    optimizer.weight_decay = 1.0
    assert steps() == [8.0, 4.0, 6.0, 3.0]
    optimizer.groups = {"features.*": {"lr": 0.0}}
    assert steps() == [0.0, 0.0, 8.0, 8.0]
    optimizer.groups = None
    assert steps() == [8.0, 8.0, 8.0, 8.0]


def test_who_is_frozen_may_change_between_updates():
    optimizer, ps = optim.SGD(1.0, groups={"head": {"lr": 2.0}}), made()
    start = {n: p.value for n, p in ps.items()}
    ps["head.bias"].requires_grad = False
    for p in ps.values():
        p.grad = np.ones(p.shape)
    optimizer.step(ps)
    ps["head.bias"].requires_grad = True
    optimizer.step(ps)
    np.testing.assert_allclose(start["head.bias"] - ps["head.bias"].value, 2.0)
    np.testing.assert_allclose(start["head.weight"] - ps["head.weight"].value, 4.0)


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW"])
def test_numbers_from_the_device_are_those_of_the_host(name, device):
    """As captured steps have them: those of all groups in one array."""
    groups = {"head": {"lr": 0.03, **OWN[name][0]}, "*.bias": {"lr": 0.2}}
    found = []
    for captured in (False, True):
        optimizer, ps, rng = getattr(optim, name)(groups=groups), made(device), None
        rng = np.random.default_rng(3)
        for _ in range(2):
            give_gradients(ps, rng, device)
            numbers = optimizer.next_numbers(ps)
            assert len(numbers) == 4 * (1 if name == "SGD" else 3)
            optimizer.step(ps, numbers=device.asarray(np.array(numbers)) if captured else None)
        found.append([to_numpy(p.value) for p in ps.values()])
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_parameters_with_other_numbers_of_updates_cannot_be_captured():
    optimizer, ps = optim.Adam(groups={"head": {"lr": 0.1}}), made()
    give_gradients(ps, np.random.default_rng(0))
    ps["head.weight"].grad = ps["head.bias"].grad = None
    optimizer.step(ps)
    assert len(optimizer.next_numbers(ps)) == 6  # each group counts for itself
    ps["head.bias"].grad = np.ones(2)
    optimizer.step(ps)
    with pytest.raises(xpcnn.errors.CaptureError, match="different numbers of updates"):
        optimizer.next_numbers(ps)


def test_slots_are_those_of_the_group_that_keeps_most():
    assert optim.SGD(0.1).count_slots() == 0
    assert optim.SGD(0.1, groups={"head": {"momentum": 0.9}}).count_slots() == 1


@pytest.mark.parametrize(
    ("groups", "error", "message"),
    [
        (
            {"head": {"lrr": 1.0}},
            ValueError,
            r"groups\['head'\]: 'lrr' is no setting .*lr, mom",
        ),
        ({"head": {"learning_rate": 1.0}}, ValueError, "here it is 'lr'"),
        ({"head": {"nesterov": True}}, ValueError, "'nesterov' is no setting that may differ"),
        ({"head": {"clip_norm": 1.0}}, ValueError, "'clip_norm' is no setting"),
        ({"head": {"schedule": None}}, ValueError, "'schedule' is no setting"),
        ({"head": {"lr": -1.0}}, ValueError, r"groups\['head'\]: SGD: lr must be at least 0"),
        ({"head": {"lr": "1"}}, TypeError, r"groups\['head'\]: SGD: lr must be a number, got '1'"),
        ({"head": {}}, ValueError, r"groups\['head'\] has no settings"),
        ({"head": 0.1}, TypeError, r"groups\['head'\] must be settings such as .* got 0.1"),
        ({"": {"lr": 1.0}}, ValueError, "SGD: groups: a pattern is empty"),
        ({3: {"lr": 1.0}}, TypeError, "got 3"),
        ("head", TypeError, "SGD: groups must map patterns to settings"),
        ([1, 2], TypeError, "SGD: groups must map patterns to settings"),
    ],
)
def test_wrong_groups(groups, error, message):
    with pytest.raises(error, match=message):
        optim.SGD(groups=groups)
    optimizer = optim.SGD()
    with pytest.raises(error, match=message):
        optimizer.groups = groups
    assert optimizer.groups is None


def test_settings_that_do_not_go_together():
    with pytest.raises(ValueError, match=r"groups\['head'\]: SGD: nesterov needs a momentum"):
        optim.SGD(momentum=0.9, nesterov=True, groups={"head": {"momentum": 0.0}})
    with pytest.raises(ValueError, match="OneCycleLR sets the learning rate"):
        optim.SGD(0.0, schedule=optim.OneCycleLR(0.1, 5), groups={"head": {"lr": 0.1}})


def model(optimizer=None):
    made = xpcnn.Model([xpcnn.Flatten(), xpcnn.Linear(4, 3), xpcnn.Linear(3, 2)], device="cpu")
    if optimizer is not None:
        made.compile(optimizer, "cross_entropy")
    return made


def test_a_pattern_without_a_match():
    x, y = np.ones((4, 4), "float32"), np.array([0, 1, 0, 1])
    message = r"Adam: groups: no layer or parameter is called '7\.\*'"
    wrong = optim.Adam(groups={"1.*": {"lr": 0.1}, "7.*": {"lr": 0.1}})
    unbuilt = model(wrong)
    for method in (unbuilt.fit, unbuilt.train_on_batch):
        with pytest.raises(ValueError, match=message):
            method(x, y)
    built = model("sgd")
    built.build((None, 4))
    with pytest.raises(ValueError, match=message):
        built.compile(optim.Adam(groups={"7.*": {"lr": 0.1}}), "cross_entropy")
    assert isinstance(built.optimizer, optim.SGD)
    with pytest.raises(ValueError, match=message):
        optim.Adam(groups={"7.*": {"lr": 0.1}}).step(built.parameters())


def test_a_model_keeps_its_groups_in_its_file(tmp_path):
    x, y = np.random.default_rng(0).random((8, 4), dtype="float32"), np.arange(8) % 2
    first = model(optim.Adam(0.01, groups={"1": {"lr": 0.0}, "*.bias": {"betas": (0.5, 0.6)}}))
    first.fit(x, y, epochs=2, verbose=0)
    first.save(tmp_path / "m")
    again = xpcnn.Model.load(tmp_path / "m", device="cpu")
    assert repr(again.optimizer) == repr(first.optimizer)
    for each in (first, again):
        each.fit(x, y, epochs=2, verbose=0)
    for name, array in first.state_dict().items():
        np.testing.assert_array_equal(array, again.state_dict()[name])


def test_an_optimizer_of_ones_own_has_groups():
    class Sign(optim.Optimizer):
        def __init__(self, lr: float = 0.1, power: float = 1.0, **common: Unpack[Common]):
            super().__init__(lr, **common)
            self.power = self._number("power", power)

        def _update(self, xp, p, g, slots, lr, step):
            return p - lr * xp.sign(g) * self.power

    ps = {n: parameter(np.zeros(1), np.ones(1)) for n in NAMES}
    Sign(1.0, groups={"head": {"power": 3.0}}).step(ps)
    assert [float(p.value[0]) for p in ps.values()] == [-1.0, -1.0, -3.0, -3.0]

    class Loose(optim.SGD):
        def __init__(self, **options):
            super().__init__(**options)

    with pytest.raises(TypeError, match="Loose: for groups, keep the arguments"):
        Loose(groups={"head": {"lr": 3.0}})
