"""The cost of the input pipeline beside a training step.

    python examples/studies/pipeline_cost.py                            # resnet20 by backprop, batches of 128
    python examples/studies/pipeline_cost.py --model mlp --rule local-ce --rounds 3

Batches of made-up 32 x 32 colour images are read, normalised, padded by 4, cropped and flipped, as is usual on
CIFAR-10, on one thread. Pipeline and steps alternate, so that other work on the machine slows both; the smallest time
of each counts. The pipeline must take less than 5 % of a resnet20 step.
"""

from __future__ import annotations

import argparse
import time

import torch

from localrules.engine.phases import apply_phase
from localrules.engine.step import train_step
from localrules.registry.registry import Registry
from localrules.testing.conformance.sessions import build_session, toy_dataset

AT_MOST = 0.05
BATCHES = 20  # of the pipeline, for each step


def main() -> int:
    """Print both times and their ratio; exit with 1 where it misses its mark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rule", default="backprop")
    parser.add_argument("--model", default="resnet20")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--samples", type=int, default=10_000, help="images of the made-up data set")
    parser.add_argument("--rounds", type=int, default=5, help="how often both are measured")
    options = parser.parse_args()
    registry = Registry.load()
    session = build_session(
        registry.resolve("rule", options.rule),
        registry.resolve("model", options.model),
        toy_dataset(samples=options.samples, classes=10, shape=(3, 32, 32)),
        batch_size=options.batch_size,
        steps=options.rounds + 1,
        threads=1,
        augment={"flip": True, "shift": 4, "padding": "black"},
    )
    torch.set_num_threads(1)
    phase = session.phases[0]
    apply_phase(phase, session.network, session.trainable)
    train_step(session, phase, 0)  # the first one allocates
    pipeline, steps = [], []
    for number in range(options.rounds):
        start = time.perf_counter()
        for place in range(BATCHES):
            session.batches.batch(place)
        middle = time.perf_counter()
        train_step(session, phase, number + 1)
        pipeline.append((middle - start) / BATCHES)
        steps.append(time.perf_counter() - middle)
    cost, step = min(pipeline), min(steps)
    print(f"batch {1e3 * cost:.2f} ms, step {1e3 * step:.1f} ms with it, {options.model} by {options.rule}")
    print(f"the pipeline is {cost / step:.1%} of a step (at most {AT_MOST:.0%})")
    return int(cost / step > AT_MOST)


if __name__ == "__main__":
    raise SystemExit(main())
