"""Why do the cases "readout" of normalised HSIC come out above the results of Ma, Lewis & Kleijn 2020?

Seven fully connected layers on MNIST by normalised HSIC, then five epochs of a linear readout behind them, as in
``localrules reproduce published-hsic``, and one by one what the samples of https://github.com/choasma/HSIC-bottleneck
do otherwise:

- hidden rate: SGD at 0.0001 with a fresh optimizer at each step, so that momentum never has a past, weight decay 0.001;
- untrained: the hidden layers do not learn at all, but for the statistics of their norms;
- readout rate: SGD at 0.005 (cases epochs) or 0.004 (cases width), without momentum, weight decay 0.001;
- pixels in 0 ... 1, not standardised;
- order: the training images in the file's order in every epoch;
- plain norms: batch norms without scale and shift;
- in turn: a batch passes the whole network anew for each layer, which learns before the next pass: later layers read
  what has just been learned, and the norms' running statistics move eight times a batch.

    python examples/hsic_readout_gap.py mnist.npz --case epochs-1
    python examples/hsic_readout_gap.py mnist.npz --case width-1 --forms ours "all of them"
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy
import torch
from torch import Tensor, nn, optim
from torch.nn.functional import cross_entropy

from localrules.kernels.gram import gaussian
from localrules.kernels.labels import labels_gram
from localrules.kernels.normalization import frobenius_inner, ridge_normalize

BETA, READOUT_EPOCHS, CLASSES = 50.0, 5, 10


@dataclass(frozen=True)
class Case:
    """One of the published cases."""

    hidden: tuple[int, ...]
    batch: int
    width: float
    epochs: int
    readout_rate: float
    published: float


MIDDLE, NARROW = (784, *(256,) * 6, 128), (784, *(128,) * 6, 64)
CASES = {
    "epochs-1": Case(MIDDLE, 256, 5.0, 1, 5e-3, 88.02),
    "epochs-5": Case(MIDDLE, 256, 5.0, 5, 5e-3, 94.28),
    "epochs-10": Case(MIDDLE, 256, 5.0, 10, 5e-3, 95.51),
    "width-1": Case(NARROW, 512, 1.0, 5, 4e-3, 69.64),
    "width-5": Case(NARROW, 512, 5.0, 5, 4e-3, 93.55),
    "width-10": Case(NARROW, 512, 10.0, 5, 4e-3, 93.21),
}
DIFFERENCES = ("hidden rate", "readout rate", "pixels", "order", "plain norms", "in turn")
FORMS = {
    "ours": frozenset[str](),
    **{name: frozenset({name}) for name in DIFFERENCES},
    "both rates": frozenset({"hidden rate", "readout rate"}),
    "all but in turn": frozenset(DIFFERENCES) - {"in turn"},
    "all of them": frozenset(DIFFERENCES),
    "all, untrained": frozenset({*DIFFERENCES, "untrained"}),
}


def images(file: Path, standardised: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Training images, (samples, 784), with labels, then those of the test split."""
    with numpy.load(file) as found:
        train, test = (torch.from_numpy(found[key]).flatten(1).float() / 255 for key in ("x_train", "x_test"))
        labels, test_labels = (torch.from_numpy(found[key]).long() for key in ("y_train", "y_test"))
    if standardised:
        mean, spread = train.mean(), train.std()
        train, test = (train - mean) / spread, (test - mean) / spread
    return train, labels, test, test_labels


def accuracy(file: Path, case: Case, form: frozenset[str], seed: int) -> float:
    """Train, and score the test split, in percent."""
    torch.manual_seed(seed)
    train, labels, test, test_labels = images(file, "pixels" not in form)
    layers = [
        nn.Sequential(nn.Linear(inputs, units), nn.BatchNorm1d(units, affine="plain norms" not in form), nn.ReLU())
        for inputs, units in pairwise(case.hidden)
    ]
    network, readout = nn.Sequential(*layers), nn.Linear(case.hidden[-1], CLASSES)

    def batches() -> list[Tensor]:
        order = torch.arange(len(train)) if "order" in form else torch.randperm(len(train))
        return [part for part in order.split(case.batch) if len(part) == case.batch]

    if "hidden rate" in form:
        # A fresh optimizer at each step: its momentum is the gradient itself.
        hidden: optim.Optimizer = optim.SGD(network.parameters(), lr=1e-4, weight_decay=1e-3)
    else:
        hidden = optim.Adam(network.parameters(), lr=1e-3)
    for _ in range(case.epochs):
        for part in batches():
            if "untrained" in form:
                with torch.no_grad():
                    network(train[part])
                continue
            if "in turn" in form:
                with torch.no_grad():
                    network(train[part])  # the source looks at what the layers give before it starts
            for learning in range(len(layers)) if "in turn" in form else [None]:
                hidden.zero_grad()
                bottleneck(layers, train[part], labels[part], case.width, learning)
                hidden.step()

    network.eval()
    last: optim.Optimizer = optim.Adam(readout.parameters(), lr=1e-3)
    if "readout rate" in form:
        last = optim.SGD(readout.parameters(), lr=case.readout_rate, weight_decay=1e-3)

    def features(images: Tensor) -> Tensor:
        with torch.no_grad():
            found: Tensor = network(images)
        return found

    for _ in range(READOUT_EPOCHS):
        for part in batches():
            last.zero_grad()
            cross_entropy(readout(features(train[part])), labels[part]).backward()
            last.step()
    right = (readout(features(test)).argmax(1) == test_labels).sum()
    return 100 * float(right) / len(test)


def bottleneck(layers: list[nn.Sequential], images: Tensor, labels: Tensor, width: float, learning: int | None) -> None:
    """Leave the gradient of each layer's objective, ``nHSIC(Z, X) - beta nHSIC(Z, Y)``; or of one layer's alone.

    Layers without a gradient are left as they are by the optimizer's step.
    """
    of_labels = ridge_normalize(labels_gram(labels, CLASSES, "gaussian", width=width))
    target = ridge_normalize(gaussian(images, width)) - BETA * of_labels
    seen = images
    for index, layer in enumerate(layers):
        output = layer(seen)
        if learning in (None, index):
            frobenius_inner(ridge_normalize(gaussian(output, width)), target).backward()
        seen = output.detach()


def main() -> None:
    """Train the forms asked for, and print what each reaches."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, help="mnist.npz")
    parser.add_argument("--case", choices=list(CASES), default="epochs-1")
    parser.add_argument("--forms", nargs="+", choices=list(FORMS), default=list(FORMS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    case = CASES[given.case]
    print(f"{given.case}, published {case.published}")
    for form in given.forms:
        print(f"{form:16} {accuracy(given.file, case, FORMS[form], given.seed):6.2f}", flush=True)


if __name__ == "__main__":
    main()
