"""Layers beside PyTorch's: that none is forgotten, and what is made of the times."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace

import numpy as np
import pytest

import xpcnn
from tests.bench.test_programs import close
from xpcnn import kernels
from xpcnn.bench import program, turns
from xpcnn.bench.baselines import torch_layers
from xpcnn.bench.configurations import CONFIGURATIONS, Configuration
from xpcnn.bench.layers import compare, own, report
from xpcnn.bench.layers.cases import CASES, Case, choose
from xpcnn.bench.layers.inputs import (
    Input,
    class_lists,
    distributions,
    log_distributions,
    normal,
    shares,
)
from xpcnn.bench.turns import Worker, WorkerError
from xpcnn.cli import main
from xpcnn.layers.preprocessing import Preprocessing

has_torch = importlib.util.find_spec("torch") is not None
needs_torch = pytest.mark.skipif(not has_torch, reason="PyTorch is not installed")

# What computes nothing itself: bases, and layers made of layers.
NOT_MEASURED = {"Layer", "Operation", "Sequential", "Residual", "Parallel", "Graph"}
NOT_MEASURED_LOSSES = {"Loss", "LossPerOutput", "FunctionLoss"}
# What PyTorch itself does not have, or differentiates together with a log-softmax.
NOT_MEASURED_LOSSES |= {"DiceLoss", "JaccardLoss", "TverskyLoss", "FocalLoss", "CTCLoss"}
SMALL = [name for name in CASES if name.endswith(" odd")]
QUICK = ["--kernels", "generic", "--threads", "1", "--quick"]


def exported(module, base, without):
    """List the classes of a module by what it exports."""
    found = (getattr(module, name) for name in module.__all__)
    classes = {each.__name__ for each in found if isinstance(each, type) and issubclass(each, base)}
    return classes - without


def test_every_layer_and_loss_is_measured():
    wanted = exported(xpcnn.layers, xpcnn.layers.Layer, NOT_MEASURED)
    wanted -= exported(xpcnn.layers, Preprocessing, set())  # which PyTorch itself does not have
    wanted |= exported(xpcnn.losses, xpcnn.losses.Loss, NOT_MEASURED_LOSSES)
    assert len(wanted) > 100
    labels = {
        name: {case.label for case in CASES.values() if case.layer == name} for name in wanted
    }
    missing = [name for name, found in labels.items() if not {"typical", "odd"} <= found]
    assert not missing, f"give these a typical and an odd case in bench/layers/cases.py: {missing}"
    assert {case.layer for case in CASES.values()} == wanted


def test_cases_of_losses_know_their_predictions():
    for case in CASES.values():
        if case.loss:
            loss = getattr(xpcnn.losses, case.layer)
            assert case.predictions == loss.predictions, case.name
            assert len(case.inputs) == loss.predictions + loss.takes_target, case.name


def values_of(made):
    found = made.arrays(made.step())
    return {
        name: [np.asarray(each).copy() for each in (value if isinstance(value, list) else [value])]
        for name, value in found.items()
    }


@needs_torch
@pytest.mark.parametrize("kind", compare.KINDS)
@pytest.mark.parametrize("name", SMALL)
def test_as_in_pytorch(name, kind):
    case = CASES[name]
    theirs = values_of(torch_layers.make(case, kind, 1))
    with kernels.force("generic"):
        made = own.make(case, kind)
        found, again = values_of(made), values_of(made)
    assert [value.shape for value in found["y"]] == [value.shape for value in theirs["y"]]
    if case.random and kind == "gradients":
        return
    assert found.keys() == theirs.keys()
    close(found, theirs, found)
    if not case.layer.startswith("BatchNorm") or kind == "gradients":
        close(again, found, found)  # gradients do not add up


@needs_torch
def test_pytorchs_stochastic_depth_drops_samples():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    layer = torch_layers.module_class("StochasticDepth")(p=0.25)
    y = layer(torch.full((400, 2, 3), 3.0)).numpy()
    kept = y[:, 0, 0] != 0
    np.testing.assert_allclose(y[kept], 4.0)
    assert not y[~kept].any()
    assert 250 < kept.sum() < 350
    assert (layer.eval()(torch.full((9, 2), 3.0)) == 3.0).all()


def test_inputs_are_what_they_are_called():
    rng = np.random.default_rng(0)
    np.testing.assert_allclose(distributions(rng, (5, 7, 2)).sum(axis=1), 1.0, rtol=1e-6)
    np.testing.assert_allclose(np.exp(log_distributions(rng, (5, 7))).sum(axis=1), 1.0, rtol=1e-6)
    drawn = shares(rng, (1000,))
    assert 0.05 <= drawn.min() <= drawn.max() <= 0.95
    lists = class_lists(rng, (9, 17))
    assert (lists[:, 3:] == -1).all()
    assert all(len(set(row)) == 3 and min(row) >= 0 and max(row) < 17 for row in lists[:, :3])


def test_images_have_their_channels_last_in_memory_and_rows_have_not():
    seen = []

    class Watched(xpcnn.layers.ReLU):
        def forward(self, x, training=False):
            seen.append(x.strides)
            return super().forward(x, training=training)

    case = Case("Watched", "here", (Input(normal, (2, 3, 4, 5)),), {})
    with pytest.MonkeyPatch.context() as patch, kernels.force("generic"):
        patch.setattr(xpcnn.layers, "Watched", Watched, raising=False)
        own.make(case, "forward").step()
        own.make(replace(case, rows=True), "forward").step()
    assert seen[0] == seen[1] == (4 * 60, 4, 4 * 15, 4 * 3)
    assert seen[2] == seen[3] == (4 * 60, 4 * 20, 4 * 5, 4)


# -- Times, from numbers made by hand --------------------------------------------------------------


class Fake:
    """Stands for a process."""

    def __init__(self, digest, *milliseconds):
        self.digest = digest
        self.milliseconds = list(milliseconds)

    def make_layer(self, name, kind):
        if isinstance(self.digest, Exception):
            raise self.digest
        return self.digest

    def turn(self, seconds):
        if not self.milliseconds:
            raise WorkerError("gone")
        return {"ms": self.milliseconds.pop(0)}


def row_of(ours, theirs, rounds=3, name="ReLU typical"):
    settings = compare.Settings([], CONFIGURATIONS["xpcnn"], rounds, 0.1, 1)
    return compare.measure(CASES[name], "forward", ours, theirs, settings)


@pytest.fixture(autouse=True)
def without_pauses(monkeypatch):
    monkeypatch.setattr(turns, "PAUSE", 0)


def test_a_row_by_hand():
    same = {"y": [1.0, 2.0]}
    row = row_of(Fake(same, 2.0, 4.0, 5.0), Fake(same, 10.0, 12.0, 20.0))
    assert row["ms"] == 4.0
    assert row["rival_ms"] == 12.0
    assert row["ratio"] == 4.0  # of 10/2, 12/4 and 20/5
    assert row["shape"] == [16, 64, 28, 28]
    assert (row["name"], row["layer"], row["kind"]) == ("ReLU typical", "ReLU", "forward")
    assert "ratio" not in row_of(Fake(same), Fake(same), rounds=0)


def test_what_cannot_be_compared_has_no_ratio():
    same, other = {"y": [1.0, 2.0]}, {"y": [1.0, 2.01]}
    row = row_of(Fake(same, 1.0, 1.0, 1.0), Fake(other, 1.0, 1.0, 1.0))
    assert row["error"].startswith("the libraries differ in y by 4.5e-03")
    assert "ratio" not in row
    row = row_of(Fake(same), Fake(WorkerError("no such layer")))
    assert row["error"] == "PyTorch failed: no such layer"
    row = row_of(Fake(WorkerError("no such layer")), Fake(same))
    assert row["error"] == "xpcnn failed: no such layer"
    row = row_of(Fake(same, 1.0, 1.0, 1.0), Fake(same, 1.0))
    assert row["error"] == "one of the libraries failed while measured: gone"
    # what is drawn differs, and is measured all the same
    drawn = row_of(Fake(same, 1.0), Fake(other, 2.0), rounds=1, name="Dropout typical")
    assert drawn["ratio"] == 2.0


@pytest.fixture
def results():
    def row(name, kind, ms, rival):
        ratio = rival / ms
        shape = [7, 30, 33, 29]
        return {
            "name": name,
            "layer": name.split()[0],
            "kind": kind,
            "shape": shape,
            "ms": ms,
            "rival_ms": rival,
            "ratio": ratio,
        }

    where = {"cpu": "Some CPU", "avx512": None, "cores": 2, "load": 0.1, "system": "Linux"}
    where |= {"python": "3.12.1", "versions": {"torch": "2.13"}, "date": "2024-06-07"}
    rows = [
        row("ReLU odd", "forward", 2.0, 3.0),
        row("Conv2d a", "gradients", 4.0, 1.0),
        {"name": "Tanh odd", "kind": "forward", "error": "PyTorch failed: why"},
        row("Linear x", "forward", 0.0625, 0.125),
    ]
    return {
        "environment": where,
        "threads": 2,
        "rounds": 3,
        "seconds_per_turn": 0.02,
        "subject": "xpcnn",
        "rival": "PyTorch",
        "layers": rows,
    }


def test_the_worst_comes_first(results):
    lines = report.table(results)
    assert len({len(line) for line in lines}) == 1
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert rows[0] == ["layer", "pass", "shape", "xpcnn ms", "PyTorch ms", "ratio"]
    assert rows[2:] == [
        ["Conv2d a", "gradients", "7x30x33x29", "4.000", "1.000", "0.25"],
        ["ReLU odd", "forward", "7x30x33x29", "2.000", "3.000", "1.50"],
        ["Linear x", "forward", "7x30x33x29", "0.062", "0.125", "2.00"],
    ]
    assert report.summary(results) == "1 of 3 are slower than in PyTorch"
    text = report.markdown(results)
    assert "\n".join(lines) in text
    assert "- Tanh odd, forward: PyTorch failed: why" in text
    assert "Some CPU, 2 cores, 2 threads for each library" in text
    assert json.loads(report.as_json(results)) == results


# -- The processes, and the command ----------------------------------------------------------------


@needs_torch
@pytest.mark.parametrize("library", ["xpcnn-generic", "torch"])
def test_a_layer_that_fails_is_told_and_others_go_on(library):
    with Worker(CONFIGURATIONS[library], None, 1) as worker:
        with pytest.raises(WorkerError, match="KeyError: 'no layer'"):
            worker.make_layer("no layer", "forward")
        with pytest.raises(WorkerError, match="no layer was made ready"):
            worker.turn(1e-6)
        found = worker.make_layer("Linear odd", "gradients")
        assert set(found) == {"y", "dx", "gradients"}
        assert len(found["y"]) == program.SAMPLES
        assert worker.turn(1e-6)["steps"] == 1
        assert set(worker.make_layer("Linear odd", "forward")) == {"y"}


@needs_torch
def test_a_run_prints_and_writes(tmp_path, capsys):
    words = ["--layers", "--only", "Linear,Huber*", "--rounds", "2"]
    files = ["--json", str(tmp_path / "a.json"), "--output", str(tmp_path / "b")]
    assert main(["bench", *QUICK, *words, *files]) == 0
    printed = capsys.readouterr().out
    assert "| Linear one sample " in printed
    assert "of 12 are slower than in PyTorch" in printed
    read = json.loads((tmp_path / "a.json").read_text())
    assert (tmp_path / "b.json").read_text() == (tmp_path / "a.json").read_text()
    assert (tmp_path / "b.md").read_text().startswith("# xpcnn bench --layers\n")
    assert {row["layer"] for row in read["layers"]} == {"Linear", "HuberLoss"}
    assert [len(row["round_ms"]) for row in read["layers"]] == [2] * 12
    assert read["subject"] == "xpcnn generic"


@needs_torch
def test_a_check_has_no_times(capsys):
    assert main(["bench", *QUICK, "--layers", "--only", "HuberLoss", "--check"]) == 0
    printed = capsys.readouterr().out
    assert printed == "the libraries agree in all 4 calls but those that draw numbers\n"


def test_without_pytorch_there_is_nothing_beside(monkeypatch, capsys):
    monkeypatch.setattr(Configuration, "is_installed", False)
    assert main(["bench", "--layers"]) == 1
    assert (
        "PyTorch is not installed, so there is nothing to compare with" in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--layers", "--only", "Conv2d,Conv9d"], "no layer or loss is called 'Conv9d'"),
        (["--only", "Conv2d"], "--only names layers: give it with --layers"),
        (["--layers", "--workloads", "mlp"], "--workloads does nothing with --layers"),
        (["--layers", "--batch-size", "2"], "--batch-size does nothing with --layers"),
        (["--layers", "--jax"], "--jax does nothing with --layers"),
        (["--layers", "--no-torch-compile"], "--no-torch-compile does nothing with --layers"),
        (["--layers", "--kernels", "both"], "--kernels both does nothing with --layers"),
    ],
)
def test_options_that_would_do_nothing_are_wrong_use(words, message, capsys):
    assert main(["bench", *words]) == 2
    assert message in capsys.readouterr().err


def test_choice_by_pattern_keeps_the_order():
    names = [case.name for case in choose(["LP*1d", "Tanh"])]
    assert names == ["Tanh typical", "Tanh odd", "LPPool1d typical", "LPPool1d odd"]
    assert choose(["*"]) == list(CASES.values())
