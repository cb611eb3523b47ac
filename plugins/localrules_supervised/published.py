"""Published results of local losses on MNIST and Fashion-MNIST, with fully connected networks."""

from __future__ import annotations

from typing import Any

from localrules.reproduce.spec import Case, Experiment

_SOURCE = "Nøkland & Eidnes 2019, table of https://github.com/anokland/local-loss (test error)"
_DIFFERS = "none that we know of"

# Data set: augmentation, dropout, epochs, and test errors of the four rules in percent.
_CASES: tuple[tuple[str, str, dict[str, Any], float, float, tuple[float, ...]], ...] = (
    ("MNIST", "mnist", {"shift": 2, "padding": "black", "flip": False}, 0.1, 100.0, (0.75, 0.68, 0.80, 0.62)),
    (
        "Fashion-MNIST",
        "fashion_mnist",
        {"shift": 2, "padding": "black", "flip": True},
        0.025,
        200.0,
        (8.37, 8.60, 9.70, 8.54),
    ),
)
_RULES = {"backprop": "relu", "pred": "relu", "sim": "leaky_relu", "predsim": "leaky_relu"}  # with their activations


def local_losses() -> Experiment:
    """Three layers of 1024 units trained by pred, sim and predsim, and the control."""
    cases = []
    for title, data, augment, dropout, epochs, errors in _CASES:
        for (rule, activation), error in zip(_RULES.items(), errors, strict=True):
            named: dict[str, Any] = {"name": rule}
            if rule in ("sim", "predsim"):
                named["preset"] = "paper"
            cases.append(
                Case(
                    name=f"{title}, {rule}",
                    settings={
                        "rule": named,
                        "model": {
                            "name": "mlp",
                            "hidden": [1024, 1024, 1024],
                            "activation": activation,
                            "dropout": dropout,
                        },
                        "data": {"name": data},
                        "augment": augment,
                        "epochs": epochs,
                        "batch_size": 128,
                        "optimizer": {"name": "adam", "lr": 5e-4},
                        "schedule": {"name": "steps", "milestones": [0.5, 0.75, 0.89, 0.94], "factor": 0.25},
                    },
                    published=round(100 - error, 2),
                    source=_SOURCE,
                    deviations=_DIFFERS,
                )
            )
    return Experiment(
        cases=tuple(cases),
        notes=(
            "One run each in the source. Not included: vgg8b and vgg11b, whose training takes days on a processor; "
            "CIFAR, SVHN, STL-10 and Kuzushiji-MNIST; the biologically plausible variants.",
        ),
    )
