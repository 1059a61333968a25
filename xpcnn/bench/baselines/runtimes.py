"""Prediction as programs run it that only predict: onnxruntime and OpenVINO.

They read the ONNX file that xpcnn has written of the workload.
"""

from __future__ import annotations

from pathlib import Path

from xpcnn.bench import program
from xpcnn.bench.program import Program
from xpcnn.bench.workloads import Workload


def make_onnxruntime(workload: Workload, threads: int, path: Path) -> Program:
    """Make a workload of prediction ready in onnxruntime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    inputs = {session.get_inputs()[0].name: program.images(workload.shape)}
    return Program(lambda: session.run(None, inputs)[0], lambda y: {"y": y})


def make_openvino(workload: Workload, threads: int, path: Path) -> Program:
    """Make a workload of prediction ready in OpenVINO, in float32 as the others."""
    import openvino

    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
    }
    request = openvino.Core().compile_model(path, "CPU", settings).create_infer_request()
    inputs = {0: program.images(workload.shape)}
    return Program(lambda: request.infer(inputs)[0], lambda y: {"y": y})
