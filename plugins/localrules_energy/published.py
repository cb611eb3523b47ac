"""Published results of predictive coding on MNIST, with a small convolutional network."""

from __future__ import annotations

from localrules.reproduce.spec import Case, Experiment


def predictive_coding() -> Experiment:
    """Two epochs with fixed and with strict predictions, beside back-propagation."""
    rules = {
        "back-propagation": {"name": "backprop"},
        "fixed prediction": {"name": "predictive-coding", "iterations": 20, "rate": 0.1},
        "strict": {"name": "predictive-coding", "mode": "strict", "iterations": 20, "rate": 0.1},
    }
    return Experiment(
        cases=tuple(
            Case(
                name=f"MNIST, {name}",
                settings={
                    "rule": rule,
                    "model": {"name": "lenet"},
                    "data": {"name": "mnist"},
                    "augment": {"shift": 0, "flip": False},
                    "epochs": 2.0,
                    "batch_size": 300,
                    "optimizer": {"name": "adam", "lr": 2e-3},
                    "schedule": {"name": "constant"},
                },
                published=None,
                source=(
                    "Settings of Figures3and4MNIST.ipynb in "
                    "https://github.com/RobertRosenbaum/PredictiveCodingVsBackProp, which shows curves"
                ),
                deviations="lenet, and not convolutions of 10 and 5 channels with layers of 50 and 30 units; "
                "standardised images; the published code's last move of the values does not count, and in the strict "
                "mode of the notebook (2021) weights learn at the values of the first forward pass",
            )
            for name, rule in rules.items()
        ),
        notes=(
            "No published number is given here: Rosenbaum 2022 (https://arxiv.org/abs/2106.13082) shows losses and "
            "accuracies as curves, and the pages of pcx, pclib and pcn-torch give none of MNIST that we found.",
        ),
    )
