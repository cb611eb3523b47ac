"""What would the layers of a finished run add to its answer, if each had a readout of its own?

A rule may let its layers vote (``--set rule.vote=true``): each has a classifier that learned with it. Back-propagation
has none. So that a control is asked in the same way, this gives every hidden layer of any finished run a classifier
behind a 4 x 4 grid, trains all of them on the training images, augmented as in the run, while the network stays as
it is, and lets them vote as an objective's layers do (``LayerVoting``): half the
answer is the readout's, half theirs.

    python examples/studies/votes_of_layers.py runs/20261125-084359-backprop-dense_fpn
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn, optim
from torch.nn import functional

from localrules.config.schema import ScheduleConfig
from localrules.core.interception import Forward, intercept_layers, tensor_leaves
from localrules.core.layer import Layer
from localrules.core.nn.heads import zero_init_classifier
from localrules.core.nn.pooling import pool_flat, pooled_features
from localrules.data.augment import Augment
from localrules.data.batches import Batches, iter_batches
from localrules.engine.schedules import learning_rate
from localrules.registry.registry import Registry
from localrules.runs.load import TrainedRun

GRID, HIDDEN, RATE, BATCH = 4, 128, 3e-3, 256


def seen(run: TrainedRun, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """The run's answer to images, and what each hidden layer gives, averaged over the grid, by its name."""
    found: dict[str, Tensor] = {}

    def keep(layer: Layer, forward: Forward, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        output = forward(*args, **kwargs)
        if not layer.is_readout:
            found[layer.name] = pool_flat(tensor_leaves(output)[-1], GRID)
        return output

    network = run.predictor.network
    with run.predictor.eval_mode(), intercept_layers(network.layers, keep):
        answer = network(run.predictor.preprocess.to_memory_format(images)).float()
    return answer, {name: features.float() for name, features in found.items()}


def learned(run: TrainedRun, epochs: int) -> nn.ModuleDict:
    """A classifier for each hidden layer, behind a batch norm, trained by cross-entropy; the network learns nothing."""
    data = run.data()
    torch.manual_seed(run.config.seed)
    made = {
        layer.name.replace(".", "/"): nn.Sequential(
            nn.BatchNorm1d(width := pooled_features(layer.out_shape, GRID)),
            zero_init_classifier(width, HIDDEN, len(run.classes)),
        )
        for layer in run.predictor.network.hidden
    }
    classifiers = nn.ModuleDict(made)
    augment = Augment(run.config.augment, flip_preserves_label=data.flip_preserves_label)
    batches = Batches(data.split("train"), BATCH, run.config.seed, run.predictor.preprocess, augment=augment)
    steps = epochs * batches.steps_per_epoch
    optimizer = optim.Adam(classifiers.parameters())
    for step in range(steps):
        batch = batches.batch(step)
        _, features = seen(run, batch.images)
        optimizer.param_groups[0]["lr"] = learning_rate(ScheduleConfig(), RATE, step, steps)
        optimizer.zero_grad()
        for name, given in features.items():
            functional.cross_entropy(classifiers[name.replace(".", "/")](given), batch.labels).backward()
        optimizer.step()
    return classifiers.eval()


@torch.no_grad()
def accuracies(run: TrainedRun, classifiers: nn.ModuleDict, split: str) -> dict[str, float]:
    """Top-1 of the readout, of the layers, and of both, asked about flipped images if the run asks so."""
    totals: dict[str, int] = {}
    chosen = run.data().split(split)
    for batch in iter_batches(chosen, BATCH, run.predictor.preprocess):
        answers: dict[str, Tensor] = {}
        for images in [batch.images, batch.images.flip(-1)][: 1 + run.predictor.flip]:
            answer, features = seen(run, images)
            readout = answer.log_softmax(1)
            of_layers = torch.stack([classifiers[name.replace(".", "/")](given) for name, given in features.items()])
            layers = of_layers.log_softmax(2).mean(0)
            for name, found in (("readout", readout), ("layers", layers), ("vote", (readout + layers) / 2)):
                answers[name] = answers.get(name, torch.zeros(())) + found.softmax(1)
        for name, found in answers.items():
            totals[name] = totals.get(name, 0) + int((found.argmax(1) == batch.labels).sum())
    return {name: right / len(chosen) for name, right in totals.items()}


def main() -> None:
    """Train the classifiers of each run, and print what they add."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    parser.add_argument(
        "--epochs", type=int, default=2, help="passes over the training split; the network is as it was"
    )
    parser.add_argument("--split", default="valid")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    registry = Registry.load()
    for folder in given.runs:
        run = TrainedRun.load(folder, registry)
        found = accuracies(run, learned(run, given.epochs), given.split)
        print(f"{folder.name:44}", *(f"{name} {accuracy:.4f}" for name, accuracy in found.items()), flush=True)


if __name__ == "__main__":
    main()
