"""The plain two-dimensional network on the first 5,000 training and 1,000 test images of MNIST.

Convolution (30 filters of 5 x 5), max pooling by 2, 100 hidden nodes; Adam, batches of 100.

    python examples/course_simple_conv_net.py
"""

import numpy as np
from _course import Clock, load, parse_arguments, report, run

from xpcnn.scratch.simple_conv_net import Adam, SimpleConvNet

N_TRAIN, N_TEST, BATCH = 5_000, 1_000, 100


def main() -> None:
    arguments = parse_arguments(__doc__, epochs=20, seed=0, unit="times 50 iterations")
    (x, t), (x_test, t_test) = load(arguments)
    x, t, x_test, t_test = x[:N_TRAIN], t[:N_TRAIN], x_test[:N_TEST], t_test[:N_TEST]
    clock = Clock()
    net = SimpleConvNet(
        input_dim=(1, 28, 28),
        conv_param={"filter_num": 30, "filter_size": 5, "pad": 0, "stride": 1},
        hidden_size=100,
        output_size=10,
        weight_init_std=0.01,
        device=arguments.device,
        dtype=arguments.dtype,
    )
    optimizer = Adam(lr=0.001)
    iterations = arguments.epochs * N_TRAIN // BATCH
    for iteration in range(1, iterations + 1):
        chosen = np.sort(np.random.choice(N_TRAIN, BATCH, replace=False))
        optimizer.update(net.params, net.gradient(x[chosen], t[chosen]))
        if iteration % 100 == 0:
            accuracy = net.accuracy(x_test, t_test, batch_size=500)
            print(f"iteration {iteration}/{iterations}: test accuracy {accuracy:.4f}", flush=True)
    report(
        [
            (f"accuracy on {N_TEST} test images", net.accuracy(x_test, t_test), 0.959),
            (f"accuracy on {N_TRAIN} training images", net.accuracy(x, t), 0.9956),
        ],
        clock,
    )


if __name__ == "__main__":
    run(main)
