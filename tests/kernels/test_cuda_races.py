"""Threads of a block that share memory never meet there unordered: ThreadSanitizer watches."""

import subprocess
from pathlib import Path

import pytest

from tests.kernels.plain_cpp import COMPILER
from xpcnn.kernels.cuda import source

FOLDER = Path(source.__file__).parent

# Every kernel that has shared memory, with blocks of real threads.
PROGRAM = """
#include <cstdio>
#include <thread>
#include <vector>

template <typename Kernel>
void launch(int blocks, Kernel kernel) {
    gridDim.x = blocks;
    for (int b = 0; b < blocks; b++) {
        blockIdx.x = b;
        std::vector<std::thread> threads;
        for (int t = 0; t < THREADS; t++)
            threads.emplace_back([&, t] {
                threadIdx.x = t;
                kernel();
            });
        for (auto& thread : threads) thread.join();
    }
}

int main() {
    const int images = 2, channels = 6, pixels = 35, n = images * pixels, size = n * channels;
    const float eps = 1e-3f;
    std::vector<float> x(size), dy(size), slopes(size), partial(2 * channels * n);
    std::vector<float> mean(channels), variance(channels), a(channels), b(channels), y(size);
    std::vector<float> counts(images * channels);
    std::vector<Int> labels(images * channels, 3);
    for (int i = 0; i < size; i++) x[i] = i % 17, dy[i] = i % 5;
    for (int lanes : {1, LANES}) {
        int inner = lanes == 1 ? pixels : 1, per = THREADS / lanes * 3;
        int pieces = (n + per - 1) / per, blocks = pieces * ((channels + lanes - 1) / lanes);
        launch(blocks, [&] {
            moments(x.data(), partial.data(), channels, inner, n, lanes, per, pieces);
        });
        launch(channels, [&] {
            combine_moments(
                partial.data(), mean.data(), variance.data(), channels, n, per, pieces);
        });
        launch(blocks, [&] {
            gradient_sums(
                dy.data(), x.data(), nullptr, mean.data(), variance.data(), nullptr, nullptr, eps,
                RECOMPUTED, partial.data(), channels, inner, n, lanes, per, pieces);
        });
        launch(channels, [&] {
            combine_sums(
                partial.data(), variance.data(), eps, a.data(), b.data(), channels, pieces);
        });
    }
    const int rows = images * channels, blocks = (rows + 1) / (THREADS / LANES);
    launch(blocks, [&] { mean_of_rows(x.data(), y.data(), rows, pixels); });
    launch(blocks, [&] {
        cross_entropy(
            x.data(), labels.data(), y.data(), slopes.data(), counts.data(), rows, pixels, -1);
    });
    std::puts("done");
}
"""


def watch(folder, change=("", "")):
    """Compile and run the program; returns what it says."""
    files = [FOLDER / file for file in ("norm.cu", "loss.cu", "pool.cu")]
    others = "".join(file.read_text(encoding="utf-8") for file in files[1:])
    text = source.text("norm.cu") + others.replace('#include "common.cuh"\n', "")
    (folder / "races.cpp").write_text(text.replace(*change) + PROGRAM)
    options = ["-DREAL=float", "-DMATH=float", "-DINDEX=int", "-DTHREADS=8", "-DLANES=4"]
    built = subprocess.run(
        [COMPILER, "-std=c++20", "-O1", "-g", "-fsanitize=thread", "-pthread", "-DAT_ONCE"]
        + [*options, "-o", folder / "races", folder / "races.cpp"],
        capture_output=True,
        text=True,
        check=False,
    )
    if "<barrier>" in built.stderr or "tsan" in built.stderr:
        pytest.skip("the C++ compiler has no std::barrier or no ThreadSanitizer")
    assert built.returncode == 0, built.stderr
    done = subprocess.run([folder / "races"], capture_output=True, text=True, check=False)
    if "FATAL: ThreadSanitizer" in done.stderr:
        pytest.skip("ThreadSanitizer does not run on this system")
    assert "done" in done.stdout
    return done.stderr


@pytest.mark.skipif(COMPILER is None, reason="there is no C++ compiler (g++ or clang++)")
def test_threads_wait_for_each_other(tmp_path):
    assert "WARNING" not in watch(tmp_path)


@pytest.mark.skipif(COMPILER is None, reason="there is no C++ compiler (g++ or clang++)")
def test_a_missing_barrier_is_seen(tmp_path):
    said = watch(
        tmp_path, ("DEVICE void add_runs(MATH* s) {\n    SYNC;", "DEVICE void add_runs(MATH* s) {")
    )
    assert "WARNING: ThreadSanitizer: data race" in said
