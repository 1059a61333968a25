"""The command ``xpcnn``: train, evaluate, predict, serve, bench, info."""

from __future__ import annotations

import argparse
import inspect
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import xpcnn
from xpcnn import _starting
from xpcnn.cli import augment, bench, common, evaluate, info, predict, serve, train
from xpcnn.cli.image_data import TEST_SIZE
from xpcnn.cli.train import DEFAULTS
from xpcnn.networks import NETWORKS
from xpcnn.training.scaling import PRECISIONS

OK, FAILED, USAGE, INTERRUPTED, TERMINATED = 0, 1, 2, 130, 143

_EXIT_CODES = """\
exit codes: 0 done, 1 failed while running, 2 wrong use of the command, 130 interrupted (Ctrl-C),
143 terminated (SIGTERM) while training or serving
"""
_DATA_SETS = ("digits", "mnist")


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
    _add_network(
        command, "--model", f"network; {DEFAULTS.photo_model} for a folder of image files, else"
    )
    _add_data(command)
    _add_photos(command)
    _add_device(command)
    _add_count(
        command,
        "--epochs",
        f"total number of epochs, including those of --resume (default {DEFAULTS.epochs})",
    )
    _add_count(
        command,
        "--batch-size",
        f"images per training step (default {DEFAULTS.batch_size}, or "
        f"{DEFAULTS.photo_batch_size} for a folder of image files)",
    )
    command.add_argument(
        "--lr",
        type=_positive_float,
        metavar="X",
        help=f"learning rate of Adam (default {DEFAULTS.lr}, or that of --resume)",
    )
    _add_count(
        command,
        "--seed",
        "seed of the initial weights, of the order of the images, and of which are to test with "
        f"(default {DEFAULTS.seed})",
        least=0,
    )
    _add_file(
        command,
        "--save",
        "where to save the model, also when training is ended by Ctrl-C or SIGTERM (default "
        "MODEL-DATA.safetensors, or the file of --resume, and only at the end)",
    )
    _add_file(command, "--resume", "go on training the model saved in FILE")


def _add_photos(command: argparse.ArgumentParser) -> None:
    """Add what is told of a folder of image files."""
    command.add_argument(
        "--size",
        type=_image_size,
        metavar="N or HxW",
        help="height and width that images are brought to, for a folder of image files (default "
        f"{DEFAULTS.size})",
    )
    command.add_argument(
        "--resize",
        choices=("squash", "crop", "pad"),
        help="how images of other proportions get that size (default squash)",
    )
    command.add_argument(
        "--augment",
        type=augment.names,
        metavar="NAME,...",
        help=f"change images at random in training: {', '.join(augment.NAMES)}",
    )
    _add_split(command)


def _add_split(command: argparse.ArgumentParser) -> None:
    """Add how the images of a folder are labelled, and split."""
    _add_file(
        command,
        "--labels",
        "table (CSV) of file names and labels, in the folder (default the only one there, if there "
        "are no folders of classes)",
    )
    command.add_argument(
        "--test-size",
        type=_share,
        metavar="X",
        help="share of the images of a folder without 'train' and 'test' to test with (default "
        f"{TEST_SIZE})",
    )


def _add_evaluate(command: argparse.ArgumentParser) -> None:
    """Measure a saved model on test images.

    Print loss and accuracy of a saved model on the test images of a data set.
    """
    _add_trained_model(command)
    _add_data(command)
    _add_device(command)


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
    _add_count(command, "--top", "show the N most probable classes (default 1)")
    command.add_argument(
        "--json", action="store_true", help="print JSON, with the probabilities of all classes"
    )
    _add_trained_model(command)
    _add_device(command)


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
    _add_count(
        command, "--port", "port to listen at (default %(default)s; 0: any)", least=0, default=8000
    )
    _add_count(command, "--max-batch", "samples that the model runs on at a time (default 32)")
    command.add_argument(
        "--max-delay-ms",
        type=float,
        metavar="MS",
        help="milliseconds that a request may wait for others to go with it (default 2)",
    )
    command.add_argument(
        "--max-size", metavar="SIZE", help="the largest body, such as 500kB (default 10MB)"
    )
    _add_count(command, "--max-queue", "requests at a time; more are refused (default 256)")
    command.add_argument(
        "--timeout",
        type=_positive_float,
        metavar="S",
        help="seconds for a body to come, and for an answer (default 30)",
    )
    _add_device(command)


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
    _add_count(command, "--rounds", f"turns of each (default {bench.ROUNDS})")
    command.add_argument("--quick", action="store_true", help="fewer and shorter turns")
    command.add_argument(
        "--check", action="store_true", help="compare what the libraries compute, and no times"
    )
    _add_file(
        command,
        "--output",
        "write FILE.json and FILE.md as well; in a folder they are called bench",
    )
    _add_file(command, "--json", "write what was measured to this file")
    _add_count(command, "--threads", "for each library (default all cores)")
    _add_count(command, "--batch-size", "instead of the workloads' own sizes")
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
    _add_network(model, "--network", "a network")
    _add_file(model, "--model", "a saved model")
    _add_count(command, "--batch", f"images per step (default {DEFAULTS.batch_size})")
    command.add_argument(
        "--device", help="where the model computes (default auto), as in xpcnn train"
    )
    command.add_argument("--json", action="store_true", help="print JSON instead of a table")


def _add_network(command: Any, name: str, help: str) -> None:
    command.add_argument(name, choices=list(NETWORKS), help=f"{help} (default {DEFAULTS.model})")


def _add_file(command: Any, name: str, help: str, **options: Any) -> None:
    command.add_argument(name, type=Path, metavar="FILE", help=help, **options)


def _add_count(
    command: argparse.ArgumentParser, name: str, help: str, least: int = 1, **options: Any
) -> None:
    def whole_number(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(
                f"expected a whole number of at least {least}, got {text!r}"
            )
        return int(text)

    command.add_argument(name, type=whole_number, metavar="N", help=help, **options)


def _add_trained_model(command: argparse.ArgumentParser) -> None:
    help = "file of a trained model (default %(default)s, which 'xpcnn train' writes)"
    _add_file(command, "--model", help, default=DEFAULTS.file)


def _add_data(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--data",
        type=_data_set,
        metavar="{digits,mnist,FOLDER}",
        default=DEFAULTS.data,
        help="images: the 6,000 digits that come with the package, MNIST (downloaded once), a "
        "folder with IDX files of the same names, or one with image files in a folder for each "
        "class (default %(default)s)",
    )


def _add_device(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--device",
        default="auto",
        help="where to compute: auto, cpu, cuda, cuda:1, torch:cpu, ... as 'xpcnn info' lists them "
        "(default %(default)s)",
    )
    command.add_argument(
        "--precision",
        choices=PRECISIONS,
        help="how to compute: in float16 and bfloat16 the weights stay float32, tf32 is for GPUs "
        "(default float32, or what the model was saved with)",
    )


def _data_set(text: str) -> str:
    if text not in _DATA_SETS and not Path(text).is_dir():
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither 'digits' nor 'mnist' nor an existing folder"
        )
    return text


def _image_size(text: str) -> tuple[int, int]:
    """Read a height and a width, or one number for both."""
    parts = text.lower().split("x")
    if len(parts) > 2 or not all(part.isdecimal() and int(part) for part in parts):
        raise argparse.ArgumentTypeError(f"expected a number such as 64 or 48x64, got {text!r}")
    return int(parts[0]), int(parts[-1])


def _share(text: str) -> float:
    number = _positive_float(text)
    if number >= 1.0:
        raise argparse.ArgumentTypeError(f"expected a share between 0 and 1, got {text!r}")
    return number


def _positive_float(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0.0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text!r}")
    return number
