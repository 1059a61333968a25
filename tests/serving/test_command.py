"""``xpcnn serve`` as a process: it starts, loses nothing, and ends as it is told to."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from tests.serving.clients import IMAGE, classifier, httpx, softmax
from xpcnn.cli import main
from xpcnn.cli.serve import listening

pytest.importorskip("uvicorn")

ROOT = Path(__file__).parents[2]
MODEL = classifier()
posix = pytest.mark.skipif(sys.platform == "win32", reason="sends a POSIX signal")


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("models") / "model.safetensors"
    MODEL.save(path)
    return path


@contextmanager
def server(file: Path, *options: object) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run the command on a free port, as a process whose address is known."""
    words = ["serve", str(file), "--port", "0", "--device", "cpu", *map(str, options)]
    process = subprocess.Popen(
        [sys.executable, "-m", "xpcnn", *words],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            assert process.stdout is not None
            lines = iter(process.stdout.readline, "")
            line = next((line for line in lines if line.startswith("serving ")), None)
            if line is None:
                raise AssertionError(process.communicate()[1])
            assert str(file) in line
            yield process, line.split(" at ")[1].split()[0]
        finally:
            process.kill()


@posix
def test_two_hundred_requests_from_eight_clients(file):
    x = np.random.default_rng(0).random((200, 1, 6, 5), "float32")
    expected = softmax(MODEL.predict(x))
    found: dict[int, dict] = {}

    def client(number: int, address: str) -> None:
        with httpx.Client(base_url=address, timeout=60) as connection:
            for i in range(number, 200, 8):
                answer = connection.post("/predict", json=x[i].tolist())
                found[i] = answer.json()["predictions"][0]
                if i % 20 == number:  # nonsense in between
                    assert connection.post("/predict", content=b"{").status_code == 415
                    assert connection.post("/predict", json=[[1]]).status_code == 422

    with server(file, "--max-batch", 16) as (process, address):
        with ThreadPoolExecutor(8) as pool:
            for done in [pool.submit(client, number, address) for number in range(8)]:
                done.result()
        metrics = httpx.get(f"{address}/metrics").text
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
    assert len(found) == 200
    for i, answer in found.items():
        assert answer["class"] == expected[i].argmax()
        assert answer["probability"] == pytest.approx(expected[i].max(), rel=1e-5)
    assert 'xpcnn_requests_total{path="/predict",status="200"} 200.0' in metrics
    assert "xpcnn_batch_samples_sum 200.0" in metrics
    assert process.returncode == 143
    assert err == "xpcnn serve: terminated\n"


@posix
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_has_come_is_answered_before_the_end(file, number):
    """The request waits for others to go with it when the signal comes."""
    with server(file, "--max-delay-ms", 1000) as (process, address):
        answers = []

        def ask() -> None:
            answers.append(httpx.post(f"{address}/predict", json=IMAGE.tolist(), timeout=60))

        asks = threading.Thread(target=ask)
        asks.start()
        while "xpcnn_samples_waiting 1.0" not in httpx.get(f"{address}/metrics").text:
            pass
        process.send_signal(number)
        asks.join()
        _, err = process.communicate(timeout=60)
    assert answers[0].status_code == 200
    assert process.returncode == {signal.SIGTERM: 143, signal.SIGINT: 130}[number]
    assert "Traceback" not in err


@posix
def test_a_large_body_is_refused_and_its_client_hears_so(file):
    head = {"content-type": "application/json"}
    with (
        server(file, "--max-size", "1MB") as (_, address),
        httpx.Client(base_url=address, timeout=60) as client,
    ):
        answer = client.post("/predict", content=b" " * 8_000_000, headers=head)
        assert answer.status_code == 413
        parts = (b" " * 100_000 for _ in range(80))
        assert client.post("/predict", content=parts, headers=head).status_code == 413
        assert client.post("/predict", json=IMAGE.tolist()).status_code == 200


def run(*words: object) -> int:
    return main(["serve", *map(str, words)])


def test_answers_are_not_held_back_by_tcp():
    """Asyncio sends at once (TCP_NODELAY) only on sockets that say that they are TCP's."""
    with (
        listening("127.0.0.1", 0) as door,
        socket.create_connection(door.getsockname()),
        door.accept()[0] as accepted,
    ):
        assert accepted.proto == socket.IPPROTO_TCP


def test_a_port_that_is_in_use(file, capsys):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert run(file, "--port", port) == 1
    err = capsys.readouterr().err
    assert f"cannot listen at 127.0.0.1, port {port}: another program listens there" in err
    assert "give another --port" in err


def test_addresses_that_are_none(file, capsys):
    assert run(file, "--port", 70000) == 1
    assert "there is no port 70000; they go up to 65535" in capsys.readouterr().err
    assert run(file, "--port", 0, "--host", "192.0.2.1") == 1
    assert "this machine has no such address; give another --host" in capsys.readouterr().err


def test_wrong_files(tmp_path, capsys):
    assert run(tmp_path / "none", "--port", 0) == 1
    assert "there is no model file" in capsys.readouterr().err
    (tmp_path / "text").write_text("not a model")
    assert run(tmp_path / "text", "--port", 0) == 1
    assert "xpcnn serve: error: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--max-batch", 0], "argument --max-batch: expected a whole number of at least 1"),
        (["--max-delay-ms", -1], "max_delay_ms must be from 0 to 60000"),
        (["--max-delay-ms", "x"], "argument --max-delay-ms: invalid float value"),
        (["--max-size", "many"], "max_size must be a number with a unit, such as '500MB'"),
        (["--timeout", 0], "argument --timeout: expected a number above 0"),
        (["--max-queue", "-3"], "--max-queue"),
        (["--port", "http"], "argument --port: expected a whole number"),
        (["--timeout", 0.5, "--max-delay-ms", 600], "no time to answer within the timeout"),
    ],
)
def test_wrong_options(file, words, said, capsys):
    assert run(file, *words) == 2
    assert said in capsys.readouterr().err


def test_what_is_not_installed(file, monkeypatch, capsys):
    monkeypatch.setattr("xpcnn.serving._NEEDED", ("no_such_package",))
    assert run(file) == 1
    err = capsys.readouterr().err
    assert 'serving needs no_such_package; run: pip install "xpcnn[serve]"' in err
    assert "reinstall" not in err


@posix
@pytest.mark.slow
def test_the_benchmark_loses_nothing():
    """It ends with 1 if an answer is lost or wrong."""
    script = ROOT / "benchmarks" / "serve.py"
    words = [sys.executable, str(script), "--network", "small", "--requests", "400"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "lost: 0, wrong: 0" in done.stdout
