"""The one-dimensional sprint: MNIST read as signals of 784 pixels.

One convolution (30 filters of 5), max pooling by 2, 100 hidden nodes; Adam, batches of 1,000.

    python examples/course_conv1d.py
"""

from _course import Clock, load, parse_arguments, report, run

from xpcnn.scratch.conv1d import Scratch1dCNNClassifier

N_TRAIN, N_TEST = 24_000, 500


def main() -> None:
    arguments = parse_arguments(__doc__, epochs=3, seed=0, unit="times through the data")
    (x, t), (x_test, t_test) = load(arguments)
    x, x_test = x.reshape(-1, 1, 784), x_test.reshape(-1, 1, 784)
    clock = Clock()
    model = Scratch1dCNNClassifier(
        conv_param={"filter_num": 30, "filter_size": 5, "pad": 0, "stride": 1},
        pool_param={"pool_size": 2, "pad": 0, "stride": 2},
        n_epochs=arguments.epochs,
        batch_size=1000,
        optimizer="adam",
        optimizer_param={"lr": 0.001},
        layer_nodes=100,
        weight_init_std=0.01,
        verbose=True,
    )
    validation = 4 * len(t) // 5  # the last fifth validates
    train = slice(min(N_TRAIN, validation))
    model.fit(x[train], t[train], x[validation:], t[validation:])
    _, test_accuracy = model.evaluate(x_test[:N_TEST], t_test[:N_TEST])
    report(
        [
            (f"accuracy on {len(t_test[:N_TEST])} test images", test_accuracy, 0.878),
            (f"accuracy on {len(t) - validation} validation images", model.val_acc_list[-1], 0.889),
        ],
        clock,
    )


if __name__ == "__main__":
    run(main)
