"""The fully connected deep classifier: three networks on 48,000 images of MNIST.

AdaGrad with learning rate 0.01, batches of 20; the other 12,000 training images validate.

    python examples/course_deep_nn.py
    python examples/course_deep_nn.py --network he-relu --epochs 5
"""

import argparse
from itertools import pairwise

from _course import Clock, load, parse_arguments, report, run

from xpcnn.scratch.deep_nn import (
    FC,
    AdaGrad,
    HeInitializer,
    ReLU,
    ScratchDeepNeuralNetworkClassifier,
    Sigmoid,
    Softmax,
    XavierInitializer,
)

BATCH, LR = 20, 0.01

# nodes, initializer, activation, expected accuracy
NETWORKS = {
    "he-relu": ((784, 400, 200, 10), HeInitializer, ReLU, 0.968),
    "xavier-sigmoid": ((784, 400, 200, 10), XavierInitializer, Sigmoid, 0.965),
    "four-layers": ((784, 512, 256, 128, 10), HeInitializer, ReLU, 0.972),
}


def make_layers(nodes: tuple[int, ...], initializer: type, activation: type) -> list[FC]:
    layers = []
    for i, (n_in, n_out) in enumerate(pairwise(nodes)):
        last = i == len(nodes) - 2
        layers.append(
            FC(n_in, n_out, initializer(), AdaGrad(LR), Softmax() if last else activation())
        )
    return layers


def add_network(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--network", choices=[*NETWORKS, "all"], default="all", help="default %(default)s"
    )


def main() -> None:
    arguments = parse_arguments(
        __doc__, epochs=30, seed=0, unit="times through the data", more=add_network
    )
    (x, t), _ = load(arguments)
    x = x.reshape(len(t), 784)
    n_train = 4 * len(t) // 5  # 48,000; the others validate
    rows, clock = [], Clock()
    for name, (nodes, initializer, activation, expected) in NETWORKS.items():
        if arguments.network not in (name, "all"):
            continue
        print(f"\n{name}: {'-'.join(map(str, nodes))}", flush=True)
        model = ScratchDeepNeuralNetworkClassifier(
            make_layers(nodes, initializer, activation), verbose=True
        )
        model.fit(
            x[:n_train],
            t[:n_train],
            x[n_train:],
            t[n_train:],
            n_epoch=arguments.epochs,
            n_batch=BATCH,
        )
        rows.append((f"{name}, validation accuracy", model.val_acc_list[-1], expected))
    report(rows, clock)


if __name__ == "__main__":
    run(main)
