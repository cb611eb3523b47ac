"""The check that a rule learns at all."""

from __future__ import annotations

from localrules.testing.conformance.digits import digits, learn_digits
from localrules.testing.conformance.subject import NotApplicable, RuleUnderTest

MAPS = "chain of maps"


def learns_digits(subject: RuleUnderTest) -> None:
    """It learns scikit-learn's digits to nine in ten or its ``digits_bound``; through maps, to its ``maps_bound``."""
    try:
        digits()
    except ImportError:
        raise NotApplicable("scikit-learn is not installed: pip install 'localrules[testing]'") from None
    rule = subject.rule
    _reaches(rule.digits_bound, learn_digits(rule), "")
    if subject.networks[0] == "perceptron" and not subject.incompatibility(
        MAPS
    ):  # others have learnt through maps already
        bound = rule.digits_bound if rule.maps_bound is None else rule.maps_bound
        _reaches(bound, learn_digits(rule, MAPS), f" by a {MAPS}")


def _reaches(bound: float, found: float, by: str) -> None:
    assert found >= bound, f"{found:.3f} of the digits' test pictures are right{by}, and {bound} is wanted"
