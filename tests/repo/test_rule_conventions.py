"""Conventions of our own rules."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from localrules import RuleEntry
from localrules.registry.registry import Registry

ROOT = Path(__file__).resolve().parents[2]
NOT_FOR_RULES = ("torch.distributed", "torch.optim", "wandb", "lightning_fabric")

REGISTRY = Registry.load(allow=[])
ENTRIES = [listed.entry for listed in REGISTRY.entries("rule")]
PACKAGES = sorted({entry.target.partition(".")[0] for entry in ENTRIES})

every_rule = pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)


def imported(module: Path) -> set[str]:
    """The dotted names that a module imports, at its top or inside a function."""
    found = set()
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_a_rule_knows_no_ranks_no_optimizers_and_no_trackers(package: str) -> None:
    modules = list((ROOT / "plugins" / package).rglob("*.py"))
    assert modules
    for module in modules:
        wrong = [
            name for name in imported(module) if any(f"{name}.".startswith(f"{package}.") for package in NOT_FOR_RULES)
        ]
        assert wrong == [], module


@every_rule
def test_a_rule_cites_its_source_with_a_link(entry: RuleEntry) -> None:
    _, heading, references = (REGISTRY.resolve("rule", entry.name).__doc__ or "").partition("\n    References:\n")
    assert heading, "its docstring has a section References"
    assert "https://" in references
    assert "https://" in entry.reference


@every_rule
def test_each_option_of_a_rule_says_what_it_is_and_whose_default_it_has(entry: RuleEntry) -> None:
    fields = REGISTRY.resolve("rule", entry.name).Config.model_fields
    vague = [name for name, field in fields.items() if not any(w in field.description or "" for w in ("ours", "paper"))]
    assert vague == []
