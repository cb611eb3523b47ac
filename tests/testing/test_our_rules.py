"""Every rule of ours conforms."""

from __future__ import annotations

import pytest
from helpers.our_rules import BOUNDS, EXPECTED_FAILURES

from localrules.registry.registry import Registry
from localrules.testing import Check, parametrize_with_checks

pytestmark = pytest.mark.slow

RULES = [item.entry.name for item in Registry.load(allow=[]).entries("rule")]


def test_exceptions_are_of_rules_that_exist() -> None:
    assert {*BOUNDS, *EXPECTED_FAILURES} <= {*RULES}


@parametrize_with_checks(RULES, expected_failures=EXPECTED_FAILURES, bounds=BOUNDS)
def test_a_rule_conforms(check: Check) -> None:
    check()
