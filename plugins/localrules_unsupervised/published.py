"""Published results of SoftHebb on MNIST, with a fully connected network."""

from __future__ import annotations

from localrules.reproduce.spec import Case, Experiment


def softhebb() -> Experiment:
    """2000 units trained without labels for one epoch, then a linear readout for ten."""
    return Experiment(
        cases=(
            Case(
                name="MNIST, 2000 units",
                settings={
                    "rule": {"name": "softhebb"},
                    "model": {"name": "mlp", "hidden": [2000]},
                    "data": {"name": "mnist"},
                    "augment": {"shift": 0, "flip": False},
                    "epochs": 11.0,
                    "batch_size": 32,
                    "optimizer": {"name": "sgd", "lr": 0.045},
                    "schedule": {"name": "constant"},
                    "phases": [
                        {"name": "hidden", "train_layers": "hidden", "fraction": 1},
                        {"name": "readout", "train_layers": "readout", "fraction": 10},
                    ],
                },
                published=None,
                source=(
                    "Preset 2SoftMlpMNIST of https://github.com/NeuromorphicComputing/SoftHebb, trained as its README "
                    "says for appendix B.3, which gives no result"
                ),
                deviations=(
                    "our form of the rule, relative and centred, on weights that start as PyTorch draws them, not at a "
                    "length of 35; batch norm and relu in place of a softmax after the units; a constant learning rate"
                ),
            ),
        ),
        notes=(
            "No published number is given here: we found none for this network. The 99.4 % on MNIST in the abstract of "
            "Journé et al. 2023 (https://arxiv.org/abs/2209.11883) belong to convolutions of unknown sizes.",
        ),
    )
