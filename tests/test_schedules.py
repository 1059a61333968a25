"""Schedules against cases worked by hand and against PyTorch."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from xpcnn import optim

BASE = 0.4


def sequence(schedule: optim.Schedule, count: int) -> list[float]:
    """Learning rates over the epochs or steps, whichever the schedule counts; the other is off."""
    if schedule.counts == "epochs":
        return [schedule.lr(BASE, epoch=i, step=10**6) for i in range(count)]
    return [schedule.lr(BASE, epoch=10**6, step=i) for i in range(count)]


def pytorch_sequence(make: Any, count: int) -> list[float]:
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=BASE)
    schedule = make(torch.optim.lr_scheduler, optimizer)
    rates = []
    for _ in range(count):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if len(rates) < count:
            schedule.step()
    return rates


PAIRS: list[tuple[optim.Schedule, Any, int]] = [
    (optim.StepLR(3), lambda t, o: t.StepLR(o, 3), 12),
    (optim.StepLR(1, 0.5), lambda t, o: t.StepLR(o, 1, 0.5), 12),
    (optim.MultiStepLR([5, 2, 5]), lambda t, o: t.MultiStepLR(o, [2, 5, 5]), 12),
    (optim.ExponentialLR(0.9), lambda t, o: t.ExponentialLR(o, 0.9), 12),
    (optim.CosineAnnealingLR(7), lambda t, o: t.CosineAnnealingLR(o, 7), 24),
    (optim.CosineAnnealingLR(5, 0.1), lambda t, o: t.CosineAnnealingLR(o, 5, 0.1), 24),
    (optim.ConstantLR(0.25, 3), lambda t, o: t.ConstantLR(o, 0.25, 3), 8),
    (optim.ConstantLR(), lambda t, o: t.ConstantLR(o), 8),
    (optim.LinearLR(), lambda t, o: t.LinearLR(o), 8),
    (optim.LinearLR(0.8, 0.1, 4), lambda t, o: t.LinearLR(o, 0.8, 0.1, 4), 8),
    (optim.PolynomialLR(), lambda t, o: t.PolynomialLR(o), 8),
    (optim.PolynomialLR(6, 2.5), lambda t, o: t.PolynomialLR(o, 6, 2.5), 8),
    (
        optim.CosineAnnealingWarmRestarts(5, eta_min=0.1),
        lambda t, o: t.CosineAnnealingWarmRestarts(o, 5, eta_min=0.1),
        24,
    ),
    (
        optim.CosineAnnealingWarmRestarts(3, 2),
        lambda t, o: t.CosineAnnealingWarmRestarts(o, 3, 2),
        50,
    ),
    (
        optim.CosineAnnealingWarmRestarts(1, 3, counts="steps"),
        lambda t, o: t.CosineAnnealingWarmRestarts(o, 1, 3),
        50,
    ),
    (
        optim.SequentialLR(
            [optim.LinearLR(0.5, total_iters=4), optim.ExponentialLR(0.9), optim.StepLR(3)], [4, 9]
        ),
        lambda t, o: t.SequentialLR(
            o, [t.LinearLR(o, 0.5, total_iters=4), t.ExponentialLR(o, 0.9), t.StepLR(o, 3)], [4, 9]
        ),
        20,
    ),
    (
        optim.Warmup(6, start_factor=0.25),
        lambda t, o: t.LinearLR(o, start_factor=0.25, total_iters=6),
        12,
    ),
]


@pytest.mark.parametrize(("ours", "theirs", "count"), PAIRS, ids=[repr(p[0]) for p in PAIRS])
def test_as_pytorch(ours: optim.Schedule, theirs: Any, count: int) -> None:
    np.testing.assert_allclose(
        sequence(ours, count), pytorch_sequence(theirs, count), rtol=1e-12, atol=1e-15
    )


@pytest.mark.parametrize("strategy", ["cos", "linear"])
@pytest.mark.parametrize("anneal_epochs", [0, 1, 5])
def test_swa_rate_as_pytorch(strategy: str, anneal_epochs: int) -> None:
    torch = pytest.importorskip("torch")
    ours = optim.SWALR(0.05, 0, anneal_epochs, strategy)
    expected = pytorch_sequence(
        lambda _, o: torch.optim.swa_utils.SWALR(
            o, 0.05, anneal_epochs=anneal_epochs, anneal_strategy=strategy
        ),
        12,
    )
    # With no epochs to anneal in PyTorch still begins with one at the old rate.
    first = 1 if anneal_epochs == 0 else 0
    np.testing.assert_allclose(sequence(ours, 12)[first:], expected[first:], rtol=1e-12)


def test_swa_rate_by_hand() -> None:
    """Half the rate at each of three epochs, then 0.05 in two; it begins at that of epoch 3."""
    before = optim.ExponentialLR(0.5)
    rates = sequence(optim.SWALR(0.01, 3, 2, "linear", before), 7)
    np.testing.assert_allclose(rates, [0.4, 0.2, 0.1, 0.05, 0.03, 0.01, 0.01], rtol=1e-12)


def test_by_steps() -> None:
    rates = sequence(optim.LinearLR(0.25, total_iters=3, counts="steps"), 5)
    np.testing.assert_allclose(rates, [0.1, 0.2, 0.3, 0.4, 0.4], rtol=1e-12)
    members = [optim.ConstantLR(0.5, 9, "steps"), optim.PolynomialLR(2, counts="steps")]
    both = optim.SequentialLR(members, [2], "steps")
    np.testing.assert_allclose(sequence(both, 5), [0.2, 0.2, 0.4, 0.2, 0.0], rtol=1e-12)


def test_a_function_as_pytorch() -> None:
    def factor(n: int) -> float:
        return 0.9**n + 0.1

    expected = pytorch_sequence(lambda t, o: t.LambdaLR(o, factor), 8)
    np.testing.assert_allclose(sequence(optim.LambdaLR(factor), 8), expected, rtol=1e-12)


def ten_times(epoch: int) -> float:
    return 10.0 * epoch


@pytest.mark.parametrize(
    "schedule",
    [
        optim.ConstantLR(0.5, 2, "steps"),
        optim.LinearLR(0.5, 0.25, 2),
        optim.PolynomialLR(3, 2.0),
        optim.CosineAnnealingWarmRestarts(2, 2, 0.1),
        optim.LambdaLR(ten_times),
        optim.SequentialLR([optim.LambdaLR(ten_times), optim.StepLR(2)], [3]),
        optim.SWALR(0.05, 3, 2, "linear", optim.StepLR(1)),
        optim.Warmup(3, optim.LinearLR(0.5, counts="steps")),
    ],
    ids=lambda schedule: type(schedule).__name__,
)
def test_made_again_from_json(schedule: optim.Schedule) -> None:
    text = json.dumps(optim.to_config(optim.SGD(lr=1.0, schedule=schedule)))
    again = optim.from_config(json.loads(text), {"ten_times": ten_times}).schedule
    assert repr(again) == repr(schedule)
    assert again.counts == schedule.counts
    assert sequence(again, 9) == sequence(schedule, 9)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: optim.ConstantLR(1.5), ValueError, "ConstantLR: factor must be from 0 to 1"),
        (lambda: optim.LinearLR(0.0), ValueError, "LinearLR: start_factor .* above 0, got 0.0"),
        (lambda: optim.LinearLR(end_factor=2.0), ValueError, "end_factor must be from 0 to 1"),
        (lambda: optim.LinearLR(total_iters=0), ValueError, "total_iters must be a whole number"),
        (lambda: optim.PolynomialLR(power=-1), ValueError, "power must be a finite number"),
        (lambda: optim.CosineAnnealingWarmRestarts(0), ValueError, "T_0 must be a whole number"),
        (lambda: optim.CosineAnnealingWarmRestarts(2, 0), ValueError, "T_mult must be"),
        (lambda: optim.LinearLR(counts="batches"), ValueError, "counts must be one of"),
        (lambda: optim.LambdaLR(0.5), TypeError, "lr_lambda must be a function, got 0.5"),
        (lambda: optim.SequentialLR([optim.StepLR(2)], [1]), ValueError, "one milestone less"),
        (lambda: optim.SequentialLR([], []), ValueError, "one milestone less"),
        (lambda: optim.SequentialLR(optim.StepLR(2), [1]), TypeError, "schedulers must be a list"),
        (
            lambda: optim.SequentialLR([optim.StepLR(2)] * 3, [4, 4]),
            ValueError,
            "milestones must rise",
        ),
        (lambda: optim.SequentialLR([optim.StepLR(2), "x"], [4]), TypeError, "must be schedules"),
        (
            lambda: optim.SequentialLR([optim.StepLR(2), optim.ReduceLROnPlateau()], [4]),
            ValueError,
            "watches a value",
        ),
        (
            lambda: optim.SequentialLR([optim.StepLR(2), optim.Warmup(3)], [4]),
            ValueError,
            "counts steps, and milestones count epochs",
        ),
        (lambda: optim.SWALR(-1.0, 3), ValueError, "swa_lr must be a finite number"),
        (lambda: optim.SWALR(0.1, 3, anneal_strategy="x"), ValueError, "anneal_strategy must be"),
        (lambda: optim.SWALR(0.1, 3, before=2), TypeError, "before must be a Schedule"),
        (
            lambda: optim.SWALR(0.1, 3, before=optim.ReduceLROnPlateau()),
            ValueError,
            "watches a value",
        ),
    ],
)
def test_settings_that_are_none(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()


def test_a_function_that_returns_no_number() -> None:
    for wrong in (None, -1.0, math.nan, True):
        with pytest.raises(ValueError, match=r"LambdaLR: what .*\(3\) returns must be a finite"):
            optim.LambdaLR(lambda n, wrong=wrong: wrong).lr(0.1, epoch=3, step=0)


@pytest.mark.parametrize(
    "settings",
    [
        {"total_steps": 20},
        {"epochs": 3, "steps_per_epoch": 7, "anneal_strategy": "linear"},
        {"total_steps": 20, "three_phase": True},
        {"total_steps": 21, "three_phase": True, "pct_start": 0.4, "anneal_strategy": "linear"},
        {"total_steps": 10, "pct_start": 0.5, "div_factor": 10.0, "final_div_factor": 100.0},
        {"total_steps": 10, "pct_start": 0.0},
        {"total_steps": 10, "pct_start": 1.0},
    ],
    ids=str,
)
def test_one_cycle_as_pytorch(settings: dict[str, Any]) -> None:
    count = settings.get("total_steps", 21)
    theirs = pytorch_sequence(
        lambda t, o: t.OneCycleLR(o, max_lr=0.7, cycle_momentum=False, **settings), count
    )
    ours = optim.OneCycleLR(0.7, **settings)
    assert ours.counts == "steps"
    np.testing.assert_allclose(sequence(ours, count), theirs, rtol=1e-12)
    assert ours.lr(BASE, epoch=0, step=count + 5) == ours.lr(BASE, epoch=0, step=count - 1)


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("threshold_mode", ["rel", "abs"])
@pytest.mark.parametrize(
    "settings",
    [
        {"patience": 2},
        {"patience": 0, "factor": 0.5, "threshold": 0.1},
        {"patience": 1, "cooldown": 3, "factor": 0.3},
        {"patience": 0, "factor": 0.5, "min_lr": 0.03},
        {"patience": 0, "factor": 0.5, "eps": 0.05},
    ],
    ids=str,
)
def test_plateau_as_pytorch(mode: str, threshold_mode: str, settings: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=BASE)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, mode=mode, threshold_mode=threshold_mode, **settings
    )
    ours = optim.ReduceLROnPlateau(mode, threshold_mode=threshold_mode, **settings)
    values = np.round(np.random.default_rng(5).normal(1.0, 0.3, 40), 2)
    values[[3, 11]] = np.nan
    values[20] = np.inf
    for value in values:
        theirs.step(value)
        ours.observe(value)
        # A copy from the saved state goes on in the same way.
        copy = optim.from_config(json.loads(json.dumps(optim.to_config(ours))))
        copy.load_state_dict(json.loads(json.dumps(ours.state_dict())))
        ours = copy
        expected = optimizer.param_groups[0]["lr"]
        assert ours.lr(BASE, epoch=0, step=0) == pytest.approx(expected, rel=1e-12)


def test_plateau_by_hand() -> None:
    schedule = optim.ReduceLROnPlateau(patience=1, factor=0.5)
    rates = []
    for value in (1.0, 0.9, 0.9, 0.9, 0.9, 0.5):
        schedule.observe(value)
        rates.append(schedule.lr(0.8, epoch=0, step=0))
    assert rates == [0.8, 0.8, 0.8, 0.4, 0.4, 0.4]


def test_warmup_then_another_schedule() -> None:
    epochs = optim.Warmup(4, after=optim.StepLR(1, 0.5), start_factor=0.0)
    assert epochs.counts == "steps"
    assert [epochs.lr(1.0, epoch=0, step=i) for i in range(5)] == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert epochs.lr(1.0, epoch=2, step=9) == 0.25
    # A schedule of steps starts when the warm-up is over.
    cycle = optim.OneCycleLR(1.0, total_steps=10)
    steps = optim.Warmup(4, after=cycle)
    assert steps.lr(1.0, epoch=0, step=4 + 3) == cycle.lr(1.0, epoch=0, step=3)
    assert steps.lr(1.0, epoch=0, step=0) == pytest.approx(0.01 * cycle.lr(1.0, epoch=0, step=0))


def test_warmup_passes_observations_on() -> None:
    schedule = optim.Warmup(
        1, after=optim.ReduceLROnPlateau(patience=0, factor=0.5, monitor="loss")
    )
    assert schedule.monitor == "loss"
    assert optim.Warmup(1).monitor is None
    for value in (1.0, 2.0):
        schedule.observe(value)
    assert schedule.lr(1.0, epoch=0, step=5) == 0.5
    other = optim.Warmup(1, after=optim.ReduceLROnPlateau(factor=0.5))
    other.load_state_dict(schedule.state_dict())
    assert other.lr(1.0, epoch=0, step=5) == 0.5
    other.reset()
    assert other.lr(1.0, epoch=0, step=5) == 1.0


def test_optimizer_follows_its_schedule() -> None:
    by_epoch = optim.SGD(1.0, schedule=optim.StepLR(2, 0.5))
    assert [by_epoch.current_lr(epoch) for epoch in range(4)] == [1.0, 1.0, 0.5, 0.5]
    by_step = optim.SGD(1.0, schedule=optim.Warmup(2, start_factor=0.5))
    rates = []
    for _ in range(3):
        rates.append(by_step.current_lr())
        by_step.step({})
    assert rates == [0.5, 0.75, 1.0]


ALL = [pair[0] for pair in PAIRS] + [
    optim.OneCycleLR(0.1, epochs=2, steps_per_epoch=3),
    optim.ReduceLROnPlateau("max", patience=3, monitor="val_accuracy"),
    optim.Warmup(3, optim.Warmup(2, optim.MultiStepLR([1, 4]))),
]


@pytest.mark.parametrize("schedule", ALL, ids=repr)
def test_configuration_round_trip(schedule: optim.Schedule) -> None:
    again = optim.from_config(json.loads(json.dumps(optim.to_config(schedule))))
    assert type(again) is type(schedule)
    assert again.config() == schedule.config()
    assert sequence(again, 9) == sequence(schedule, 9)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: optim.StepLR(0), "step_size must be a whole number of at least 1"),
        (lambda: optim.StepLR(2.5), "step_size"),  # type: ignore[arg-type]
        (lambda: optim.StepLR(2, gamma=-1.0), "gamma"),
        (lambda: optim.MultiStepLR([-1]), "milestones"),
        (lambda: optim.ExponentialLR(math.nan), "gamma"),
        (lambda: optim.CosineAnnealingLR(0), "T_max"),
        (lambda: optim.OneCycleLR(0.1), "give total_steps, or epochs and steps_per_epoch"),
        (lambda: optim.OneCycleLR(0.1, 10, pct_start=1.5), "pct_start"),
        (lambda: optim.OneCycleLR(0.1, 10, anneal_strategy="step"), "anneal_strategy"),
        (lambda: optim.OneCycleLR(0.1, 10, div_factor=0.0), "div_factor .* above 0"),
        (lambda: optim.ReduceLROnPlateau("least"), "mode must be one of 'min', 'max'"),
        (lambda: optim.ReduceLROnPlateau(threshold_mode="x"), "threshold_mode"),
        (lambda: optim.ReduceLROnPlateau(factor=1.0), "factor must be below 1"),
        (lambda: optim.ReduceLROnPlateau(patience=-1), "patience"),
        (lambda: optim.Warmup(0), "steps"),
        (lambda: optim.Warmup(2, start_factor=2.0), "start_factor"),
    ],
)
def test_wrong_settings(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"best": 1.0},
        {"best": "low", "bad_epochs": 0, "cooldown_left": 0, "reductions": 0},
        {"best": 1.0, "bad_epochs": 0, "cooldown_left": 0, "reductions": -1},
        {"best": 1.0, "bad_epochs": 0.5, "cooldown_left": 0, "reductions": 0},
        None,
    ],
)
def test_hostile_states(state: Any) -> None:
    schedule = optim.ReduceLROnPlateau()
    before = schedule.state_dict()
    with pytest.raises(ValueError, match="ReduceLROnPlateau"):
        schedule.load_state_dict(state)
    assert schedule.state_dict() == before
    with pytest.raises(ValueError, match="StepLR"):
        optim.StepLR(1).load_state_dict({"best": 1.0})


def test_an_enormous_number_of_reductions_ends() -> None:
    schedule = optim.ReduceLROnPlateau()
    state = schedule.state_dict() | {"reductions": 10**12}
    schedule.load_state_dict(state)
    assert schedule.lr(1.0, epoch=0, step=0) < 1e-7


# -- Settings that are changed later ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("schedule", "name", "value"),
    [
        (optim.StepLR(3), "step_size", 0),
        (optim.StepLR(3), "gamma", math.nan),
        (optim.CosineAnnealingLR(3), "T_max", None),
        (optim.MultiStepLR([2]), "milestones", [-1]),
        (optim.OneCycleLR(0.1, 10), "pct_start", 2.0),
        (optim.ReduceLROnPlateau(), "factor", 1.5),
        (optim.ReduceLROnPlateau(), "patience", "a"),
        (optim.Warmup(4), "after", "step"),
    ],
)
def test_settings_are_checked_when_they_are_set(schedule, name, value):
    before = repr(schedule)
    with pytest.raises((ValueError, TypeError), match=name):
        setattr(schedule, name, value)
    assert repr(schedule) == before


def test_setting_keeps_what_was_observed():
    schedule = optim.ReduceLROnPlateau(patience=5)
    schedule.observe(1.0)
    schedule.observe(2.0)
    schedule.patience = np.int64(0)
    assert type(schedule.patience) is int
    assert (schedule.best, schedule.bad_epochs) == (1.0, 1)


def test_what_follows_from_a_setting_changes_with_it():
    warmup = optim.Warmup(4)
    assert warmup.monitor is None
    warmup.after = optim.ReduceLROnPlateau(monitor="loss")
    assert warmup.monitor == "loss"


def test_numbers_of_numpy_are_numbers():
    schedule = optim.StepLR(np.int32(3), np.float32(0.5))
    assert json.dumps(optim.to_config(schedule))
    assert schedule.lr(1.0, epoch=3, step=0) == 0.5


# -- Plateaus --------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("value", [-1.0, 0.0, 1.0, -1e6])
def test_plateau_on_a_constant(value, mode):
    """The first epoch is the best; then three of patience and one more."""
    schedule = optim.ReduceLROnPlateau(mode, patience=3)
    rates = []
    for _ in range(6):
        schedule.observe(value)
        rates.append(schedule.lr(1.0, epoch=0, step=0))
    assert rates == [1.0, 1.0, 1.0, 1.0, 0.1, 0.1]


@pytest.mark.parametrize("mode", ["min", "max"])
def test_relative_threshold_below_zero(mode):
    """A gain of 4% of the best is none where 5% are asked for, and one of 6% is one."""
    sign = -1.0 if mode == "min" else 1.0
    for best in (10.0, -10.0):
        schedule = optim.ReduceLROnPlateau(mode, threshold=0.05)
        schedule.observe(best)
        schedule.observe(best + sign * 0.4)
        assert schedule.best == best
        schedule.observe(best + sign * 0.6)
        assert schedule.best == best + sign * 0.6


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"eps": 0.0},
        {"factor": 0.0},
        {"factor": 1.0 - 1e-12, "eps": 0.0},
        {"factor": 0.999, "eps": 0.0, "min_lr": 0.25},
        {"factor": 0.9999, "eps": 1e-5},
    ],
    ids=str,
)
def test_a_claim_of_very_many_reductions(settings):
    """As a damaged file may make it: what a loop would give in the end, at once."""
    schedule = optim.ReduceLROnPlateau(**settings)
    state = {"best": 1.0, "bad_epochs": 0, "cooldown_left": 0, "reductions": 10**11}
    schedule.load_state_dict(state)
    rate = schedule.lr(1.0, epoch=0, step=0)
    end = max(1.0 * schedule.factor ** (10**11), schedule.min_lr)  # where eps does not matter
    if schedule.eps and schedule.factor:
        assert (1.0 - schedule.factor) * rate <= schedule.eps * (1.0 + 1e-9) or rate == end
        assert (1.0 - schedule.factor) * rate / schedule.factor > schedule.eps * 0.99
    else:
        assert rate == pytest.approx(end, rel=1e-6, abs=1e-300)


def test_many_reductions_are_those_of_a_loop():
    schedule = optim.ReduceLROnPlateau(factor=0.9995, eps=0.0, min_lr=0.01)
    schedule.reductions = 3000
    assert schedule.lr(1.0, epoch=0, step=0) == pytest.approx(0.9995**3000, rel=1e-10)
