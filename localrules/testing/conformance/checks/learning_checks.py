"""Checks that a rule learns, with all that it brings."""

from __future__ import annotations

from functools import cache

import torch

from localrules.engine.step import train_steps
from localrules.testing.conformance.digits import digits, learn_digits
from localrules.testing.conformance.subject import NotApplicable, Place, RuleClass, RuleUnderTest, abbreviate

MAPS = "chain of maps"


def auxiliary_parameters_learn(subject: RuleUnderTest) -> None:
    """Every trainable parameter of auxiliary modules moves within a few steps; what is fixed is a buffer."""
    for place in subject.distinct_places:
        # Decay would move parameters that learn nothing.
        session = subject.session(place, optimizer={"weight_decay": 0.0})
        named = {name: each for name, each in session.rule.named_parameters() if each.requires_grad}
        before = {name: each.detach().clone() for name, each in named.items()}
        train_steps(session)
        still = [name for name, each in named.items() if torch.equal(each, before[name])]
        assert not still, (
            f"on {place}, in {session.total_steps} steps these did not move: {abbreviate(still)}; "
            "what is not to learn is a buffer (register_buffer), or has requires_grad=False"
        )


def learns_digits(subject: RuleUnderTest) -> None:
    """It learns scikit-learn's digits to an accuracy of 0.9, or its bound, also through feature maps."""
    try:
        digits()
    except ImportError:
        raise NotApplicable("scikit-learn is not installed: pip install 'localrules[testing]'") from None
    bounds = subject.bounds
    _reaches(bounds.digits, _accuracy(subject.rule), subject.networks[0])
    # A rule that cannot train the fully connected network has learned through feature maps already.
    if subject.networks[0] == "perceptron" and not subject.incompatibility(Place(MAPS)):
        _reaches(bounds.digits if bounds.maps is None else bounds.maps, _accuracy(subject.rule, MAPS), MAPS)


@cache
def _accuracy(rule: RuleClass, network: str | None = None) -> float:
    """That of a training, which is always the same, so once is enough."""
    return learn_digits(rule, network)


def _reaches(bound: float, accuracy: float, network: str) -> None:
    assert accuracy >= bound, f"accuracy {accuracy:.3f} on the digits' test split by a {network}, below {bound}"
