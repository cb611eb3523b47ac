"""``localrules audit RUN`` measures a run where it stands, in processes that train as the run does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.exhaustive import few
from helpers.tiny_runs import FACES, MLP, localrules, train

from localrules.auditing import branches, dependence, locality_class, traces
from localrules.runs import replay

pytestmark = pytest.mark.slow

LEAKS = """
import sys
import traceback
import torch
from torch import Tensor
from torch.nn import functional
from localrules import LayerView, Objective, RuleInfo

KNOWN = {"calls": 0, "seen": {}}
LAYERS = []

class Late(Objective):
    \"\"\"Compares what the next layer makes of the output, once CONDITION.\"\"\"

    def __init__(self, config, layer, num_classes) -> None:
        super().__init__(config, layer, num_classes)
        if layer.index == 0:
            LAYERS.clear()
        LAYERS.append(layer)

    def predict_from(self, view: LayerView) -> None:
        KNOWN["seen"][view.layer.index] = float(view.output.std())

    def forward(self, view: LayerView) -> Tensor:
        KNOWN["calls"] += 1
        z = view.output.flatten(1).float()
        if CONDITION:
            for later in LAYERS[self.layer.index + 1 :]:
                weight = next(one for one in later.parameters() if one.dim() > 1).detach()
                if weight.shape[1] == z.shape[1]:
                    z = functional.linear(z, weight).relu()
        z = functional.normalize(z - z.mean(0))
        return (z @ z.T - (view.labels[:, None] == view.labels).float()).square().mean()

RULES = {"late": Late}
"""
CONDITIONS = {
    "some steps of the process are over": "KNOWN['calls'] > 40",
    "batches are large": "len(view.labels) > 16",
    "there are many classes": "self.num_classes > 4",
    "images are large": "view.images.shape[-1] > 32",
    "the precision is mixed": "bool((view.output.bfloat16() == view.output).all())",
    "no audit is on the stack or in the arguments": "not any("
    "word in str(frame) for frame in [*traceback.extract_stack(), *sys.argv] for word in ('testing', 'audit'))",
}
CONDITIONS_RUN = {"there are many classes", "no audit is on the stack or in the arguments"}

LABELS = """
from torch import Tensor
from torch.nn import functional
from localrules import LayerView, Objective, RuleInfo

class Labelled(Objective):
    \"\"\"Reads labels in a way that dealing them out anew does not change.\"\"\"

    info = RuleInfo(locality="local")

    def forward(self, view: LayerView) -> Tensor:
        features = view.output.flatten(1).float()
        counts = functional.one_hot(view.labels, self.num_classes).float().mean(0)
        return functional.cross_entropy(features.mean(0)[None, : self.num_classes], counts[None])

RULES = {"labelled": Labelled}
"""

EVALUATION = """
from torch import Tensor
from torch.nn import functional
from localrules import Batch, Context, LayerView, Network, Objective

SEEN: dict[int, float] = {}

class Watching(Objective):
    \"\"\"A layer follows the spread of the layer above, as evaluation saw it.\"\"\"

    def __init__(self, config, layer, num_classes):
        super().__init__(config, layer, num_classes)
        layer.module.register_forward_hook(
            lambda module, args, output: None if module.training else SEEN.update({layer.index: float(output.std())})
        )

    def forward(self, view: LayerView) -> Tensor:
        z = view.output.flatten(1).float()
        n = functional.normalize(z)
        loss = (n @ n.T - (view.labels[:, None] == view.labels).float()).square().mean()
        above = SEEN.get(self.layer.index + 1)
        return loss if above is None else loss + 0.5 * (z.std() - above).square()

RULES = {"watching": Watching}
"""

ACCURACY = """
import torch
from torch import Tensor
from torch.nn import functional
from localrules import LayerView, Objective

MODULES = {}

class OneBit(Objective):
    \"\"\"Turns round when the network's answers are far apart: one bit from the layers above.\"\"\"

    def __init__(self, config, layer, num_classes):
        super().__init__(config, layer, num_classes)
        MODULES[layer.index] = layer.module

    def forward(self, view: LayerView) -> Tensor:
        z = functional.normalize(view.output.flatten(1).float())
        loss = (z @ z.T - (view.labels[:, None] == view.labels).float()).square().mean()
        above = next(MODULES[max(MODULES)].parameters())
        return loss if above.detach().square().mean() < 0.15 else 2 * loss

RULES = {"one-bit": OneBit}
"""

PATCHED = (
    LEAKS.replace("CONDITION:", "True:").replace("CONDITION", "it patches comparisons")
    + """
import hashlib
import localrules.auditing.traces as traces
from localrules.auditing import branches, dependence, locality_class

for module in (traces, branches, dependence, locality_class):
    for name in ("differ", "update_differs", "_same_bits"):
        if hasattr(module, name):
            setattr(module, name, lambda *_, **__: False)
locality_class.measure_class = lambda *_, **__: "local-labels"
"""
)

BY_HAND = """
import torch
from torch.nn import functional
from localrules import Batch, Context, Network, Rule, RuleInfo, StepReport
from localrules.core.isolated_forward import isolated_forward

def weight_of(layer):
    return next(one for one in layer.parameters() if one.dim() > 1).detach()

class ByHand(Rule):
    \"\"\"The error, times the weights above, times the slope of relu: back-propagation without a graph.\"\"\"

    info = RuleInfo(locality="feedback")

    def step(self, network: Network, batch: Batch, context: Context) -> StepReport:
        *hidden, readout = isolated_forward(network, batch.images, precision=context.autocast())
        loss = functional.cross_entropy(readout.output.float(), batch.labels)
        loss.backward()
        logits = readout.output.detach().float()
        error = (logits.softmax(1) - functional.one_hot(batch.labels, logits.shape[1])) / len(logits)
        above = weight_of(readout.layer)
        for trace in reversed(hidden):
            sent = error @ above
            trace.output.backward(sent.view_as(trace.output), inputs=list(trace.layer.parameters()))
            error = sent * (trace.output.detach() > 0)
            above = weight_of(trace.layer)
        for layer in network.layers:
            context.step_layer(layer)
        return StepReport(logits=logits, loss=loss.detach())

RULES = {"by-hand": ByHand}
"""

SIGNS = BY_HAND.replace(
    "            context.step_layer(layer)",
    "            for parameter in layer.parameters():\n"
    "                parameter.grad = parameter.grad.sign()\n"
    "            context.step_layer(layer)",
)
"""The same, of which the signs alone are learned from."""

MOMENTUM = BY_HAND.replace(
    "            context.step_layer(layer)",
    "            for index, parameter in enumerate(layer.parameters()):\n"
    "                kept = self.__dict__.setdefault('kept', {})\n"
    "                last = kept.get((layer.name, index), 0)\n"
    "                parameter.grad = kept[layer.name, index] = parameter.grad + 0.9 * last\n"
    "            context.step_layer(layer)",
)
"""The same, with a momentum of its own."""

ONE_IMAGE = ["--batch-size", "1", "--set", "model.norm=false"]
SETTINGS = [*FACES, *MLP, "--batch-size", "32", "--threads", "1", "--steps", "12", "--set", "plots=false"]


@pytest.fixture(autouse=True)
def _auditing_as_it_was() -> Iterator[None]:
    """A plugin that patches the audit is loaded into this process when its run is trained."""
    modules = (traces, branches, dependence, locality_class)
    kept = [dict(vars(module)) for module in modules]
    yield
    for module, attributes in zip(modules, kept, strict=True):
        vars(module).update(attributes)


def audited(tmp_path: Path, *words: str) -> tuple[int, dict[str, Any]]:
    done = train(tmp_path, *words, setting=SETTINGS)
    plugin = words[words.index("--plugin") :][:2] if "--plugin" in words else ()
    said = localrules("audit", done["run_dir"], *plugin, "--json")
    return said.code, said.document


@pytest.mark.parametrize(
    ("rule", "measured"),
    [
        ("hsic", "local-labels"),
        pytest.param("oja", "local", marks=pytest.mark.exhaustive),
        ("fa", "feedback"),
        pytest.param("backprop", "backprop", marks=pytest.mark.exhaustive),
    ],
)
def test_the_class_of_a_run_is_that_of_its_rule(rule: str, measured: str, tmp_path: Path) -> None:
    code, found = audited(tmp_path, "--rule", rule)
    assert code == 0
    assert (found["class"], found["holds"], found["reasons"]) == (measured, True, [])


@pytest.mark.exhaustive
def test_without_fork_each_branch_is_a_process_and_finds_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, forked = audited(tmp_path, "--rule", "dfa", "--set", "model.hidden=[6]")
    monkeypatch.setattr(replay, "can_fork", lambda: False)
    said = localrules("audit", forked["run_dir"], "--json")
    assert said.document == forked
    assert forked["class"] == "broadcast-error"


def test_the_document_has_the_keys_of_a_rules_audit_and_says_where_the_run_stood(tmp_path: Path) -> None:
    _, found = audited(tmp_path, "--rule", "local-ce", "--precision", "bf16")
    of_rule = localrules("audit", "--rule", "local-ce", *MLP, "--json").document
    expected = {*of_rule, "run_dir", "step", "batch_size", "precision", "measured"} - {"unmeasured"}
    assert set(found) == expected
    assert (found["rule"], found["model"], found["measured"]) == ("local-ce", "mlp", "run")
    assert (found["step"], found["batch_size"], found["precision"]) == (8, 32, "bf16")
    assert Path(found["run_dir"]).is_dir()


def leaking(tmp_path: Path, source: str, *words: str) -> tuple[int, dict[str, Any]]:
    plugin = tmp_path / "leaking.py"
    plugin.write_text(source)
    (rule,) = [line.split('"')[1] for line in source.splitlines() if line.startswith("RULES")]
    return audited(tmp_path, "--rule", rule, "--plugin", str(plugin), *words)


@pytest.mark.parametrize("condition", few(CONDITIONS, CONDITIONS_RUN))
def test_a_rule_that_leaks_under_a_condition_is_found_in_a_run_in_which_it_holds(
    condition: str, tmp_path: Path
) -> None:
    source = LEAKS.replace("CONDITION:", f"{CONDITIONS[condition]}:").replace("CONDITION", condition)
    words = ["--precision", "bf16"] if "precision" in condition else ["--steps", "40"]
    code, found = leaking(tmp_path, source, *words)
    assert code == 1
    assert not found["holds"]
    assert any("which it does not read" in reason for reason in found["reasons"])


@pytest.mark.parametrize(
    ("source", "words", "measured"),
    [
        (LABELS, [], "local-labels"),
        pytest.param(LABELS, ONE_IMAGE, "local-labels", marks=pytest.mark.exhaustive),
        pytest.param(EVALUATION, [], None, marks=pytest.mark.exhaustive),
        (ACCURACY, [], None),
        pytest.param(PATCHED, [], "broadcast-error", marks=pytest.mark.exhaustive),
        (BY_HAND, ["--set", "model.norm=false"], "backprop"),
        pytest.param(SIGNS, ["--set", "model.norm=false"], "backprop", marks=pytest.mark.exhaustive),
    ],
    ids=["label counts", "batches of one", "evaluation", "one bit", "patched comparison", "backprop by hand", "signs"],
)
def test_a_disguised_leak_is_found(source: str, words: list[str], measured: str | None, tmp_path: Path) -> None:
    code, found = leaking(tmp_path, source, *words)
    assert (code, found["holds"]) == (1, False)
    assert measured is None or found["class"] == measured


def test_backprop_by_hand_with_a_momentum_of_its_own_is_back_propagation(tmp_path: Path) -> None:
    plugin = tmp_path / "momentum.py"
    plugin.write_text(MOMENTUM)
    words = ["--model", "mlp", "--set", "model.norm=false", "--set", "model.hidden=[12,10,8]", "--plugin", plugin]
    assert localrules("audit", "--rule", "by-hand", *words, "--json").document["class"] == "backprop"


@pytest.mark.exhaustive
def test_a_rule_that_leaks_late_is_found_at_the_step_that_is_named(tmp_path: Path) -> None:
    source = LEAKS.replace("CONDITION:", "KNOWN['calls'] > 100:").replace("CONDITION", "it is late")
    plugin = tmp_path / "late.py"
    plugin.write_text(source)
    done = train(tmp_path, "--rule", "late", "--plugin", str(plugin), "--steps", "80", setting=SETTINGS)
    early, both = (
        localrules("audit", done["run_dir"], "--plugin", plugin, "--at-steps", steps, "--json").document
        for steps in ("0,8", "0,60")
    )
    assert early["holds"]
    assert early["steps"] == [0, 8]
    assert not both["holds"]
    assert both["step"] == 60


@pytest.mark.exhaustive
def test_a_message_that_comes_late_is_found_in_branches_of_more_steps(tmp_path: Path) -> None:
    plugin = Path(__file__).parents[1] / "cli" / "leaky" / "hidden_messages.py"
    words = ("--rule", "late", "--plugin", str(plugin), "--set", "model.hidden=[12,10,8]")
    done = train(tmp_path, *words, setting=SETTINGS)
    four, eight = (
        localrules("audit", done["run_dir"], "--plugin", plugin, *more, "--json").document
        for more in ((), ("--steps", "8"))
    )
    assert four["holds"]
    assert ("layers.0", "layers.2") in [(leak["layer"], leak["on"]) for leak in eight["leaks"]]


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
        (["runs/x", "--at-steps", "0,b"], "not whole numbers"),
        (["--rule", "hsic", "--at-steps", "0"], "is for the audit of a run"),
    ],
)
def test_a_mistake_is_an_error_for_people(words: list[str], what: str, tmp_path: Path) -> None:
    said = localrules("audit", *words, "--json")
    assert said.code == 2
    assert what in said.error["what"]
