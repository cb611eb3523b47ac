"""The work of each layer of a network in a training step, by back-propagation and by a local rule.

    python examples/studies/measure_layers.py --model resnet110 --side 32 --option grid=1 --out layers-resnet110.csv
    python examples/studies/measure_layers.py --model vit_small --side 224 --classes 1000 --batch 4 --option grid=1 \\
        --out layers-vit_small.csv

A line for each layer: what it reads, its parameters, the elements of its output, and for its forward pass, its backward
pass, its optimizer and its step by the rule (all of these and the objective in one)

- FLOPs of convolutions and products of matrices,
- bytes that operations read and write, each tensor whole, in float32,
- the number of operations,
- seconds of this CPU with one thread, without those that other processes take, the smallest of several,
- bytes of the tensors that are kept for the backward pass.

Counts are linear in the batch, and are found from two batches: what is there for any batch, such as the optimizer's
traffic, stands in columns that end in ``_fixed``, all else is for a sample. Seconds are those of the larger batch.
``simulate_scaling.py`` reads the file.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from localrules.benchmark.measure import Traffic
from localrules.core.interception import Forward, intercept_layers, tensor_leaves
from localrules.core.layer import Layer
from localrules.engine.phases import apply_phase
from localrules.engine.pipeline.networks import PartialNetwork
from localrules.engine.session import Session
from localrules.engine.step import train_step
from localrules.registry.registry import Registry
from localrules.testing.conformance.sessions import build_session, toy_dataset

PARTS = ("forward", "backward", "optimizer", "local")
COUNTED = ("flops", "bytes", "operations", "kept")
Counts = dict[str, dict[str, float]]  # by layer, then by "part_what"


@contextmanager
def counting(found: dict[str, float], part: str, weights: set[int]) -> Iterator[None]:
    """Add the work of a part of a step to what was found before."""
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    with FlopCounterMode(display=False) as flops, Traffic() as traffic, hooks:
        yield
    work = (flops.get_total_flops(), traffic.bytes, traffic.operations, sum(kept.values()))
    found.update({f"{part}_{what}": value for what, value in zip(COUNTED, work, strict=True)})


@contextmanager
def timing(found: dict[str, float], part: str, weights: set[int]) -> Iterator[None]:
    """Note the seconds of a part of a step, if they are the fewest so far."""
    began = time.process_time()
    yield
    name = f"{part}_seconds"
    found[name] = min(time.process_time() - began, found.get(name, float("inf")))


Noting = Callable[[dict[str, float], str, set[int]], Any]


class NotedNetwork(PartialNetwork):
    """The whole network, of which each layer's step by a rule is noted.

    Args:
        session: The run.
        noting: Notes a part.
        found: What is noted, by layer.
    """

    def __init__(self, session: Session, noting: Noting, found: Counts) -> None:
        super().__init__(session.network, session.rule, session.network.layers)
        self._noting, self._found = noting, found
        self._weights = storages(session)

    def _visit(self, layer: Layer, forward: Forward, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        with self._noting(self._found[layer.name], "local", self._weights):
            return forward(*args, **kwargs)


def backprop_step(session: Session, noting: Noting, found: Counts) -> None:
    """A forward and a backward pass of each layer by itself, with gradients for what it reads and its optimizer."""
    weights = storages(session)

    def visit(layer: Layer, forward: Forward, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        args = tuple(each.detach() if isinstance(each, Tensor) else each for each in args)
        for tensor in tensor_leaves((args, kwargs)):
            tensor.requires_grad_(bool(layer.input_layers) and tensor.is_floating_point())
        with noting(found[layer.name], "forward", weights):
            output = forward(*args, **kwargs)
        roots = [tensor for tensor in tensor_leaves(output) if tensor.requires_grad]
        gradients = [torch.ones_like(root) for root in roots]
        with noting(found[layer.name], "backward", weights):
            torch.autograd.backward(roots, gradients)
        with noting(found[layer.name], "optimizer", weights):
            session.optimizers.step(layer.name)
        found[layer.name]["elements"] = sum(tensor.numel() for tensor in tensor_leaves(output))
        return output

    with intercept_layers(session.network.layers, visit):
        session.network(session.batches.batch(0).images)


def storages(session: Session) -> set[int]:
    """The memory of the parameters, which a graph does not keep a copy of."""
    return {each.untyped_storage().data_ptr() for each in (*session.network.parameters(), *session.rule.parameters())}


def measure(
    model: str, side: int, rule: str, options: dict[str, int], batch: int, classes: int, repeats: int
) -> list[dict[str, Any]]:
    """A row for each layer of a network; see the module."""
    registry = Registry.load()
    found: list[Counts] = []
    for size in (batch, 2 * batch):
        data = toy_dataset(2 * batch, classes, (3, side, side))
        noted: Counts = {}
        for name in ("backprop", rule):
            session = build_session(
                registry.resolve("rule", name),
                registry.resolve("model", model),
                data,
                rule_options=options if name == rule else {},
                batch_size=size,
                steps=repeats + 2,
                granularity="block",
                threads=1,
            )
            torch.set_num_threads(1)
            apply_phase(session.phases[0], session.network, session.trainable)
            for layer in session.network.layers:
                noted.setdefault(layer.name, {})
            for step in range(repeats + 2):  # the first has the optimizer make its state
                noting = counting if step == 1 else timing
                if name == "backprop":
                    backprop_step(session, noting, noted)
                else:
                    train_step(session, session.phases[0], step, NotedNetwork(session, noting, noted))
        found.append(noted)
    return [row(session, layer, *(noted[layer.name] for noted in found), batch) for layer in session.network.layers]


def row(session: Session, layer: Layer, small: dict[str, float], large: dict[str, float], batch: int) -> dict[str, Any]:
    """The line of a layer, from what was found with a batch and with one twice as large."""
    own = sum(each.numel() for each in layer.parameters())
    auxiliary = sum(each.numel() for each in session.rule.parameters_for(layer))
    line: dict[str, Any] = {
        "layer": layer.name,
        "reads": " ".join(layer.input_layers),
        "parameters": own,
        "auxiliary": auxiliary,
        "elements": round(large["elements"] / (2 * batch)),
    }
    for part in PARTS:
        for what in COUNTED:
            one, two = small[f"{part}_{what}"], large[f"{part}_{what}"]
            line[f"{part}_{what}"] = round((two - one) / batch)
            line[f"{part}_{what}_fixed"] = round(2 * one - two)
        line[f"{part}_seconds"] = f"{large[f'{part}_seconds']:.6f}"
    return line


def main() -> None:
    """Measure a network, and write its file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--side", type=int, required=True, help="of the images, in pixels")
    parser.add_argument("--rule", default="local-ce")
    parser.add_argument("--option", action="append", default=[], metavar="NAME=NUMBER", help="of the rule")
    parser.add_argument("--batch", type=int, default=8, help="the smaller batch")
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=5, help="timed steps")
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    options = {name: int(number) for name, _, number in (word.partition("=") for word in asked.option)}
    rows = measure(asked.model, asked.side, asked.rule, options, asked.batch, asked.classes, asked.repeats)
    with asked.out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    step = sum(float(each["forward_seconds"]) + float(each["backward_seconds"]) for each in rows)
    print(f"{len(rows)} layers; back-propagation {step:.3f} s for {2 * asked.batch} images on one thread")


if __name__ == "__main__":
    main()
