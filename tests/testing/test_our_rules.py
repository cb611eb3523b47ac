"""Every rule of ours conforms, and the documentation says so."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest
from helpers.exhaustive import REPRESENTATIVES
from helpers.our_rules import BOUNDS, EXPECTED_FAILURES

from localrules.registry.registry import Registry
from localrules.testing import Check, parametrize_with_checks

pytestmark = pytest.mark.slow

RULES = [item.entry.name for item in Registry.load(allow=[]).entries("rule")]
FOR_EACH = {"options_are_documented", "options_survive_json", "entry_module_is_light"}
"""Checks that `make test` makes of every rule, and not of the representatives alone."""


def is_run(check: Check) -> bool:
    return check.name in FOR_EACH or check.rule in REPRESENTATIVES


def cases() -> list[Any]:
    """Every check of every rule; of rules that others stand for, most are exhaustive."""
    _, found = parametrize_with_checks(RULES, expected_failures=EXPECTED_FAILURES, bounds=BOUNDS).args
    return [
        case if is_run(*case.values) else case._replace(marks=(*case.marks, pytest.mark.exhaustive)) for case in found
    ]


def test_exceptions_are_of_rules_that_exist() -> None:
    assert {*BOUNDS, *EXPECTED_FAILURES} <= {*RULES}


@pytest.mark.parametrize("check", cases())
def test_a_rule_conforms(check: Check) -> None:
    check()


@pytest.mark.exhaustive  # it needs the audit of every rule
def test_generated_parts_of_the_documentation_are_up_to_date(monkeypatch: pytest.MonkeyPatch) -> None:
    scripts = Path(__file__).parents[2] / "docs" / "scripts"
    monkeypatch.syspath_prepend(scripts)
    # Here, because one of these parts shows the audits that the checks above have made.
    assert [str(page) for page in runpy.run_path(str(scripts / "generate.py"))["changed"]()] == []
