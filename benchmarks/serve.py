"""What ``xpcnn serve`` gains by batching, and that it loses nothing.

python benchmarks/serve.py [--network vgg] [--requests 2000] [--clients 16]

It starts the command twice, as a process, and sends it arrays of one image each:

1. one client after the other, `--max-batch 1`: one request at a time without batching;
2. all clients at once, `--max-batch` as the number of clients, with bodies that are malformed or
   too large in between.

It compares every answer with what ``predict`` gives for the sample alone, and prints both
throughputs and their ratio. Clients run in processes of their own.
"""

from __future__ import annotations

import argparse
import http.client
import io
import json
import multiprocessing
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

import xpcnn

NPY = {"Content-Type": "application/x-npy"}
JSON = {"Content-Type": "application/json"}
IMAGES = 64
"""Different images; the requests go through them again and again."""


def small() -> tuple[list[xpcnn.Layer], tuple[int, ...]]:
    return xpcnn.networks.make("simple", 10), (1, 28, 28)


def vgg() -> tuple[list[xpcnn.Layer], tuple[int, ...]]:
    """The last layers of VGG-16, as they are, behind a few convolutions."""
    layers: list[xpcnn.Layer] = []
    for inside, outside in ((3, 32), (32, 64), (64, 128), (128, 256)):
        layers += [xpcnn.Conv2d(inside, outside, 3, padding=1), xpcnn.ReLU(), xpcnn.MaxPool2d(2)]
    layers += [xpcnn.Flatten(), xpcnn.Linear(256 * 16, 4096), xpcnn.ReLU()]
    return [*layers, xpcnn.Linear(4096, 4096), xpcnn.ReLU(), xpcnn.Linear(4096, 1000)], (3, 64, 64)


def resnet18() -> tuple[xpcnn.Graph, tuple[int, ...]]:
    return xpcnn.zoo.resnet18(), (3, 64, 64)


NETWORKS = {each.__name__: each for each in (small, vgg, resnet18)}


def npy(x: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, x)
    return file.getvalue()


def client(
    address: tuple[str, int], numbers: list[int], images: np.ndarray, with_nonsense: bool
) -> tuple[list[tuple[int, int, float]], Counter[int]]:
    """Send requests one after the other; return number, class and probability, and refusals."""
    connection = http.client.HTTPConnection(*address, timeout=120)
    bodies = [npy(image) for image in images]
    answers, refused = [], Counter[int]()
    for count, number in enumerate(numbers):
        connection.request("POST", "/predict", bodies[number % IMAGES], NPY)
        response = connection.getresponse()
        content = response.read()
        if response.status == 200:
            (found,) = json.loads(content)["predictions"]
            answers.append((number, found["class"], found["probability"]))
        if with_nonsense and count % 25 == 0:
            for body, headers in ((b"{", JSON), (b" " * 300_000, NPY), (b"[[1]]", JSON)):
                connection.request("POST", "/predict", body, headers)
                response = connection.getresponse()
                response.read()
                refused[response.status] += 1
    return answers, refused


def measure(
    file: Path, images: np.ndarray, requests: int, clients: int, *options: str, nonsense: bool
) -> tuple[float, list[tuple[int, int, float]], Counter[int], str]:
    """Return seconds, answers, refusals and the server's counters."""
    command = [sys.executable, "-m", "xpcnn", "serve", str(file), "--port", "0", "--device", "cpu"]
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            line = next(line for line in server.stdout if line.startswith("serving "))
            host, port = line.split("http://")[1].split()[0].split(":")
            address = host, int(port)
            shares = [list(range(first, requests, clients)) for first in range(clients)]
            with multiprocessing.Pool(min(clients, 4)) as processes:
                parts = dealt(shares)
                began = time.perf_counter()
                jobs = [
                    processes.apply_async(many, (address, part, images, nonsense)) for part in parts
                ]
                found = [each for job in jobs for each in job.get()]
                seconds = time.perf_counter() - began
            connection = http.client.HTTPConnection(*address)
            connection.request("GET", "/metrics")
            metrics = connection.getresponse().read().decode()
            connection.close()
        finally:
            server.terminate()
    answers = [answer for each, _ in found for answer in each]
    refused = sum((each for _, each in found), Counter[int]())
    return seconds, answers, refused, metrics


def dealt(shares: list[list[int]]) -> list[list[list[int]]]:
    """Deal the clients out to at most four processes."""
    return [shares[first::4] for first in range(min(4, len(shares)))]


def many(
    address: tuple[str, int], shares: list[list[int]], images: np.ndarray, nonsense: bool
) -> list[tuple[list[tuple[int, int, float]], Counter[int]]]:
    """Run some clients, each in a thread."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(len(shares)) as pool:
        jobs = [pool.submit(client, address, share, images, nonsense) for share in shares]
        return [job.result() for job in jobs]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--network", choices=NETWORKS, default="vgg")
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--clients", type=int, default=16)
    args = parser.parse_args()
    layers, shape = NETWORKS[args.network]()
    model = xpcnn.Model(layers, device="cpu", seed=0)
    model.build((None, *shape))
    model.compile("sgd", "cross_entropy")
    images = np.random.default_rng(0).random((IMAGES, *shape), "float32")
    scores = np.concatenate([model.predict(image[None]) for image in images]).astype("float64")
    expected = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    size = f"{images[0].nbytes + 10_000}B"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.safetensors"
        model.save(file)
        alone, few, _, _ = measure(
            file, images, args.requests // 5, 1, "--max-batch", "1", nonsense=False
        )
        together, answers, refused, metrics = measure(
            file, images, args.requests, args.clients, "--max-batch", str(args.clients),
            "--max-size", size, nonsense=True,
        )  # fmt: skip
    wrong = 0
    for number, found, probability in answers:
        row = expected[number % IMAGES]
        wrong += found != row.argmax() or not np.isclose(probability, row.max(), rtol=1e-4)
    rates = len(few) / alone, len(answers) / together
    batches = float(metrics.split("xpcnn_batch_seconds_count ")[1].split()[0])
    print(
        f"network {args.network}: {sum(p.data.size for p in model.parameters().values()):,} weights"
    )
    print(f"one request at a time, no batching: {rates[0]:.0f} requests/s ({len(few)} requests)")
    print(
        f"{args.clients} clients: {rates[1]:.0f} requests/s, {rates[1] / rates[0]:.2f} times as "
        f"many, in batches of {len(answers) / batches:.1f}"
    )
    print(f"lost: {args.requests - len(answers)}, wrong: {wrong}, refused: {dict(refused)}")
    return int(len(answers) != args.requests or wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
