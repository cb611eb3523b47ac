"""Every rule of ours keeps what every rule promises."""

from __future__ import annotations

import pytest

from localrules.registry.registry import Registry
from localrules.testing import Check, parametrize_with_checks

pytestmark = pytest.mark.slow

RULES = [item.entry.name for item in Registry.load(allow=[]).entries("rule")]


@parametrize_with_checks(RULES)
def test_a_rule_keeps_its_promises(check: Check) -> None:
    check()
