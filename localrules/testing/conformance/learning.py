"""The check that a rule learns at all."""

from __future__ import annotations

from localrules.testing.digits import digits, learn_digits
from localrules.testing.subject import Subject, Unfit


def learns_digits(subject: Subject) -> None:
    """It learns scikit-learn's digits, in seconds, to nine in ten or to the ``digits_bound`` that the rule declares."""
    try:
        digits()
    except ImportError:
        raise Unfit("scikit-learn is not installed: pip install 'localrules[testing]'") from None
    found = learn_digits(subject.rule)
    bound = subject.rule.digits_bound
    assert found >= bound, f"{found:.3f} of the digits' test pictures are right, and {bound} is wanted"
