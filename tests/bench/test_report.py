"""The report, from numbers made by hand."""

from __future__ import annotations

import json
import math

import pytest

from xpcnn.bench import report
from xpcnn.bench.compare import disagreements


def run(*rounds, peak):
    return {"ms": sorted(rounds)[len(rounds) // 2], "round_ms": list(rounds), "peak_mib": peak}


def entry(**changes):
    runs = {
        "xpcnn": run(2.0, 4.0, 5.0, peak=100.0),
        "torch": run(20.0, 12.0, 30.0, peak=320.0),
        "torch-channels-last": run(10.0, 12.0, 20.0, peak=350.0),
        "onnxruntime": run(1.0, 8.0, 10.0, peak=60.0),
        "jax": run(1.0, 1.0, 1.0, peak=50.0),
    }
    found = {"name": "simple", "kind": "train", "shape": [2, 1, 28, 28], "gflop": 0.2}
    return found | {"runs": runs, "differences": {"torch": {"loss": 1e-7}}} | changes


@pytest.fixture
def results():
    titles = {
        "xpcnn": "xpcnn",
        "torch": "PyTorch",
        "torch-channels-last": "PyTorch ch.last",
        "onnxruntime": "onnxruntime",
        "jax": "JAX jit",
    }
    where = {
        "date": "2024-06-07T00:00:00+00:00",
        "cpu": "Some CPU",
        "avx512": True,
        "cores": 2,
        "load": 0.1,
        "system": "Linux",
        "python": "3.12.1",
        "versions": {"xpcnn": "1.0", "torch": "2.13", "jax": None},
    }
    return {
        "environment": where,
        "threads": 2,
        "rounds": 3,
        "seconds_per_turn": 0.35,
        "configurations": titles,
        "subject": "xpcnn",
        "notes": ["a note"],
        "peak_gflops": 100.0,
        "workloads": [entry()],
    }


def test_ratios_by_hand():
    found = report.figures(entry(), "xpcnn", 100.0)
    assert found == {
        "best_rival": "torch-channels-last",  # 12 ms in the median, as against 20
        "ratio": 4.0,  # of 10/2, 12/4 and 20/5
        "ratios": {
            "torch": 6.0,  # of 20/2, 12/4 and 30/5
            "torch-channels-last": 4.0,
            "onnxruntime": 2.0,  # of 1/2, 8/4 and 10/5
            "jax": 0.25,  # of 1/2, 1/4 and 1/5
        },
        "onnxruntime_ratio": 2.0,
        "floor_ms": 2.0,  # 0.2 GFLOP at 100 GFLOP/s
        "floor_ratio": 2.0,
        "memory_ratio": 3.2,  # of the smaller process of PyTorch
    }


def test_what_is_not_about_operations_has_no_floor():
    found = report.figures(entry(gflop=None), "xpcnn", 100.0)
    assert found["floor_ms"] is found["floor_ratio"] is None
    assert found["ratio"] == 4.0


def test_without_pytorch_there_are_no_ratios(results):
    runs = {"xpcnn": entry()["runs"]["xpcnn"]}
    found = report.figures(entry(runs=runs), "xpcnn", 100.0)
    assert found["best_rival"] is found["ratio"] is found["memory_ratio"] is None
    assert found["floor_ratio"] == 2.0
    results["configurations"] = {"xpcnn": "xpcnn"}
    results["workloads"] = [entry(runs=runs, differences={})]
    assert report.headings(results) == ["workload", "xpcnn ms", "floor", "xpcnn MiB"]
    assert report.cells(results, results["workloads"][0]) == ["simple", "4.00", "2.00", "100"]


def test_a_table_is_aligned_markdown(results):
    results["workloads"].append(entry(name="a-longer-name", runs={"xpcnn": {"error": "no memory"}}))
    lines = report.markdown(results).splitlines()
    at = next(number for number, text in enumerate(lines) if text.startswith("| workload"))
    heading, rule, first, second = lines[at : at + 4]
    assert len({len(text) for text in (heading, rule, first, second)}) == 1
    assert [cell.strip() for cell in first.strip("|").split("|")] == [
        *("simple", "4.00", "20.00", "12.00", "8.00", "1.00"),
        *("4.00", "2.00", "2.00", "100", "320", "3.20"),
    ]
    assert [cell.strip() for cell in second.strip("|").split("|")] == [
        *("a-longer-name", "failed", "-", "-", "-", "-"),
        *("-", "-", "-", "-", "-", "-"),
    ]
    assert set(rule) == set("|-:")
    assert "- a-longer-name: xpcnn failed: no memory" in lines


def test_the_memory_of_every_process_is_in_the_report(results):
    results["workloads"].append(entry(name="a-longer-name", runs={"xpcnn": {"error": "no memory"}}))
    lines = report.memory(results)
    rows = [[cell.strip() for cell in text.strip("|").split("|")] for text in lines[2:]]
    assert len({len(text) for text in lines[2:]}) == 1
    assert rows[0] == ["workload", *results["configurations"].values(), "PyTorch to xpcnn"]
    assert rows[2] == ["simple", "100", "320", "350", "60", "50", "3.20"]
    assert rows[3] == ["a-longer-name", *["-"] * 6]
    assert "\n".join(lines) in report.markdown(results)


@pytest.mark.parametrize(
    ("there", "words"), [(True, "there"), (False, "not there"), (None, "not known")]
)
def test_the_report_says_whether_there_is_avx512(results, there, words):
    results["environment"]["avx512"] = there
    assert f"AVX-512: {words}; Linux" in report.markdown(results)


def test_what_was_left_out_is_no_problem(results):
    results["workloads"][0]["runs"]["jax"] = {"left_out": "no compiler"}
    assert report.problems(results) == []
    assert report.left_out(results) == ["simple without JAX jit: no compiler"]
    assert "## Left out\n\n- simple without JAX jit: no compiler\n" in report.markdown(results)
    assert "failed" in report.cells(results, results["workloads"][0])


def test_the_report_says_where_it_was(results):
    text = report.markdown(results)
    assert "Some CPU, 2 cores, 2 threads for each library" in text
    assert "xpcnn 1.0, torch 2.13, jax not installed" in text
    assert "- a note" in text
    assert "at 100 GFLOP/s" in text
    assert "busy" not in text
    assert "Problems" not in text
    results["environment"]["load"] = 1.7
    assert "busy: 1.7 processes wanted to run" in report.markdown(results)


def test_different_computations_are_told_from_rounding(results):
    assert disagreements({"torch": {"loss": 9e-4, "gradients": 4e-2}}) == []
    assert disagreements({"torch": {"y": 2e-3, "dx": 0.0}}) == [("torch", "y", 2e-3)]
    assert disagreements({"jax": {"loss": math.inf}}) == [("jax", "loss", math.inf)]
    assert [name for name, _, _ in disagreements({"jax": {"y": math.nan}})] == ["jax"]
    results["workloads"] = [entry(differences={"torch": {"gradients": 1.0}})]
    (problem,) = report.problems(results)
    assert problem.startswith("simple: PyTorch differs in gradients from xpcnn")
    assert "1.0e+00" in problem


def test_files(results, tmp_path):
    results["workloads"] = [entry(differences={"torch": {"loss": math.inf}})]
    paths = report.write(results, tmp_path / "v1.5")
    assert [path.name for path in paths] == ["v1.5.json", "v1.5.md"]
    read = json.loads(paths[0].read_text())
    assert read["workloads"][0]["ratio"] == 4.0
    assert read["workloads"][0]["differences"] == {"torch": {"loss": None}}
    assert read["environment"]["cpu"] == "Some CPU"
    assert paths[1].read_text() == report.markdown(results)
