"""Published results of the HSIC bottleneck and of pHSIC on MNIST and Fashion-MNIST, with fully connected networks."""

from __future__ import annotations

from typing import Any

from localrules.reproduce.spec import Case, Experiment

_DATA = {"MNIST": "mnist", "Fashion-MNIST": "fashion_mnist", "KMNIST": "kmnist"}
_NO_AUGMENTATION = {"shift": 0, "flip": False}

_PHSIC = "Pogodin & Latham 2020, the table of https://github.com/romanpogodin/plausible-kernelized-bottleneck"
_PHSIC_DIFFERS = "hidden layers decay weights like the readout (1e-6, not 1e-7)"

# Name, preset; then for each data set: published, learning rate of readout and of hidden layers, groups.
_PHSIC_CASES: tuple[tuple[str, str, dict[str, tuple[float, float, float, int]]], ...] = (
    (
        "cosine",
        "paper",
        {"MNIST": (94.9, 5e-3, 0.5, 0), "Fashion-MNIST": (86.3, 5e-3, 1.0, 0), "KMNIST": (80.4, 5e-3, 0.6, 0)},
    ),
    (
        "cosine, grouped",
        "paper-grouped",
        {"MNIST": (95.8, 5e-3, 0.6, 16), "Fashion-MNIST": (88.7, 1e-3, 0.6, 32), "KMNIST": (86.2, 5e-3, 0.4, 16)},
    ),
    (
        "cosine, divisive",
        "paper-divisive",
        {"MNIST": (96.3, 5e-3, 0.4, 16), "Fashion-MNIST": (88.1, 5e-4, 1.0, 32), "KMNIST": (87.2, 5e-4, 0.4, 16)},
    ),
    (
        "Gaussian",
        "paper-gaussian",
        {"MNIST": (94.6, 5e-4, 0.6, 0), "Fashion-MNIST": (86.5, 5e-4, 0.5, 0), "KMNIST": (80.2, 1e-3, 0.6, 0)},
    ),
    (
        "Gaussian, grouped",
        "paper-gaussian-grouped",
        {"MNIST": (98.4, 5e-4, 1.0, 32), "Fashion-MNIST": (88.6, 5e-4, 1.0, 32), "KMNIST": (92.7, 1e-3, 1.0, 32)},
    ),
    (
        "Gaussian, divisive",
        "paper-gaussian-divisive",
        {"MNIST": (98.1, 1e-3, 1.0, 32), "Fashion-MNIST": (88.8, 5e-3, 1.0, 32), "KMNIST": (91.1, 1e-3, 1.0, 32)},
    ),
)
_READOUT_ALONE = [{"name": "readout", "train_layers": "readout"}]

# Of each data set: published, learning rate, and groups where there are some.
_BACKPROP = {"MNIST": (98.6, 0.05), "Fashion-MNIST": (90.2, 5e-3), "KMNIST": (93.4, 0.05)}
_READOUT = {"MNIST": (92.0, 0.05), "Fashion-MNIST": (83.3, 0.05), "KMNIST": (71.2, 0.05)}
_DIVISIVE_READOUT = {"MNIST": (95.4, 0.05, 16), "Fashion-MNIST": (85.7, 0.05, 32), "KMNIST": (78.2, 0.05, 16)}


def phsic() -> Experiment:
    """Three hidden layers of 1024 units by pHSIC: two kernels, grouping, divisive normalisation; and the controls."""
    cases = []
    for data in _DATA:
        for name, preset, results in _PHSIC_CASES:
            published, readout, hidden, groups = results[data]
            rule = {"name": "phsic", "preset": preset, "groups": groups, "weight": hidden / readout}
            cases.append(_phsic_case(data, name, published, readout, {"rule": rule}))
        backprop: dict[str, Any] = {"rule": {"name": "backprop"}}
        cases.append(_phsic_case(data, "backprop", *_BACKPROP[data], backprop))
        cases.append(_phsic_case(data, "readout alone", *_READOUT[data], {**backprop, "phases": _READOUT_ALONE}))
        published, rate, groups = _DIVISIVE_READOUT[data]
        normalised = {"rule": {"name": "phsic", "preset": "paper-divisive", "groups": groups}, "phases": _READOUT_ALONE}
        cases.append(_phsic_case(data, "readout alone, divisive", published, rate, normalised))
    return Experiment(
        cases=tuple(cases),
        notes=(
            "Mean of five runs in the source. Its hidden layers and its readout have learning rates of their own; here "
            "the objective's weight is their ratio, which is the same under SGD.",
            "Not included: the linear kernel, of which the source reports none; backprop with grouping and divisive "
            "normalisation, which is a network that we do not have; CIFAR-10 with this network.",
        ),
    )


def _phsic_case(data: str, name: str, published: float, rate: float, settings: dict[str, Any]) -> Case:
    return Case(
        name=f"{data}, {name}",
        settings={
            "model": {
                "name": "mlp",
                "hidden": [1024, 1024, 1024],
                "norm": False,
                "bias": False,
                "activation": "leaky_relu",
                "dropout": 0.01,
            },
            "data": {"name": _DATA[data], "holdout": 0},
            "normalize": {"mean": [0.5], "std": [0.5]},
            "augment": _NO_AUGMENTATION,
            "epochs": 100.0,
            "batch_size": 256,
            "optimizer": {"name": "sgd", "lr": rate, "momentum": 0.95, "weight_decay": 1e-6},
            "schedule": {"name": "steps", "milestones": [0.5, 0.75, 0.9], "factor": 0.25},
            **settings,
        },
        published=published,
        source=_PHSIC,
        deviations=_PHSIC_DIFFERS,
    )


_HSIC = "Ma, Lewis & Kleijn 2020, the results of https://github.com/choasma/HSIC-bottleneck"
_HSIC_DIFFERS = (
    "pixels are standardised, not 0 to 1; images are shuffled; batch norms have scale and shift; layers learn at "
    "once, not one after the other (`examples/studies/hsic_readout_gap.py` takes these differences one by one)"
)
_UNFORMATTED = (
    f"Adam at 0.001, and not SGD whose momentum is lost at every step; {_HSIC_DIFFERS}; a linear readout on the ten "
    "units of the last layer, learned beside it, and not the best assignment of these units to classes"
)

# An input layer, five more, and a last one of another width.
_WIDE, _MIDDLE, _NARROW = (*(1024,) * 6, 10), (*(256,) * 6, 128), (*(128,) * 6, 64)


def hsic() -> Experiment:
    """Seven fully connected layers by normalised HSIC: unformatted, and with a readout trained behind them."""
    unformatted = [
        _hsic_case("MNIST", "unformatted", 96.89, _WIDE, 256, {"width": 6.0, "beta": 200.0}),
        _hsic_case("Fashion-MNIST", "unformatted", 86.48, _WIDE, 256, {"width": 6.0, "beta": 1000.0}),
    ]
    narrow, middle = {"beta": 50.0}, {"beta": 50.0, "width": 5.0}
    widths = [
        _hsic_case("MNIST", f"readout, width {width:g}", accuracy, _NARROW, 512, {**narrow, "width": width}, (5, 0.004))
        for width, accuracy in ((1.0, 69.64), (5.0, 93.55), (10.0, 93.21))
    ]
    lengths = [
        _hsic_case("MNIST", f"readout, epochs {epochs}", accuracy, _MIDDLE, 256, middle, (epochs, 0.005))
        for epochs, accuracy in ((1, 88.02), (5, 94.28), (10, 95.51))
    ]
    return Experiment(
        cases=(*unformatted, *widths, *lengths),
        notes=(
            "One run each in the source, which gives curves; these are their last values.",
            "An unformatted network has no readout: its ten last units are assigned to classes by trying which "
            "assignment is right most often. We have no such prediction; the nearest is a readout on these units.",
            "Not included: the combination of networks of several widths; the source's own convolutional and residual "
            "networks; CIFAR-10.",
        ),
    )


def _hsic_case(
    data: str,
    name: str,
    published: float,
    hidden: tuple[int, ...],
    batch_size: int,
    rule: dict[str, float],
    formatted: tuple[int, float] | None = None,
) -> Case:
    """A case: 5 epochs of HSIC and readout together, or epochs of HSIC and then 5 of the readout, at a rate of its own.

    In the latter the source's hidden layers learn at 0.0001 by SGD whose optimizer is made anew at every step, so that
    it has no momentum.
    """
    epochs, rate = formatted or (0, 0.0)
    after = 5
    own: dict[str, Any] = {"optimizer": {"name": "adam", "lr": 1e-3}, "phases": "joint"}
    if formatted:
        own["optimizer"] = {
            "name": "sgd",
            "lr": 1e-4,
            "momentum": 0.0,
            "weight_decay": 1e-3,
            "lr_scale": {"readout": rate / 1e-4},
        }
        own["phases"] = [
            {"name": "hidden", "train_layers": "hidden", "fraction": epochs},
            {"name": "readout", "train_layers": "readout", "fraction": after},
        ]
    return Case(
        name=f"{data}, {name}",
        settings={
            "rule": {"name": "hsic-normalized", "preset": "paper", **rule},
            "model": {"name": "mlp", "hidden": list(hidden)},
            "data": {"name": _DATA[data]},
            "augment": _NO_AUGMENTATION,
            "epochs": float(after + epochs),
            "batch_size": batch_size,
            "schedule": {"name": "constant"},
            **own,
        },
        published=published,
        source=_HSIC,
        deviations=_HSIC_DIFFERS if formatted else _UNFORMATTED,
    )
