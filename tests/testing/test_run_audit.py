"""``localrules audit RUN`` measures a run where it stands, in processes that train as the run does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers.tiny_runs import FACES, MLP, localrules, train

pytestmark = pytest.mark.slow

LEAKS = """
import torch
from torch import Tensor
from torch.nn import functional
from localrules import LayerView, Objective

class Late(Objective):
    \"\"\"Compares what the next layer makes of the output, once CONDITION.\"\"\"

    def __init__(self, config, layer, num_classes):
        super().__init__(config, layer, num_classes)
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, view: LayerView) -> Tensor:
        self.calls += 1
        z = view.output.flatten(1)
        if CONDITION:
            for later in self.layer.peers[self.layer.index + 1 :]:
                weight = next(one for one in later.parameters() if one.dim() > 1).detach()
                if weight.shape[1] == z.shape[1]:
                    z = functional.linear(z, weight).relu()
        z = functional.normalize(z - z.mean(0))
        return (z @ z.T - (view.labels[:, None] == view.labels).float()).square().mean()

RULES = {"late": Late}
"""
CONDITIONS = {
    "some steps are over": "self.calls > 6",
    "batches are large": "len(view.labels) > 16",
    "there are many classes": "self.num_classes > 4",
    "images are large": "view.images.shape[-1] > 32",
    "the kit is not on the stack": "not any('testing' in str(f) for f in __import__('traceback').extract_stack())",
}
SETTINGS = [*FACES, *MLP, "--batch-size", "32", "--threads", "1", "--steps", "12", "--set", "plots=false"]


def audited(tmp_path: Path, *words: str) -> tuple[int, dict[str, Any]]:
    done = train(tmp_path, *words, setting=SETTINGS)
    plugin = words[words.index("--plugin") :][:2] if "--plugin" in words else ()
    said = localrules("audit", done["run_dir"], *plugin, "--json")
    return said.code, said.document


@pytest.mark.parametrize(
    ("rule", "measured"), [("hsic", "local-labels"), ("oja", "local"), ("fa", "feedback"), ("backprop", "backprop")]
)
def test_the_class_of_a_run_is_that_of_its_rule(rule: str, measured: str, tmp_path: Path) -> None:
    code, found = audited(tmp_path, "--rule", rule)
    assert code == 0
    assert (found["class"], found["holds"], found["reasons"]) == (measured, True, [])


def test_the_document_has_the_keys_of_a_rules_audit_and_says_where_the_run_stood(tmp_path: Path) -> None:
    _, found = audited(tmp_path, "--rule", "local-ce", "--precision", "bf16")
    (of_rule,) = [localrules("audit", "--rule", "local-ce", "--json").document]
    assert set(found) == {*of_rule, "run_dir", "step", "batch_size", "precision", "measured"}
    assert (found["rule"], found["model"], found["measured"]) == ("local-ce", "mlp", "run")
    assert (found["step"], found["batch_size"], found["precision"]) == (4, 32, "bf16")
    assert Path(found["run_dir"]).is_dir()


@pytest.mark.parametrize("condition", CONDITIONS)
def test_a_rule_that_leaks_under_a_condition_is_found_in_a_run_in_which_it_holds(
    condition: str, tmp_path: Path
) -> None:
    plugin = tmp_path / "late.py"
    plugin.write_text(LEAKS.replace("CONDITION:", f"{CONDITIONS[condition]}:").replace("CONDITION", condition))
    code, found = audited(tmp_path, "--rule", "late", "--plugin", str(plugin))
    assert code == 1
    assert not found["holds"]
    assert any("which it does not read" in reason for reason in found["reasons"])


def test_the_run_is_left_as_it_was(tmp_path: Path) -> None:
    done = train(tmp_path, "--rule", "hsic", setting=SETTINGS)
    folder = Path(done["run_dir"])
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert localrules("audit", folder, "--json").code == 0
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ([], "name a run folder or a rule"),
        (["runs/x", "--rule", "hsic"], "are both named"),
        (["runs/x", "--model", "mlp"], "--model does not apply to a run"),
        (["runs/x"], "not a run folder"),
    ],
)
def test_a_mistake_is_an_error_for_people(words: list[str], what: str, tmp_path: Path) -> None:
    said = localrules("audit", *words, "--json")
    assert said.code == 2
    assert what in said.error["what"]
