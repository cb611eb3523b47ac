"""``plugins check`` of a faulty rule: every check that fails says who is at fault, and nothing ends the command."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import faulty_plugin
from helpers.tiny_runs import localrules

RULES = ["vector", "system-exit", "recursion", "backward", "no-view", "no-forward", "reports-nothing", "no-grad"]


@pytest.mark.slow
@pytest.mark.parametrize("rule", RULES)
def test_a_faulty_rule(rule: str) -> None:
    said = localrules(
        "plugins",
        "check",
        rule,
        "--plugin",
        faulty_plugin.__file__,
        "--json",
        "--only",
        "parameters_move_by_optimizers_alone",
    )
    assert said.code == 1
    (found,) = said.document
    assert found["status"] == "failed"
    assert Path(faulty_plugin.__file__).name in found["reason"]
    assert faulty_plugin.RULES[rule].__name__ in found["reason"]


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["dict-config", "plain-config", "tensor-config"])
def test_options_that_are_none(rule: str) -> None:
    said = localrules("plugins", "check", rule, "--plugin", faulty_plugin.__file__, "--json")
    assert said.code == 1
    assert "Config" in said.out
    assert "did not foresee" not in said.out
