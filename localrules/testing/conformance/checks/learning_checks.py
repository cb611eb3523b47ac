"""The check that a rule learns at all."""

from __future__ import annotations

from localrules.testing.conformance.digits import digits, learn_digits
from localrules.testing.conformance.subject import NotApplicable, Place, RuleUnderTest

MAPS = "chain of maps"


def learns_digits(subject: RuleUnderTest) -> None:
    """It learns scikit-learn's digits to an accuracy of 0.9, or its bound, also through feature maps."""
    try:
        digits()
    except ImportError:
        raise NotApplicable("scikit-learn is not installed: pip install 'localrules[testing]'") from None
    bounds = subject.bounds
    _reaches(bounds.digits, learn_digits(subject.rule), subject.networks[0])
    # A rule that cannot train the fully connected network has learned through feature maps already.
    if subject.networks[0] == "perceptron" and not subject.incompatibility(Place(MAPS)):
        _reaches(bounds.digits if bounds.maps is None else bounds.maps, learn_digits(subject.rule, MAPS), MAPS)


def _reaches(bound: float, accuracy: float, network: str) -> None:
    assert accuracy >= bound, f"accuracy {accuracy:.3f} on the digits' test split by a {network}, below {bound}"
