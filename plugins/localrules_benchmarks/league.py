"""The league of all rules on CIFAR-10 and Fashion-MNIST."""

from __future__ import annotations

from localrules.reproduce.league.spec import Ground, League


def league() -> League:
    """Every rule by a small convolutional network on CIFAR-10 and by a fully connected one on Fashion-MNIST."""
    return League(
        grounds=(
            Ground(
                name="cifar10",
                settings={
                    "model": {"name": "vgg8b", "width": 0.125, "hidden": [128]},
                    "data": {"name": "cifar10"},
                    "augment": {"shift": 4, "padding": "black", "flip": True},
                    "batch_size": 128,
                },
                steps=400,
                trial_steps=130,
            ),
            Ground(
                name="fashion_mnist",
                settings={
                    "model": {"name": "mlp", "hidden": [512, 512, 512]},
                    "data": {"name": "fashion_mnist"},
                    "augment": {"shift": 0, "flip": False},
                    "batch_size": 128,
                },
                steps=2_000,
                trial_steps=700,
            ),
        ),
        controls=("backprop", "backprop-checkpointed"),
        notes=(
            "A rule is listed where it stands, whatever its place; one that cannot train the network is listed below "
            "the table with the reason.",
        ),
    )
