"""One convolution with tanh, trained image by image on 1,000 images of MNIST, tested on 100.

16 kernels of 3 x 3, no bias, learning rate 0.02, pixels between 0 and 1.

    python examples/course_tanh_cnn.py
"""

import numpy as np
from _course import Clock, load, parse_arguments, report, run

import xpcnn
from xpcnn.scratch.tanh_cnn import back_propagation_cnn, cnn

N_TRAIN, N_TEST = 1_000, 100
N_KERNELS, KERNEL, HIDDEN = 16, 3, 16 * 26 * 26


def main() -> None:
    arguments = parse_arguments(__doc__, epochs=20, seed=0, unit="times through the data")
    (x, t), (x_test, t_test) = load(arguments)
    x, x_test = x[:N_TRAIN, 0], x_test[:N_TEST, 0]
    labels = np.eye(10)[t[:N_TRAIN]]
    device = xpcnn.device.resolve(arguments.device)
    kernels = device.asarray(np.random.normal(0, 0.3, (N_KERNELS, KERNEL, KERNEL)), arguments.dtype)
    weights = device.asarray(np.random.normal(0, 0.01, (HIDDEN, 10)), arguments.dtype)

    def accuracy() -> float:
        guesses = [int(cnn(image, kernels, weights).argmax()) for image in x_test]
        return float(np.mean(guesses == t_test[:N_TEST]))

    clock, figures = Clock(), []
    for epoch in range(1, arguments.epochs + 1):
        kernels, weights = back_propagation_cnn(x, labels, kernels, weights, epoch=1, lr=0.02)
        figures.append(accuracy())
        print(f"epoch {epoch}/{arguments.epochs}: test accuracy {figures[-1]:.2f}", flush=True)
    rows = [(f"accuracy on {N_TEST} test images, the end", figures[-1], 0.89)]
    if len(figures) >= 10:
        rows.insert(0, (f"accuracy on {N_TEST} test images, 10 epochs", figures[9], 0.83))
    report(rows, clock)


if __name__ == "__main__":
    run(main)
