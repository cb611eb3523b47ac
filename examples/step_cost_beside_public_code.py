"""Cost of a step beside that of installable packages: biotorch's feedback alignment, fflib's forward-forward.

Three layers of 1024 units without batch norm, 28 x 28 images, ten classes, Adam. All take turns in one process; what
is printed are medians of the ratios within rounds, with 95 % intervals, to a plain loop of back-propagation and to each
other.

    pip install --no-deps biotorch==0.0.16 fflib==0.3.0
    python examples/step_cost_beside_public_code.py
"""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from itertools import pairwise
from typing import Any

import numpy
import torch
from torch import Tensor, nn

from localrules.benchmark.candidates import Candidate, engine_step, noise_dataset, plain_pytorch_step
from localrules.benchmark.measure import time_interleaved
from localrules.data.batches import Batches
from localrules.data.dataset import Dataset
from localrules.engine.resolve import resolve_run
from localrules.engine.resolved_run import ResolvedRun
from localrules.registry.registry import Registry
from localrules.utils.bootstrap import ratio_bootstrap

CLASSES, SHAPE, UNITS = 10, (1, 28, 28), (784, 1024, 1024, 1024)
PLAIN, PAIRS = "backprop, by hand", {"fa": "biotorch", "forward-forward": "fflib"}


def biotorch_layers(model: nn.Module) -> nn.Module:
    """The model with biotorch's matrices in place of torch's, and the same weights forwards."""
    from biotorch.layers.fa import Linear

    for name, module in list(model.named_modules()):
        if type(module) is nn.Linear:
            other = Linear(module.in_features, module.out_features, bias=module.bias is not None)
            other.load_state_dict(module.state_dict(), strict=False)
            parent, _, last = name.rpartition(".")
            setattr(model.get_submodule(parent), last, other)
    return model


def fflib_network(data: Dataset, batch_size: int) -> Candidate:
    """fflib's own training step, on images with the label in the first pixels."""
    from fflib.nn.ff_linear import FFLinear
    from fflib.nn.ff_net import FFNet

    network = FFNet([FFLinear(inputs, units, loss_threshold=2.0, lr=1e-3) for inputs, units in pairwise(UNITS)], None)
    batches = Batches(data.split("train"), batch_size, 0)

    def labelled(images: Tensor, labels: Tensor) -> Tensor:
        images = images.flatten(1).clone()
        images[:, :CLASSES] = nn.functional.one_hot(labels, CLASSES)
        return images

    def step(number: int) -> None:
        batch = batches.batch(number)
        wrong = (batch.labels + torch.randint(1, CLASSES, batch.labels.shape)) % CLASSES
        network.run_train_combined(labelled(batch.images, batch.labels), labelled(batch.images, wrong))

    return Candidate("fflib: forward-forward", step, torch.device("cpu"))


def main() -> None:
    """Time all that are installed, and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    registry, data = Registry.load(), noise_dataset(SHAPE, CLASSES, 1024)

    def resolved(rule: str) -> ResolvedRun:
        asked: dict[str, Any] = {
            "rule": {"name": rule},
            "model": {"name": "mlp", "hidden": list(UNITS[1:]), "norm": False},
            "data": {"name": "faces"},
            "augment": {"shift": 0, "flip": False},
            "optimizer": {"name": "adam", "lr": 1e-3},
            "steps": 1000,
            "batch_size": given.batch_size,
            "threads": given.threads,
        }
        return resolve_run(asked, registry)

    candidates = [plain_pytorch_step(resolved("backprop"), data, PLAIN)]
    candidates += [engine_step(f"ours: {rule}", resolved(rule), data) for rule in ("backprop", *PAIRS)]
    if find_spec("biotorch"):
        candidates.append(plain_pytorch_step(resolved("backprop"), data, "biotorch: fa", biotorch_layers))
    if find_spec("fflib"):
        candidates.append(fflib_network(data, given.batch_size))
    seconds = time_interleaved(candidates, given.rounds)
    print(f"{'step':24} {'ms':>6}  to a plain loop of backprop")
    for name, times in seconds.items():
        print(f"{name:24} {1000 * numpy.median(times):6.1f}  {_words(times, seconds[PLAIN])}")
    for rule, package in PAIRS.items():
        if (theirs := f"{package}: {rule}") in seconds:
            print(f"ours to {package}, {rule}: {_words(seconds[f'ours: {rule}'], seconds[theirs])}")
        else:
            print(f"{package} is not installed: pip install --no-deps {package}")


def _words(candidate: numpy.ndarray, control: numpy.ndarray) -> str:
    found = ratio_bootstrap(candidate, control)
    return f"{found.median:.2f} ({found.low:.2f} to {found.high:.2f})"


if __name__ == "__main__":
    main()
