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


@pytest.mark.slow
def test_a_failure_of_a_data_set_may_be_expected_and_its_name_must_be_a_checks(tmp_path: Path) -> None:
    plugin = tmp_path / "mine.py"
    plugin.write_text(
        "from localrules_fer.faces.dataset import Faces\n"
        "class Mine(Faces):\n"
        "    class Config(Faces.Config):\n"
        "        undocumented: int = 1\n"
        "DATA = {'mine': Mine}\n"
    )
    words = ["plugins", "check", "mine", "--plugin", plugin, "--only", "options_are_documented", "--json"]
    assert localrules(*words).document[0]["status"] == "failed"
    said = localrules(*words, "--expect-failure", "options_are_documented")
    assert (said.code, said.document[0]["status"]) == (0, "expected-failure")
    said = localrules(*words, "--expect-failure", "options_are_dokumented")
    assert (said.code, said.error["where"]) == (2, "--expect-failure")
