"""Train a module of your own, in a loop of your own, by a local rule.

    python examples/wrap_your_module.py

Nothing in the network knows of layers. ``Learner`` reads its graph, cuts it behind every weight-bearing operation, and
gives each of them the rule's objective and the last one cross-entropy. To have a run folder, resume and trackers for
such a network, put it into a plugin file instead: docs/tutorial.md, section 7.
"""

from __future__ import annotations

import torch
from torch import nn

from localrules import Learner
from localrules.data.batches import Batches, iter_batches
from localrules_fer.faces.dataset import Faces


def your_network() -> nn.Module:
    """Any module that ends in logits."""
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 3, stride=2, padding=1), nn.BatchNorm2d(16), nn.ReLU()),
        *(nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.BatchNorm2d(32), nn.ReLU()),
        *(nn.Conv2d(32, 64, 3, stride=2, padding=1), nn.BatchNorm2d(64), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(576, 7)),
    )


def main(steps: int = 300, images: int = 4900) -> float:
    """Train on synthetic faces.

    Args:
        steps: Batches to learn from.
        images: Faces to train on.

    Returns:
        The accuracy on a seventh as many faces of other people.
    """
    torch.manual_seed(0)
    data = Faces(Faces.Config(train=images, valid=images // 7, test=7)).load()
    batches = Batches(data.split("train"), batch_size=98, seed=0)

    learner = Learner(your_network(), "hsic", example=torch.zeros(2, *data.shape), num_classes=len(data.classes))
    for step in range(steps):
        batch = batches.batch(step)
        report = learner.step(batch.images, batch.labels)
        if step % 50 == 0:
            print(step, {name: round(float(value), 3) for name, value in report.objectives.items()})

    found = [
        (learner.predict(part.images).argmax(1) == part.labels)
        for part in iter_batches(data.split("valid"), 350, batches.preprocess)
    ]
    return float(torch.cat(found).double().mean())


if __name__ == "__main__":
    print(f"valid accuracy {main():.3f}, guessing {1 / 7:.3f}")
