"""Every rule of ours conforms, and the documentation says so."""

from __future__ import annotations

import runpy
from pathlib import Path

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


def test_generated_parts_of_the_documentation_are_up_to_date(monkeypatch: pytest.MonkeyPatch) -> None:
    scripts = Path(__file__).parents[2] / "docs" / "scripts"
    monkeypatch.syspath_prepend(scripts)
    # Here, because one of these parts shows the audits that the checks above have made.
    assert [str(page) for page in runpy.run_path(str(scripts / "generate.py"))["changed"]()] == []
