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


BROKEN_ENTRIES = """
from pydantic import Field
from localrules import ExporterEntry, MetricEntry, Objective, PresetEntry, RuleConfig, Tracker, hookimpl
from localrules.evaluation.metric import Metric

class Lines(Metric):
    "As many lines as there are samples."
    def __init__(self, path, data, split):
        self.lines = path.read_text().splitlines()
    def compute(self, scores):
        return {"lines": len(self.lines)}

def forgets_to_count(data, path):
    path.write_text("written")

def writes_nothing(data, path):
    return sum(len(split) for split in data.splits.values())

MISSPELT = {"batch_sise": 3}
OF_RULE = {"rule": {"name": "mine", "weight": 2.0}}

class Mine(Objective):
    "Outputs should be small."
    class Config(RuleConfig):
        weight: float = Field(1.0, description="A weight.")
    def forward(self, view):
        return self.config.weight * view.output.square().mean()

class Forgets(Tracker):
    "Measures nothing, in the wrong way."
    def on_measure(self, row):
        return None

class Norms(Tracker):
    "Measures what it was shown."
    def on_train_start(self, network, rule):
        self.network = network
    def on_measure(self, row):
        return {f"count/{layer.name}": len([*layer.parameters()]) for layer in self.network.layers}

RULES = {"mine": Mine}
TRACKERS = {"forgets": Forgets, "norms": Norms}

@hookimpl
def localrules_metrics():
    return [MetricEntry(name="lines", target=f"{__name__}:Lines", summary="Lines.", help="A file.")]

@hookimpl
def localrules_exporters():
    names = ("forgets_to_count", "writes_nothing")
    return [ExporterEntry(name=name, target=f"{__name__}:{name}", summary="A file.") for name in names]

@hookimpl
def localrules_presets():
    names = ("MISSPELT", "OF_RULE")
    return [PresetEntry(name=name.lower(), target=f"{__name__}:{name}", summary="Settings.") for name in names]
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "check", "reason"),
    [
        ("lines", "files_that_do_not_fit_are_refused", "a missing file raised FileNotFoundError"),
        ("forgets_to_count", "data_sets_are_written", "it returned None for 20 samples"),
        ("writes_nothing", "data_sets_are_written", "there is no file"),
        ("misspelt", "a_rule_runs_with_it", "no rule runs with it; with rule 'localrules/auglocal': there is no"),
        ("forgets", "events_are_accepted", "what Forgets measured cannot be logged: it is of type NoneType"),
    ],
)
def test_a_broken_entry_of_another_kind(name: str, check: str, reason: str, tmp_path: Path) -> None:
    plugin = tmp_path / "broken.py"
    plugin.write_text(BROKEN_ENTRIES)
    said = localrules("plugins", "check", name, "--plugin", plugin, "--json")
    assert said.code == 1
    (found,) = (row for row in said.document if row["status"] == "failed")
    assert found["check"] == check
    assert found["reason"].startswith(reason)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["of_rule", "norms"])
def test_a_preset_of_a_rule_and_a_tracker_that_measures_in_one_file(name: str, tmp_path: Path) -> None:
    plugin = tmp_path / "whole.py"
    plugin.write_text(BROKEN_ENTRIES)
    said = localrules("plugins", "check", name, "--plugin", plugin, "--json")
    assert said.code == 0, said.out


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
