"""Fine-tune a published network: new classes, a frozen front, then all of it at a small rate.

    python examples/fine_tune.py --weights resnet18.safetensors

The file has torchvision's names of weights (docs/zoo.md says where to get one). Without it a
stand-in is made: the same network, trained for a moment on the digits 0 to 4. Either way it is then
fine-tuned on a few of the digits 5 to 9, which it has never seen.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

import xpcnn
from xpcnn.data import load_digits_subset

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # what published networks were trained on


def digits(low: int, high: int, rows: int, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Return some digits as colour images of 32 x 32, and their labels from 0."""
    train, test = load_digits_subset()
    x, y = train if part == "train" else test
    chosen = np.flatnonzero((y >= low) & (y < high))[:rows]
    x = np.pad(x[chosen], ((0, 0), (0, 0), (2, 2), (2, 2)))
    x = (np.repeat(x, 3, axis=1) - np.reshape(MEAN, (3, 1, 1))) / np.reshape(STD, (3, 1, 1))
    return x.astype("float32"), y[chosen] - low


def make_stand_in(path: Path, rows: int, epochs: int, seed: int) -> None:
    """Train the network on the digits 0 to 4, and save it; its weights have the published names."""
    model = xpcnn.Model(xpcnn.zoo.resnet18(), seed=seed)
    model.compile(xpcnn.optim.Adam(2e-3), "cross_entropy", ["accuracy"])
    model.fit(*digits(0, 5, rows, "train"), epochs=epochs, verbose=0)
    model.save(path)


def main() -> None:
    """Fine-tune, and print the accuracy after each step."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path, help="of ResNet-18, by torchvision's names")
    parser.add_argument("--rows", type=int, default=400, help="images to fine-tune on")
    parser.add_argument("--epochs", type=int, default=2, help="of each of the two steps")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    model = xpcnn.Model(xpcnn.zoo.resnet18(), seed=args.seed)
    with tempfile.TemporaryDirectory() as folder:
        weights = args.weights
        if weights is None:
            print("no --weights: training a stand-in on the digits 0 to 4")
            weights = Path(folder) / "stand-in.safetensors"
            make_stand_in(weights, 4 * args.rows, args.epochs, args.seed)
        xpcnn.interop.load_weights(model, weights)
    train, test = digits(5, 10, args.rows, "train"), digits(5, 10, 4 * args.rows, "test")

    model.build((None, 3, 32, 32))
    frozen = model.freeze()
    model.replace("fc", xpcnn.Linear(out_features=5))  # which is trained: it is new
    trained = [name for name, p in model.parameters().items() if p.requires_grad]
    print(f"frozen: {len(frozen)} arrays of parameters; trained: {', '.join(trained)}")
    no_decay = {"*.bias": {"weight_decay": 0.0}}
    model.compile(xpcnn.optim.AdamW(1e-2, groups=no_decay), xpcnn.CrossEntropyLoss(), ["accuracy"])
    model.fit(*train, epochs=args.epochs, verbose=0)
    print(f"the new head alone:  accuracy {model.evaluate(*test)['accuracy']:.4f}")

    model.unfreeze()
    groups = {"fc": {"lr": 1e-3}, **no_decay}
    model.optimizer = xpcnn.optim.AdamW(3e-4, groups=groups)
    model.fit(*train, epochs=args.epochs, verbose=0)
    print(f"all, at small rates: accuracy {model.evaluate(*test)['accuracy']:.4f}")


if __name__ == "__main__":
    main()
