"""The check that a rule learns at all."""

from __future__ import annotations

from functools import cache

from localrules.testing.conformance.digits import digits, learn_digits
from localrules.testing.conformance.subject import NotApplicable, Place, RuleClass, RuleUnderTest

MAPS = "chain of maps"


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
