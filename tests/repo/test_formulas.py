"""Every rule of ours says in one line what it does, and how far what it learns from may come."""

from __future__ import annotations

import pytest

from localrules.core.locality import LOCALITY_LEVELS
from localrules.registry.registry import Registry

REGISTRY = Registry.load()
RULES = [item.entry.name for item in REGISTRY.entries("rule") if item.distribution == "localrules"]


@pytest.mark.parametrize("name", RULES)
def test_a_rule_says_its_formula_and_its_class(name: str) -> None:
    rule = REGISTRY.resolve("rule", name)
    assert 10 <= len(rule.info.formula) <= 160, "a line of plain text"
    assert "\n" not in rule.info.formula
    assert rule.info.locality in LOCALITY_LEVELS
