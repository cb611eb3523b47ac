"""Published results of forward-forward and PEPITA on MNIST, with fully connected networks."""

from __future__ import annotations

from typing import Any

from localrules.reproduce.spec import Case, Experiment

_DATA: dict[str, Any] = {"data": {"name": "mnist"}, "augment": {"shift": 0, "flip": False}}


def forward_forward() -> Experiment:
    """Three layers of 1000 units with peer normalisation; two of 500 with a threshold on the mean."""
    return Experiment(
        cases=(
            Case(
                name="MNIST, peer normalisation",
                settings={
                    **_DATA,
                    "rule": {"name": "forward-forward", "preset": "paper"},
                    "model": {"name": "mlp", "hidden": [1000, 1000, 1000], "norm": False},
                    "epochs": 100.0,
                    "batch_size": 100,
                    "optimizer": {"name": "sgd", "lr": 1e-3, "momentum": 0.9, "weight_decay": 3e-4},
                    "schedule": {"name": "cosine"},
                },
                published=98.55,
                source="Table of https://github.com/loeweX/Forward-Forward (1.45 % error)",
                deviations=(
                    "predicts by trying every label, where the published number is of a linear classifier on layers "
                    "2 and 3 with a neutral label; relu has its own gradient, not a straight-through one; the learning "
                    "rate falls along a cosine, not linearly in the second half; PyTorch's initial weights; "
                    "standardised images"
                ),
            ),
            Case(
                name="MNIST, threshold on the mean",
                settings={
                    **_DATA,
                    "rule": {"name": "forward-forward", "preset": "mean"},
                    "model": {"name": "mlp", "hidden": [500, 500], "norm": False},
                    "steps": 1000,
                    "batch_size": 1000,
                    "optimizer": {"name": "adam", "lr": 0.03},
                    "schedule": {"name": "constant"},
                },
                published=93.16,
                source="https://github.com/mpezeshki/pytorch_forward_forward (6.84 % error)",
                deviations=(
                    "both layers are trained together in 1000 steps of 1000 images with new wrong labels each, where "
                    "the source gives each layer 1000 steps of the same 50,000, whose wrong labels are drawn once, a "
                    "tenth of them right; standardised images, a label of 3 stds"
                ),
            ),
        ),
        notes=("One run each in the sources.",),
    )


def pepita() -> Experiment:
    """One layer of 1024 units, trained by the command of the authors' code."""
    return Experiment(
        cases=tuple(
            Case(
                name=f"{title}, one layer",
                settings={
                    "rule": {"name": "pepita"},
                    "model": {"name": "mlp", "hidden": [1024], "norm": False, "bias": False, "dropout": 0.1},
                    "data": {"name": data},
                    "normalize": {"mean": [0.0], "std": [1.0]},
                    "augment": {"shift": 0, "flip": False},
                    "epochs": 100.0,
                    "batch_size": 64,
                    "optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9},
                    "schedule": {"name": "steps", "milestones": [0.6], "factor": 0.1},
                },
                published=None,
                source="The command in the README of https://github.com/GiorgiaD/PEPITA, which gives no result",
                deviations="PyTorch's initial weights, not He's",
            )
            for title, data in (("MNIST", "mnist"), ("Fashion-MNIST", "fashion_mnist"))
        ),
        notes=(
            "No published number is given here: the code's pages have none, and the tables of "
            "Dellaferrera & Kreiman 2022 (https://arxiv.org/abs/2201.11665) were not accessible to us.",
        ),
    )
