"""Published results of feedback alignment and related rules on MNIST and Fashion-MNIST, with LeNet."""

from __future__ import annotations

from typing import Any

from localrules.reproduce.spec import Case, Experiment

_SOURCE = "Sanfiz & Akrout 2021, Benchmarks.md of https://github.com/jsalbert/biotorch (errors there)"
_DIFFERS = (
    "the last weights and not the best on the test images; optimizer and schedule ours; PyTorch's initial weights; "
    "images of 28 x 28 padded to 32 x 32, not enlarged to it; relu after the layer of 84 units too"
)
_DFA_DIFFERS = f"{_DIFFERS}; a signal per position of a feature map, not one per channel sent through a random kernel"

# Name, rule; published error on MNIST, on Fashion-MNIST.
_CASES: tuple[tuple[str, dict[str, Any], float, float], ...] = (
    ("BP", {"name": "backprop"}, 0.91, 9.2),
    ("FA", {"name": "fa"}, 1.7, 13.06),
    ("DFA", {"name": "dfa"}, 1.61, 12.81),
    ("uSF", {"name": "sign-symmetry", "kind": "uniform"}, 0.94, 9.69),
    ("brSF", {"name": "sign-symmetry", "kind": "batch-random"}, 0.91, 10.02),
    ("frSF", {"name": "sign-symmetry", "kind": "fixed-random"}, 0.97, 9.61),
)


def feedback() -> Experiment:
    """LeNet by back-propagation, feedback alignment, direct feedback alignment and three kinds of sign symmetry."""
    cases = []
    for name, rule, on_mnist, on_fashion in _CASES:
        cases.append(_case(f"MNIST, {name}", "mnist", rule, on_mnist))
        cases.append(_case(f"Fashion-MNIST, {name}", "fashion_mnist", rule, on_fashion))
    return Experiment(
        cases=tuple(cases),
        notes=(
            "One run each in the source. It publishes the settings of its runs on CIFAR-10 only; the batch size is of "
            "those. Adam at 0.001 and 100 epochs are ours, the same for every case: under SGD feedback alignment and "
            "back-propagation need learning rates that lie far apart.",
            "Not included: LeNet and ResNets on CIFAR-10, ImageNet.",
        ),
    )


def _case(name: str, data: str, rule: dict[str, Any], error: float) -> Case:
    return Case(
        name=name,
        settings={
            "rule": rule,
            "model": {"name": "lenet"},
            "data": {"name": data},
            "augment": {"shift": 0, "flip": False},
            "epochs": 100.0,
            "batch_size": 128,
            "optimizer": {"name": "adam", "lr": 1e-3},
            "schedule": {"name": "cosine"},
        },
        published=round(100 - error, 2),
        source=_SOURCE,
        deviations=_DFA_DIFFERS if rule["name"] == "dfa" else _DIFFERS,
    )
