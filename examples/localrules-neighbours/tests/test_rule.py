"""neighbours keeps what every rule promises: localrules' conformance kit."""

from localrules.testing import parametrize_with_checks


@parametrize_with_checks(["neighbours"])
def test_the_rule_keeps_its_promises(check):
    check()
