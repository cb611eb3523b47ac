"""Whether a rule learns: scikit-learn's 8 x 8 digits in seconds, as a run would train on them."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch

from localrules.data.dataset import Dataset, Split, fingerprint
from localrules.engine.step import train_steps
from localrules.testing.conformance.subject import RuleClass, RuleUnderTest, kit_network

TEST_SAMPLES = 500  # of 1,797
EPOCHS = 8  # of 20 steps
MAPS_EPOCHS = 5
SETTLING_EPOCHS = 2  # through maps, of a rule that runs a layer dozens of times a step


@cache
def digits(enlarged: int = 1) -> Dataset:
    """The digits as a data set; which of them are for testing is drawn once and for all.

    Args:
        enlarged: Each pixel becomes a square of so many.

    Raises:
        ImportError: scikit-learn is not installed.
    """
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    images = torch.from_numpy(pixels * (255 / 16)).round().to(torch.uint8).view(-1, 1, 8, 8)
    images = images.repeat_interleave(enlarged, 2).repeat_interleave(enlarged, 3)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    samples = {"train": order[TEST_SAMPLES:], "test": order[:TEST_SAMPLES]}
    splits = {name: Split(images[sample], torch.from_numpy(labels)[sample].long()) for name, sample in samples.items()}
    names = tuple(str(digit) for digit in range(10))
    return Dataset(
        "digits", names, splits, "scikit-learn", fingerprint(splits), redistributable=True, flip_preserves_label=False
    )


def learn_digits(rule: RuleClass, network: str | None = None, **settings: Any) -> float:
    """Accuracy on the digits' test split after training on the others, with the rule's defaults for run and model.

    Args:
        rule: The rule's class.
        network: One of ``perceptron``, ``dense maps``, ``chain of maps``: for maps, digits are enlarged. By default the
            fully connected one if the rule can train it, else one of maps.
        settings: Of the run. By default 8 epochs in batches of 64 on the schedule of every run; 5 of a chain of maps,
            or 2 where a step runs layers as often as options say.
    """
    subject = RuleUnderTest(rule)
    network = network or subject.networks[0]
    model, kit = kit_network(network)
    options = dict(kit.digits_options)
    epochs = EPOCHS
    if network == "chain of maps":
        # By itself the chain has no norms.
        options["norm"] = rule.info.model_defaults.get("norm", rule.info.requires.allows_norm)
        epochs = SETTLING_EPOCHS if rule.info.requires.forward_passes is None else MAPS_EPOCHS
    ours = {"batch_size": 64, "schedule": {"name": "one-cycle"}, "steps": None, "epochs": epochs}
    session = subject.run(model, options, digits(kit.digits_scale), {**ours, **settings})
    train_steps(session)
    return session.predictor.scores(session.data.split("test")).top1
