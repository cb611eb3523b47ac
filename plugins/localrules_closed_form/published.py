"""Published results of the cascaded forward algorithm on MNIST and Fashion-MNIST."""

from __future__ import annotations

from typing import Any

from localrules.reproduce.spec import Case, Experiment

_MODELS: dict[str, dict[str, Any]] = {
    "lenet": {"name": "lenet"},
    "vgg8b at a quarter of its width": {"name": "vgg8b", "width": 0.25},
}
_CASES = (("MNIST", "mnist", "lenet"), ("Fashion-MNIST", "fashion_mnist", "lenet"), ("MNIST", "mnist", [*_MODELS][1]))


def cafo() -> Experiment:
    """Least squares on random convolutions, in one pass over the images."""
    return Experiment(
        cases=tuple(
            Case(
                name=f"{title}, {model}",
                settings={
                    "rule": {"name": "cafo"},
                    "model": _MODELS[model],
                    "data": {"name": data},
                    "augment": {"shift": 0, "flip": False},
                    "epochs": 1.0,
                    "batch_size": 128,
                },
                published=None,
                source="Least squares, as in https://github.com/Graph-ZKY/CaFo, which gives no result on MNIST",
                deviations="networks of ours; averaged feature maps; a ridge and a bias; standardised images",
            )
            for title, data, model in _CASES
        ),
        notes=(
            "No published number is given here, since none is of a network that we have. The nearest that we found, "
            "three blocks of 32, 128 and 512 channels with predictors trained by cross-entropy: 98.88 % on MNIST, "
            "91.09 % on Fashion-MNIST, means of five runs (Phase4_report.md in the history of "
            "https://github.com/Przemyslaw11/BeyondBackpropagation).",
        ),
    )
