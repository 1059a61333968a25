"""The six-convolution network on all of MNIST: 60,000 training and 10,000 test images.

Adam, batches of 100. The learning rate starts at 0.001 and falls by half a cosine to almost
nothing, which saves most of the epochs that a constant one would need.

    python examples/course_deep_conv_net.py
    python examples/course_deep_conv_net.py --epochs 1 --rows 5000
"""

import argparse
import math

import numpy as np
from _course import Clock, load, parse_arguments, positive, report, run

from xpcnn.scratch.deep_conv_net import Adam, DeepConvNet

BATCH, LR = 100, 0.001


def add_rows(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rows", type=positive, default=60_000, help="training images to use")


def main() -> None:
    arguments = parse_arguments(
        __doc__, epochs=8, seed=0, unit="times through the data", more=add_rows
    )
    (x, t), (x_test, t_test) = load(arguments)
    x, t = x[: arguments.rows], t[: arguments.rows]
    if len(t) < BATCH:
        raise ValueError(f"--rows must be at least {BATCH}, which is one batch; got {len(t)}")
    clock = Clock()
    net = DeepConvNet(device=arguments.device, dtype=arguments.dtype)
    optimizer = Adam(lr=LR)
    steps, step = arguments.epochs * (len(t) // BATCH), 0
    for epoch in range(1, arguments.epochs + 1):
        order, loss = np.random.permutation(len(t)), 0.0
        for start in range(0, len(t) - BATCH + 1, BATCH):
            chosen = order[start : start + BATCH]
            optimizer.lr = LR * (0.01 + 0.99 * (1 + math.cos(math.pi * step / steps)) / 2)
            optimizer.update(net.params, net.gradient(x[chosen], t[chosen]))
            loss, step = loss + float(net.last_layer.loss), step + 1
        print(
            f"epoch {epoch}/{arguments.epochs}: loss {loss / (len(t) // BATCH):.4f}, test accuracy "
            f"{net.accuracy(x_test, t_test, batch_size=500):.4f}, {clock}",
            flush=True,
        )
    accuracy = net.accuracy(x_test, t_test)
    report([(f"accuracy on {len(t_test)} test images", accuracy, 0.993)], clock)


if __name__ == "__main__":
    run(main)
