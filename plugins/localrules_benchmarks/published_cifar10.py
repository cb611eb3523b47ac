"""Published results of local rules on CIFAR-10, with convolutional networks: for a GPU."""

from __future__ import annotations

from typing import Any

from localrules.reproduce.spec import Case, Experiment

_CIFAR10: dict[str, Any] = {"name": "cifar10", "holdout": 0}  # all 50,000 images train, as in every source
_PAD_CROP_FLIP: dict[str, Any] = {"shift": 4, "padding": "black", "flip": True}
_NO_AUGMENTATION: dict[str, Any] = {"shift": 0, "flip": False}


def published_cifar10() -> Experiment:
    """vgg8b by Nøkland & Eidnes and by pHSIC, ResNets in 16 and 55 parts, and the nearest to three other networks."""
    return Experiment(
        cases=(*_local_losses(), *_phsic(), *_infopro(), *_resnets(), _softhebb(), _deeperforward(), _clapp()),
        notes=(
            "Each case has the published length, batch size, optimizer, schedule, augmentation, dropout and width, as "
            "the paper or its code has them, but for what its differences name. One seed unless `--seeds` asks for "
            "more; the sources of pHSIC and of InfoPro report the mean of five runs.",
            "Values marked second-hand were read in others' notes on the paper, not in the paper.",
            "Only the original files of CIFAR-10 are compared with published values: files of other checksums, such as "
            "a copy as JPEG images, are run, and shown without a verdict.",
            "No published number is given for AugLocal on ResNet-32: we found its commands, and no table that we could "
            "read.",
            "SoftHebb, DeeperForward and CLAPP++ were published on networks that we do not have; the nearest is run, "
            "and not compared.",
            "Not included: CwComp, whose convolutions for each class are a network of their own; pHSIC "
            "by feedback alignment, sign symmetry or layer-wise classification.",
        ),
    )


def _case(name: str, settings: dict[str, Any], accuracy: float | None, source: str, **more: Any) -> Case:
    common = {"data": _CIFAR10, "augment": _PAD_CROP_FLIP, "batch_size": 128}
    return Case(
        name=name,
        settings={**common, **settings},
        published=accuracy,
        source=source,
        seeds=(0,),
        **more,
    )


# --- Nøkland & Eidnes

_LOCAL_LOSSES = "Nøkland & Eidnes 2019, table of https://github.com/anokland/local-loss (test error)"
_LOCAL_LOSSES_DIFFER = "an objective looks at a stage's last convolution after the pooling, not before"
# Rule with options, activation, test error in percent.
_LOCAL_LOSS_CASES: tuple[tuple[dict[str, Any], str, float], ...] = (
    ({"name": "backprop"}, "relu", 5.99),
    ({"name": "pred", "features": 2048}, "relu", 8.40),
    ({"name": "sim", "preset": "paper"}, "leaky_relu", 7.16),
    ({"name": "predsim", "preset": "paper", "features": 2048}, "leaky_relu", 5.58),
)


def _local_losses() -> list[Case]:
    return [
        _case(
            f"vgg8b, {rule['name']}",
            {
                "rule": rule,
                "model": {"name": "vgg8b", "activation": activation, "dropout": 0.2},
                "epochs": 400.0,
                "optimizer": {"name": "adam", "lr": 5e-4},
                "schedule": {"name": "steps", "milestones": [0.5, 0.75, 0.875, 0.9375], "factor": 0.25},
                "normalize": {"mean": [0.424, 0.415, 0.384], "std": [0.283, 0.278, 0.284]},
            },
            round(100 - error, 2),
            _LOCAL_LOSSES,
            deviations="none that we know of" if rule["name"] == "backprop" else _LOCAL_LOSSES_DIFFER,
        )
        for rule, activation, error in _LOCAL_LOSS_CASES
    ]


# --- Pogodin & Latham

_PHSIC = "Pogodin & Latham 2020, table of https://github.com/romanpogodin/plausible-kernelized-bottleneck"
_PHSIC_DROPOUT = "dropout of whole maps, not of their units"
_PHSIC_SGD = ", and not alpha dropout; layers have biases"
_PHSIC_DECAY = "; hidden layers decay weights like the readout (1e-6, not 1e-7)"
_SGD: dict[str, Any] = {"name": "sgd", "momentum": 0.95, "weight_decay": 1e-6}
_ADAMW: dict[str, Any] = {"name": "adamw", "weight_decay": 1e-6}

# Optimizer, width, kernel (none: backprop), groups, power of divisive normalisation, learning rates of hidden layers
# and of the readout, accuracy in percent.
_PHSIC_CASES: tuple[tuple[str, int, str, int, float, float, float, float], ...] = (
    ("sgd", 1, "", 0, 0.0, 5e-3, 5e-3, 91.0),
    ("sgd", 1, "cosine", 32, 0.0, 0.03, 5e-5, 88.8),
    ("sgd", 1, "cosine", 64, 0.2, 0.5, 5e-4, 89.8),
    ("sgd", 1, "gaussian", 64, 0.2, 0.4, 1e-4, 86.2),
    ("sgd", 2, "", 0, 0.0, 6e-3, 6e-3, 91.9),
    ("sgd", 2, "cosine", 64, 0.2, 0.5, 5e-4, 91.3),
    ("adamw", 1, "", 0, 0.0, 5e-3, 5e-3, 94.1),
    ("adamw", 1, "cosine", 32, 0.0, 5e-4, 5e-4, 91.3),
    ("adamw", 1, "cosine", 64, 0.2, 5e-4, 5e-4, 90.1),
    ("adamw", 1, "gaussian", 64, 0.0, 5e-3, 5e-4, 89.9),
    ("adamw", 1, "gaussian", 64, 0.2, 0.01, 5e-4, 89.4),
)


def _phsic() -> list[Case]:
    cases = []
    for optimizer, width, kernel, groups, divisive, hidden, readout, accuracy in _PHSIC_CASES:
        sgd = optimizer == "sgd"
        rule: dict[str, Any] = {"name": "backprop"}
        if kernel:
            rule = {"name": "phsic", "kernel": kernel, "groups": groups, "divisive": divisive}
        milestones = [0.6, 0.7, 0.9, 0.95]
        if sgd and not kernel:
            milestones = [0.2, 0.4, 0.5, 0.55]
        title = f"phsic, {kernel}, {'divisive' if divisive else 'grouped'}" if kernel else "backprop"
        cases.append(
            _case(
                f"vgg8b {width}x, {'SGD' if sgd else 'AdamW'}, {title}",
                {
                    "rule": rule,
                    "model": {
                        "name": "vgg8b",
                        "width": float(width),
                        "activation": "selu" if sgd else "leaky_relu",
                        "norm": not sgd,
                        "dropout": 0.05,
                    },
                    "epochs": 500.0,
                    "optimizer": {
                        **(_SGD if sgd else _ADAMW),
                        "lr": hidden,
                        "lr_scale": {"readout": readout / hidden} if readout != hidden else {},
                    },
                    "schedule": {"name": "steps", "milestones": milestones, "factor": 0.25},
                    "normalize": {"mean": [0.4914, 0.4822, 0.4465], "std": [0.247, 0.243, 0.261]},
                },
                accuracy,
                _PHSIC,
                deviations=_PHSIC_DROPOUT + (_PHSIC_SGD if sgd else "") + (_PHSIC_DECAY if kernel else ""),
            )
        )
    return cases


# --- residual networks, cut between blocks

_NETWORK_DIFFERS = "the learning rate changes at every step, not every epoch; the cosine begins after the warm-up"
_PARTS_DIFFER = "the last block has an objective of its own, where the source trains it with the readout"
_DIFFERS = {
    "backprop": _NETWORK_DIFFERS,
    "dgl": f"{_NETWORK_DIFFERS}; {_PARTS_DIFFER}",
    "infopro": (
        f"{_NETWORK_DIFFERS}; {_PARTS_DIFFER}; heads double the channels at half the size in the last stage too; "
        "images to reconstruct are scaled to 0 ... 1 by the batch's extremes"
    ),
    "auglocal": (
        f"{_NETWORK_DIFFERS}; heads have a convolution where the source has a residual block; the source trains as "
        "many of the last blocks as the first head is deep with the readout, as one part"
    ),
}
# Weights of reconstruction and of the task, in the first and last part.
_INFOPRO_32: dict[str, Any] = {"reconstruct": [5.0, 0.2], "classify": [0.05, 0.5]}
_INFOPRO_110: dict[str, Any] = {"reconstruct": [5.0, 0.5], "classify": [0.0, 1.0]}


def _resnet_case(name: str, model: str, rule: dict[str, Any], epochs: float, error: float | None, source: str) -> Case:
    """SGD at 0.8 with batches of 1024, up to it in ten epochs, then down to 0 along a cosine: the training of InfoPro's
    code, and of AugLocal's after it.
    """
    return _case(
        name,
        {
            "rule": rule,
            "model": {"name": model, "shortcut": "project"},
            "granularity": "block",
            "epochs": epochs,
            "batch_size": 1024,
            "optimizer": {"name": "sgd", "lr": 0.8, "momentum": 0.9, "nesterov": True, "weight_decay": 1e-4},
            "schedule": {"name": "one-cycle", "warmup": 10 / epochs, "start": 0.0125},
            "augment": {**_PAD_CROP_FLIP, "padding": "reflect"},
            "normalize": {
                "mean": [value / 255 for value in (125.3, 123.0, 113.9)],
                "std": [value / 255 for value in (63.0, 62.1, 66.7)],
            },
        },
        None if error is None else round(100 - error, 2),
        source,
        deviations=_DIFFERS[rule["name"]],
    )


def _infopro() -> list[Case]:
    """ResNet-32 in 16 parts, as in the paper of InfoPro."""
    source = (
        "Wang et al. 2021, table 2 (test error), as an image in the README of "
        "https://github.com/blackfeather-wang/InfoPro-Pytorch"
    )
    return [
        _resnet_case(f"ResNet-32, K=16, 160 epochs, {name}", "resnet32", rule, 160.0, error, source)
        for name, rule, error in (
            ("backprop", {"name": "backprop"}, 7.37),
            ("dgl", {"name": "dgl", "preset": "paper"}, 16.21),
            ("infopro, contrast", {"name": "infopro", "task": "contrast", **_INFOPRO_32}, 12.75),
        )
    ]


_AUGLOCAL = "Ma et al. 2024, https://arxiv.org/abs/2402.17318"
_MAN = "Su et al. 2024 (MAN), https://arxiv.org/abs/2407.05623"
_COMMANDS = "settings: run.sh of https://github.com/ChenxiangMA/AugLocal"


def _resnets() -> list[Case]:
    """ResNet-32 in 16 parts and ResNet-110 in 55, trained for longer, as in the paper of AugLocal."""
    man = f"{_MAN}, test error, second-hand; {_COMMANDS}"
    auglocal = f"{_AUGLOCAL}, second-hand; {_COMMANDS}"
    dgl, softmax = {"name": "dgl", "preset": "paper"}, {"name": "infopro", "task": "softmax"}
    return [
        _resnet_case(f"{title}, 400 epochs, {name}", model, rule, 400.0, error, source)
        for title, model, name, rule, error, source in (
            ("ResNet-32, K=16", "resnet32", "backprop", {"name": "backprop"}, 6.37, man),
            ("ResNet-32, K=16", "resnet32", "dgl", dgl, 14.08, man),
            ("ResNet-32, K=16", "resnet32", "infopro, softmax", {**softmax, **_INFOPRO_32}, 12.93, man),
            ("ResNet-32, K=16", "resnet32", "auglocal, depth 5", _auglocal(5), None, f"{_AUGLOCAL}; {_COMMANDS}"),
            ("ResNet-110, K=55", "resnet110", "backprop", {"name": "backprop"}, 5.39, auglocal),
            ("ResNet-110, K=55", "resnet110", "dgl", dgl, 14.45, f"{man}; its backprop has 5.42 %"),
            ("ResNet-110, K=55", "resnet110", "infopro, softmax", {**softmax, **_INFOPRO_110}, 13.05, auglocal),
            ("ResNet-110, K=55", "resnet110", "auglocal, depth 6", _auglocal(6), 6.04, auglocal),
        )
    ]


def _auglocal(depth: int) -> dict[str, Any]:
    return {"name": "auglocal", "depth": depth, "pyramid": 0.5}


# --- networks that we do not have


def _softhebb() -> Case:
    return _case(
        "vgg8b, softhebb",
        {
            "rule": {"name": "softhebb"},
            "model": {"name": "vgg8b", "width": 0.75, "hidden": []},
            "augment": _NO_AUGMENTATION,
            "epochs": 51.0,
            "batch_size": 64,
            "optimizer": {
                "name": "sgd",
                "lr": 0.01,
                "momentum": 0.0,
                "lr_scale": {"stages.0.0": 8.0, "stages.0.1": 0.5},
            },
            "schedule": {"name": "steps", "milestones": [0.2, 0.35, 0.5, 0.6, 0.7, 0.8, 0.9], "factor": 0.5},
            "phases": [
                {"name": "hidden", "train_layers": "hidden", "fraction": 1},
                {"name": "readout", "train_layers": "readout", "fraction": 50},
            ],
        },
        80.3,
        "Journé et al. 2023, abstract (https://arxiv.org/abs/2209.11883); settings: demo.py of "
        "https://github.com/NeuromorphicComputing/SoftHebb",
        published_on={"model": "three convolutions of 96, 384 and 1536 channels"},
        deviations=(
            "six convolutions of 96 to 384 channels, in which the norm follows the convolution and relu stands for "
            "Triangle; our form of the rule, relative and centred; hidden layers learn from batches of 64, not 10, and "
            "their rate falls in the epoch; the readout learns by SGD, not Adam, and without dropout"
        ),
    )


def _deeperforward() -> Case:
    return _case(
        "resnet18, channel-goodness",
        {
            "rule": {"name": "channel-goodness", "preset": "deeperforward"},
            "model": {"name": "resnet18", "shortcut": "pad", "norm": False},
            "augment": _NO_AUGMENTATION,
            "epochs": 100.0,
            "optimizer": {"name": "adam", "lr": 1e-3},
            "schedule": {"name": "cosine"},
        },
        86.22,
        "Sun et al. 2025 (DeeperForward, https://openreview.net/forum?id=kOYnXVQCtA), table in the README of its code",
        published_on={"model": "DeeperForward's residual network of 17 layers"},
        deviations=(
            "17 convolutions of another network; length, batch size, optimizer, learning rate and schedule are ours, "
            "as the README does not give them; no layers are selected for the prediction; standardised images"
        ),
    )


def _clapp() -> Case:
    return _case(
        "vgg8b, clapp++",
        {
            "rule": {"name": "clapp", "preset": "clapp++"},
            "model": {"name": "vgg8b", "hidden": []},
            "epochs": 300.0,
            "optimizer": {"name": "adam", "lr": 2e-4},
            "schedule": {"name": "constant"},
            "phases": [
                {"name": "hidden", "train_layers": "hidden", "fraction": 2},
                {"name": "readout", "train_layers": "readout", "fraction": 1},
            ],
        },
        81.18,
        "CLAPP++ with both of its changes (https://arxiv.org/abs/2601.21683), a linear readout, second-hand",
        published_on={"model": "CLAPP++'s VGG"},
        deviations=(
            "another network; no feedback from the top layer, one of CLAPP++'s two changes, as that is of another "
            "class of locality; length, batch size, optimizer, learning rate, schedule and augmentation are ours, as "
            "we have read only a summary of the paper"
        ),
    )
