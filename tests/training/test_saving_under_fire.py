"""Saves that are killed with kill -9, while other threads and processes save to the same path."""

import json
import os
import subprocess
import sys
import textwrap

import pytest

PROGRAM = textwrap.dedent(
    """
    import json, os, pathlib, random, signal, sys, threading, time
    import numpy as np
    import xpcnn

    path, kills = pathlib.Path(sys.argv[1]), int(sys.argv[2])
    x = np.zeros((1, 300), dtype="float32")

    def model_of(number):
        model = xpcnn.Model([xpcnn.Linear(300, 300, bias=False)], device="cpu", seed=0)
        model.build((1, 300))
        model.load_state_dict({"0.weight": np.full((300, 300), number, dtype="float32")})
        model.epoch = number
        return model

    def save_for_ever(number):
        model = model_of(number)
        while True:
            model.save(path)

    def child(first):
        try:
            for number in range(first, first + 4):
                threading.Thread(target=save_for_ever, args=(number,), daemon=True).start()
            time.sleep(60)
        finally:
            os._exit(1)

    model_of(0).save(path)
    random.seed(0)
    counts = {"kills": 0, "unreadable": 0, "mixed": 0, "left by a kill": 0, "left after a save": 0}
    counts["errors in a save"] = 0
    while counts["kills"] < kills:
        children = []
        for first in (1, 5):
            pid = os.fork()
            if pid == 0:
                child(first)
            children.append(pid)
        end = time.monotonic() + random.uniform(0.01, 0.06)
        while time.monotonic() < end:  # a reader meanwhile
            xpcnn.Model.load(path, device="cpu")
        for pid in children:
            os.kill(pid, signal.SIGKILL)
            _, status = os.waitpid(pid, 0)
            counts["kills"] += 1
            counts["errors in a save"] += not os.WIFSIGNALED(status)
        try:
            model = xpcnn.Model.load(path, device="cpu")
            weights = model.state_dict()["0.weight"]
            counts["mixed"] += not (weights == model.epoch).all()
        except Exception:
            counts["unreadable"] += 1
        counts["left by a kill"] += len(os.listdir(path.parent)) - 1
        model_of(9).save(path)
        counts["left after a save"] += len(os.listdir(path.parent)) - 1
    print(json.dumps(counts))
    """
)


def counts_of(path, kills):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-c", PROGRAM, str(path), str(kills)]
    done = subprocess.run(command, check=True, capture_output=True, env=environment)
    return json.loads(done.stdout), done.stderr.decode()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked processes by a signal")
@pytest.mark.parametrize("kills", [20, pytest.param(1000, marks=pytest.mark.slow)])
def test_killed_saves_of_threads_and_processes(tmp_path, kills):
    folder = tmp_path / "models"
    folder.mkdir()
    counts, errors = counts_of(folder / "model", kills)
    print(counts)
    assert errors == ""
    assert counts.pop("kills") == kills
    assert counts.pop("left by a kill") > 0, "no kill hit a save: the test says nothing"
    assert set(counts.values()) == {0}, counts
