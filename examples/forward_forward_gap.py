"""Why does the case "threshold on the mean" of forward-forward come out below the result of its source?

Two layers of 500 units on MNIST by goodness as a mean less 2, Adam at 0.03, 1000 steps, as in ``localrules reproduce
published-forward-forward``, but written by hand; and one by one what https://github.com/mpezeshki/pytorch_forward_forward
does otherwise:

- in turn: each layer has 1000 steps of its own, the second on what the first then gives;
- dealt once: each image has one wrong label for good, another image's: a tenth of them are right;
- same: every step shows the same images, the first of the file, not others;
- images: how many a step shows (ours 1000, the source's 50000).

    python examples/forward_forward_gap.py mnist.npz
    python examples/forward_forward_gap.py mnist.npz --forms "all of them" --images 50000
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy
import torch
from torch import Tensor, nn, optim
from torch.nn.functional import softplus

CLASSES, UNITS, THRESHOLD, RATE = 10, 500, 2.0, 0.03
DIFFERENCES = ("in turn", "dealt once", "same")
FORMS = {
    "ours": frozenset[str](),
    **{name: frozenset({name}) for name in DIFFERENCES},
    "in turn, dealt once": frozenset({"in turn", "dealt once"}),
    "all of them": frozenset(DIFFERENCES),
}


def images(file: Path) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Training images, (samples, 784), standardised, with labels, then those of the test split."""
    with numpy.load(file) as found:
        train, test = (torch.from_numpy(found[key]).flatten(1).float() / 255 for key in ("x_train", "x_test"))
        labels, test_labels = (torch.from_numpy(found[key]).long() for key in ("y_train", "y_test"))
    mean, spread = train.mean(), train.std()
    return (train - mean) / spread, labels, (test - mean) / spread, test_labels


def labelled(images: Tensor, labels: Tensor) -> Tensor:
    """Images whose first ten pixels say a label, three standard deviations high."""
    found = images.clone()
    found[:, :CLASSES] = 0
    found[torch.arange(len(labels)), labels] = 3.0
    return found


def direction(samples: Tensor) -> Tensor:
    """Samples of length 1."""
    return samples / (samples.norm(dim=1, keepdim=True) + 1e-4)


def activity(layer: nn.Linear, samples: Tensor) -> Tensor:
    """The output of a layer."""
    found: Tensor = layer(direction(samples)).relu()
    return found


def loss(right: Tensor, wrong: Tensor) -> Tensor:
    """The logistic loss of both goodnesses, whose means over samples are one mean, as there are as many."""
    goodness = [samples.square().mean(1) - THRESHOLD for samples in (right, wrong)]
    return torch.cat([softplus(-goodness[0]), softplus(goodness[1])]).mean()


def accuracy(file: Path, form: frozenset[str], shown: int, steps: int, seed: int) -> float:
    """Train, and score the test split by trying every label, in percent."""
    torch.manual_seed(seed)
    train, labels, test, test_labels = images(file)
    dealt = labels[torch.randperm(len(labels))]
    layers = [nn.Linear(train.shape[1], UNITS), nn.Linear(UNITS, UNITS)]
    optimizers = [optim.Adam(layer.parameters(), lr=RATE) for layer in layers]
    order = torch.empty(0, dtype=torch.int64)
    for learning in [[0], [1]] if "in turn" in form else [[0, 1]]:
        for _ in range(steps):
            if "same" in form:
                samples = torch.arange(shown)
            else:
                if len(order) < shown:
                    order = torch.randperm(len(train))
                samples, order = order[:shown], order[shown:]
            others = (labels[samples] + torch.randint(1, CLASSES, samples.shape)) % CLASSES
            right = labelled(train[samples], labels[samples])
            wrong = labelled(train[samples], dealt[samples] if "dealt once" in form else others)
            for index, layer in enumerate(layers[: learning[-1] + 1]):
                with torch.set_grad_enabled(index in learning):
                    right, wrong = activity(layer, right.detach()), activity(layer, wrong.detach())
                if index in learning:
                    optimizers[index].zero_grad()
                    loss(right, wrong).backward()
                    optimizers[index].step()
    with torch.no_grad():
        scores = torch.zeros(len(test), CLASSES)
        for label in range(CLASSES):
            samples = labelled(test, torch.full((len(test),), label))
            for layer in layers:
                samples = activity(layer, samples)
                scores[:, label] += samples.square().mean(1)
    return 100 * float((scores.argmax(1) == test_labels).sum()) / len(test)


def main() -> None:
    """Train the forms asked for, and print what each reaches."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="mnist.npz")
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=list(FORMS))
    parser.add_argument("--images", type=int, default=1000, help="shown at each step")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    for name in asked.forms:
        found = [accuracy(asked.file, FORMS[name], asked.images, asked.steps, seed) for seed in asked.seeds]
        print(f"{name:22} {asked.images} images  {', '.join(f'{value:.2f}' for value in found)}", flush=True)


if __name__ == "__main__":
    main()
