"""The command ``xpcnn``: train, evaluate, predict, serve, export, bench, info."""

from __future__ import annotations

import argparse
import inspect
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import xpcnn
from xpcnn import _starting
from xpcnn.cli import bench, common, evaluate, export, info, options, predict, serve, train
from xpcnn.cli.train import DEFAULTS

OK, FAILED, USAGE, INTERRUPTED, TERMINATED = 0, 1, 2, 130, 143

_EXIT_CODES = """\
exit codes: 0 done, 1 failed while running, 2 wrong use of the command, 130 interrupted (Ctrl-C),
143 terminated (SIGTERM) while training or serving
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    argv : sequence of str, optional
        The words after ``xpcnn``; those of the process if left out.

    Returns
    -------
    int
        The exit code: 0 done, 1 failed while running, 2 wrong use, 130 interrupted, 143 told to
        end by SIGTERM while training or serving.
    """
    _starting.end()
    try:
        args = _parser().parse_args(argv)
        return _run(args)
    except SystemExit as stop:  # argparse has said what there is to say
        return stop.code if isinstance(stop.code, int) else USAGE
    except KeyboardInterrupt:  # once more, while the first was dealt with
        return INTERRUPTED
    finally:
        _starting.leave()


def _run(args: argparse.Namespace) -> int:
    """Run one command, and turn what goes wrong into a message and an exit code."""
    try:
        args.run(args)
        sys.stdout.flush()
    except KeyboardInterrupt as interrupt:
        terminated = isinstance(interrupt, train.Terminated)
        what = "terminated" if terminated else "interrupted"
        with suppress(OSError):
            print(f"xpcnn {args.command}: {what}{interrupt}", file=sys.stderr)
        return TERMINATED if terminated else INTERRUPTED
    except BrokenPipeError:  # the reader of our output has gone: xpcnn info | head -1
        common.drop_output()
        return FAILED
    except ImportError as error:
        print(f"xpcnn {args.command}: error: {error}; reinstall xpcnn", file=sys.stderr)
        return FAILED
    except (OSError, ValueError, TypeError, RuntimeError, ArithmeticError, MemoryError) as error:
        text = str(error) or type(error).__name__
        if isinstance(error, MemoryError) and not str(error):
            text = "there is not enough memory"
        print(f"xpcnn {args.command}: error: {text}", file=sys.stderr)
        return FAILED
    return OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="xpcnn",
        description="Convolutional neural networks on any array library.",
        epilog=_EXIT_CODES,
    )
    parser.add_argument("--version", action="version", version=f"xpcnn {xpcnn.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    runs = {
        _add_train: train.run,
        _add_evaluate: evaluate.run,
        _add_predict: predict.run,
        _add_serve: serve.run,
        _add_export: export.run,
        _add_bench: bench.run,
        _add_info: info.run,
    }
    for add, run in runs.items():
        name = add.__name__.removeprefix("_add_")
        # The docstring is what users read: a line in the list of commands, and the text of --help.
        title, text = (inspect.getdoc(add) or ".\n\n").split("\n\n")
        title = title[0].lower() + title[1:].rstrip(".")
        command = commands.add_parser(name, help=title, description=text, epilog=_EXIT_CODES)
        command.set_defaults(run=run, usage_error=command.error)
        add(command)
    return parser


def _add_train(command: argparse.ArgumentParser) -> None:
    """Train a network on images.

    Train a network on images, print its accuracy on the test images, and save it. Without options:
    the first network of the course, on the handwritten digits that come with the package. With
    --data photos, the network "photo" on the images in that folder, which has a folder for each
    class, or a table of file names and labels, or both in folders "train" and "test". Reading
    images needs Pillow: pip install "xpcnn[images]"
    """
    options.add_network(
        command, "--model", f"network; {DEFAULTS.photo_model} for a folder of image files, else"
    )
    options.add_data(command)
    options.add_photos(command)
    options.add_device(command)
    options.add_count(
        command,
        "--epochs",
        f"total number of epochs, including those of --resume (default {DEFAULTS.epochs})",
    )
    options.add_count(
        command,
        "--batch-size",
        f"images per training step (default {DEFAULTS.batch_size}, or "
        f"{DEFAULTS.photo_batch_size} for a folder of image files)",
    )
    command.add_argument(
        "--lr",
        type=options.positive_float,
        metavar="X",
        help=f"learning rate of Adam (default {DEFAULTS.lr}, or that of --resume); for photographs "
        f"the highest of a cycle (default {DEFAULTS.photo_lr})",
    )
    options.add_count(
        command,
        "--seed",
        "seed of the initial weights, of the order of the images, and of which are to test with "
        f"(default {DEFAULTS.seed})",
        least=0,
    )
    options.add_file(
        command,
        "--save",
        "where to save the model, also when training is ended by Ctrl-C or SIGTERM (default "
        "MODEL-DATA.safetensors, or the file of --resume, and only at the end)",
    )
    options.add_file(command, "--resume", "go on training the model saved in FILE")


def _add_evaluate(command: argparse.ArgumentParser) -> None:
    """Measure a saved model on test images.

    Print loss and accuracy of a saved model on the test images of a data set, and precision, recall
    and F1 of each class. Of a folder of image files, which are compared by the names of their
    classes, these are the images in its folder "test", or else those that "xpcnn train" keeps from
    training.
    """
    options.add_trained_model(command)
    options.add_data(command)
    options.add_split(command)
    command.add_argument(
        "--all",
        action="store_true",
        help="measure all images of a folder, none of which the model was trained on",
    )
    command.add_argument("--json", action="store_true", help="print JSON")
    options.add_device(command)


def _add_predict(command: argparse.ArgumentParser) -> None:
    """Classify image files with a saved model.

    Print the most probable class of each image, and its probability. Images are read as the model's
    file says, or else turned grey and resized to what the model takes. Models trained on the digits
    expect light ink on dark paper; use --invert for dark ink on light paper. Reading images needs
    Pillow: pip install "xpcnn[images]"
    """
    command.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="PNG or other file")
    command.add_argument(
        "--invert",
        action="store_true",
        help="swap light and dark, for a model whose file does not say how images are read",
    )
    options.add_count(command, "--top", "show the N most probable classes (default 1)")
    command.add_argument(
        "--json", action="store_true", help="print JSON, with the probabilities of all classes"
    )
    options.add_trained_model(command)
    options.add_device(command)


def _add_serve(command: argparse.ArgumentParser) -> None:
    """Serve a saved model over HTTP.

    Answer POST /predict with class names and probabilities for images, JSON or NumPy files, until
    Ctrl-C or SIGTERM; requests that have come by then are answered still. GET / says what the model
    takes, /health that it works, /metrics what was done, for Prometheus. Needs a few packages: pip
    install "xpcnn[serve]"
    """
    command.add_argument(
        "model",
        nargs="?",
        type=Path,
        metavar="FILE",
        help="file of a trained model (default %(default)s, which 'xpcnn train' writes)",
        default=DEFAULTS.file,
    )
    command.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen at (default %(default)s, which only this machine reaches)",
    )
    options.add_count(
        command, "--port", "port to listen at (default %(default)s; 0: any)", least=0, default=8000
    )
    options.add_count(
        command, "--max-batch", "samples that the model runs on at a time (default 32)"
    )
    command.add_argument(
        "--max-delay-ms",
        type=float,
        metavar="MS",
        help="milliseconds that a request may wait for others to go with it (default 2)",
    )
    command.add_argument(
        "--max-size", metavar="SIZE", help="the largest body, such as 500kB (default 10MB)"
    )
    options.add_count(command, "--max-queue", "requests at a time; more are refused (default 256)")
    command.add_argument(
        "--timeout",
        type=options.positive_float,
        metavar="S",
        help="seconds for a body to come, and for an answer (default 30)",
    )
    options.add_device(command)


def _add_export(command: argparse.ArgumentParser) -> None:
    """Write a saved model as an ONNX file, or as a web page.

    Write a saved model as an ONNX file, which most frameworks and runtimes read. With --web, write
    a page to a folder on which one draws, and the model predicts in the browser: for models of
    images with one channel, such as the digits. The page needs no network, and any web server will
    do, such as "python -m http.server". npm, which comes with Node.js, fetches onnxruntime-web for
    it.
    """
    command.add_argument(
        "file", nargs="?", type=Path, metavar="FILE.onnx", help="the ONNX file to write"
    )
    options.add_trained_model(command)
    command.add_argument("--web", type=Path, metavar="FOLDER", help="write a web page to FOLDER")
    command.add_argument(
        "--runtime",
        type=Path,
        metavar="PATH",
        help="onnxruntime-web for the page, in the place of npm: a folder that has it, such as "
        'that of an earlier page, or what "npm pack" has written',
    )
    options.add_count(
        command,
        "--opset",
        "version of ONNX's operators in the file, from 11 to 28 (default 18)",
    )


def _add_bench(command: argparse.ArgumentParser) -> None:
    """Compare the speed of xpcnn and PyTorch on this machine.

    Let xpcnn, PyTorch and, in prediction, onnxruntime take turns at training, at single layers and
    at prediction, each in a process of its own on the CPU, and print times, ratios and memory.
    Before it measures, it compares what the libraries compute. Takes about an hour, and less with
    --quick, --no-torch-compile or some of the --workloads.
    """
    command.add_argument(
        "--workloads",
        type=bench.workload_list,
        metavar="NAMES",
        help="names or patterns such as 'conv*', with commas between them (default all)",
    )
    command.add_argument(
        "--layers",
        action="store_true",
        help="instead of workloads, every layer and loss beside PyTorch's, the worst ratio first",
    )
    command.add_argument(
        "--only",
        type=bench.layer_list,
        metavar="NAME,...",
        help="of the layers and losses those of these classes; patterns such as '*Pool2d' will do",
    )
    options.add_count(command, "--rounds", f"turns of each (default {bench.ROUNDS})")
    command.add_argument("--quick", action="store_true", help="fewer and shorter turns")
    command.add_argument(
        "--check", action="store_true", help="compare what the libraries compute, and no times"
    )
    options.add_file(
        command,
        "--output",
        "write FILE.json and FILE.md as well; in a folder they are called bench",
    )
    options.add_file(command, "--json", "write what was measured to this file")
    options.add_count(command, "--threads", "for each library (default all cores)")
    options.add_count(command, "--batch-size", "instead of the workloads' own sizes")
    command.add_argument(
        "--kernels",
        choices=("best", "generic", "both", "torch"),
        default="best",
        help="kernels of xpcnn: the compiled ones where they are installed, those of NumPy alone, "
        "one after the other, or those of PyTorch on its tensors (default %(default)s)",
    )
    command.add_argument("--jax", action="store_true", help="measure JAX as well")
    command.add_argument(
        "--no-torch-compile",
        dest="torch_compile",
        action="store_false",
        help="leave out torch.compile, which compiles each workload for up to a minute",
    )


def _add_info(command: argparse.ArgumentParser) -> None:
    """Show the environment, which devices work, and which kernels a model gets.

    Show the environment and which devices work; with --kernels, which kernels each layer of a
    model gets in training, and why faster ones declined.
    """
    command.add_argument("--kernels", action="store_true", help="list the kernels of a model")
    model = command.add_mutually_exclusive_group()
    options.add_network(model, "--network", "a network")
    options.add_file(model, "--model", "a saved model")
    options.add_count(command, "--batch", f"images per step (default {DEFAULTS.batch_size})")
    command.add_argument(
        "--device", help="where the model computes (default auto), as in xpcnn train"
    )
    command.add_argument("--json", action="store_true", help="print JSON instead of a table")
