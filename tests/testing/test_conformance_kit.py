"""The conformance kit finds what is broken, says so, and takes no excuse that is none."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from pydantic import BaseModel
from torch import Tensor, nn

from localrules import Layer, LayerView, Network, Objective, Requirements, Rule, StepReport
from localrules.cli import main
from localrules.core.objective import Look, RuleConfig
from localrules.core.view import Batch
from localrules.errors import LocalRulesError
from localrules.testing import NotApplicable, checks, parametrize_with_checks, run_checks
from localrules.testing.conformance.checks import CHECKS
from localrules.testing.conformance.subject import RuleClass
from localrules_backprop.backprop import Backprop
from localrules_supervised.local_ce import LocalCrossEntropy

pytestmark = pytest.mark.slow


def run(rule: RuleClass, name: str) -> None:
    next(check for check in checks(rule) if check.name == name)()


class Plain(Objective):
    """Outputs shall have mean one: a rule that keeps every promise but to learn."""

    locality = "local"

    def loss(self, view: LayerView) -> Tensor:
        return (view.output.float().mean(0) - 1).square().mean()


@pytest.mark.parametrize("name", [name for name in CHECKS if name != "learns_digits"])
def test_a_rule_that_keeps_its_promises_passes(name: str) -> None:
    try:
        run(Plain, name)
    except NotApplicable:
        assert name == "entry_module_is_light"  # it is of no plugin


class Undocumented(Plain):
    class Config(RuleConfig):
        strength: float = 1.0


class TakesAnyOption(Plain):
    class Config(BaseModel):
        """Refuses nothing."""


class SaysLocal(Backprop):
    locality = "local"


class OwnsNothing(Plain):
    """A scale of its own, in nobody's optimizer."""

    def __init__(self, config: Any = None) -> None:
        super().__init__(config)
        self.scale = nn.Parameter(torch.ones(()))

    def loss(self, view: LayerView) -> Tensor:
        return super().loss(view) * self.scale.detach()


class Writes(Backprop):
    """Shrinks the weights by hand."""

    def step(self, network: Network, batch: Batch, context: Any) -> StepReport:
        report = super().step(network, batch, context)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.mul_(0.99)
        return report


class SharesMemory(Plain):
    """The scales of all norms lie in one place: who moves one moves all."""

    def prepare(self, layers: Sequence[Layer], num_classes: int) -> None:
        scales = [module.weight for layer in layers for module in layer.module.modules() if hasattr(module, "eps")]
        widest = max(scales, key=len).data
        for scale in scales:
            scale.data = widest[: len(scale)]


class RunsTwice(Rule):
    """Two passes, undeclared."""

    def step(self, network: Network, batch: Batch, context: Any) -> StepReport:
        for _ in range(2):
            loss = network(batch.images).square().mean()
        loss.backward()
        for layer in network.layers:
            context.step_layer(layer)
        return StepReport(loss=loss.detach())


class ReportsTheGraph(Backprop):
    """Hands out its loss with all that hangs on it."""

    def step(self, network: Network, batch: Batch, context: Any) -> StepReport:
        loss = network(batch.images).square().mean()
        loss.backward(retain_graph=True)
        for layer in network.layers:
            context.step_layer(layer)
        return StepReport(loss=loss)


class KeepsTheView(Plain):
    """Remembers the last view, graph and all."""

    def loss(self, view: LayerView) -> Tensor:
        self.last = view
        return super().loss(view)


COUNTED = [0]


class CountsForever(Plain):
    """Scales by how often it was ever called."""

    def loss(self, view: LayerView) -> Tensor:
        COUNTED[0] += 1
        return super().loss(view) * COUNTED[0]


class ForgetsOnResume(Plain):
    """Its running mean is no buffer."""

    def __init__(self, config: Any = None) -> None:
        super().__init__(config)
        self.mean = 1.0

    def loss(self, view: LayerView) -> Tensor:
        self.mean = 0.9 * self.mean + 0.1 * float(view.output.detach().mean())
        return super().loss(view) * self.mean


class MindsTheOrder(Plain):
    """The first picture counts double."""

    def loss(self, view: LayerView) -> Tensor:
        return super().loss(view) + view.output[0].square().mean()


class DrawsForEachPicture(Plain):
    """Noise, drawn in two ways."""

    def loss(self, view: LayerView) -> Tensor:
        output = view.output.float()
        kept = nn.functional.dropout(torch.cat([output, output + torch.randn_like(output)]))
        return (kept * kept.new_empty(len(kept), *[1] * (kept.dim() - 1)).uniform_() - 1).square().mean()


class DrawsWhoIsMet(Plain):
    """Compares pictures with others that are drawn by their place."""

    def loss(self, view: LayerView) -> Tensor:
        return (view.output - view.output[torch.randint(4, (len(view.output),))]).float().square().mean()


class AnswersBadly(Plain):
    """One row, whatever is asked."""

    trains_readout = False

    def predict(self, look: Look, images: Tensor, num_classes: int) -> Tensor:
        return images.new_zeros(1, num_classes)


class KnowsTheLabels(Plain):
    """Scorer with the labels that it saw last."""

    def loss(self, view: LayerView) -> Tensor:
        self.seen = view.labels
        return super().loss(view)

    def predict(self, look: Look, images: Tensor, num_classes: int) -> Tensor:
        seen = getattr(self, "seen", torch.zeros(1000, dtype=torch.int64))
        return nn.functional.one_hot(seen[: len(images)], num_classes).float()


class LearnsFromAnswering(Plain):
    """Counts the pictures that it was asked about."""

    def __init__(self, config: Any = None) -> None:
        super().__init__(config)
        self.register_buffer("asked", torch.zeros(()))

    def predict(self, look: Look, images: Tensor, num_classes: int) -> None:
        self.asked += len(images)


class DividesByTheSpread(Plain):
    """By how far labels spread, which is nothing where there is one class."""

    locality = "local-labels"

    def loss(self, view: LayerView) -> Tensor:
        return super().loss(view) / view.labels.float().var()


class NeedsFour(Plain):
    """Is not a number below four pictures."""

    requires = Requirements(min_batch=2)

    def loss(self, view: LayerView) -> Tensor:
        return super().loss(view) * (1.0 if len(view.output) > 3 else float("nan"))


class NeedsCompany(Plain):
    """Is not a number of one picture, and does not say so."""

    def loss(self, view: LayerView) -> Tensor:
        return super().loss(view) * (1.0 if len(view.output) > 1 else float("nan"))


class NeedsFullPrecision(Plain):
    """Overflows in half precision."""

    def loss(self, view: LayerView) -> Tensor:
        return super().loss(view) * (1.0 if view.output.dtype == torch.float32 else float("inf"))


class OneOperationAlone(Plain):
    """Breaks on a layer of several."""

    requires = Requirements(operations=True)

    def loss(self, view: LayerView) -> Tensor:
        (_,) = view.operations
        return super().loss(view)


class OfAHeavyPlugin(Plain):
    """Its plugin's entry-point module imports numpy."""

    __module__ = "heavy_plugin.rule"


@pytest.fixture
def heavy_plugin(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As if a plugin were installed that imports much when it is listed."""
    (tmp_path / "heavy_plugin.py").write_text("import numpy")
    monkeypatch.syspath_prepend(tmp_path)
    entry = EntryPoint("heavy", "heavy_plugin", "localrules")
    monkeypatch.setattr("localrules.testing.conformance.checks.option_checks.entry_points", lambda group: [entry])


class KnowsItsThread(Plain):
    """Minimises something else where another thread has it do so."""

    def loss(self, view: LayerView) -> Tensor:
        beside = threading.current_thread() is not threading.main_thread()
        return super().loss(view) * (2 if beside else 1) + view.output.square().mean() * beside


BROKEN = {
    "options_are_documented": (Undocumented, "options without a description: strength"),
    "options_survive_json": (TakesAnyOption, "a misspelt option is taken"),
    "entry_module_is_light": (OfAHeavyPlugin, "importing heavy_plugin imports numpy: name classes by target"),
    "locality_holds": (SaysLocal, "declares 'local' and is 'backprop'.*layers.0 depends on layers.1"),
    "every_parameter_has_one_owner": (OwnsNothing, r"objectives.0.scale \(no layer\)"),
    "a_layer_step_writes_only_to_its_layer": (SharesMemory, r"written to: network\.\S+ while \S+ stepped"),
    "parameters_move_by_optimizers_alone": (Writes, "written to without an optimizer: model.stem.weight"),
    "forward_passes_match_declaration": (RunsTwice, "a layer ran 2 times"),
    "cached_values_are_detached": (ReportsTheGraph, "loss: not detached"),
    "no_graph_outlives_a_step": (KeepsTheView, "alive after the step: the graph of laterals.1"),
    "the_same_seed_gives_the_same_bits": (CountsForever, "two runs of one seed differ"),
    "resuming_equals_no_interruption": (ForgetsOnResume, "after a resume these differ"),
    "layers_can_train_in_parallel": (KnowsItsThread, "3 layers at once, these differ"),
    "batch_order_does_not_matter": (MindsTheOrder, "the gradient of layers.0"),
    "predictions_have_their_shape": (AnswersBadly, r"shape \(1, 4\), not \(5, 4\)"),
    "predictions_depend_on_image_and_state": (KnowsTheLabels, "a run that was loaded answers otherwise"),
    "prediction_changes_nothing": (LearnsFromAnswering, "changed by prediction: rule objectives.0.asked"),
    "hard_batches_stay_finite": (DividesByTheSpread, "one class: the objective of .* is not finite"),
    "the_smallest_batch_stays_finite": (NeedsFour, "batches of 2 on a perceptron"),
    "half_precision_stays_finite": (NeedsFullPrecision, "bf16 on a "),
    "multi_operation_layers_stay_finite": (OneOperationAlone, "too many values"),
    "learns_digits": (Plain, "of the digits' test pictures are right, and 0.9 is wanted"),
}


def test_for_each_check_there_is_a_rule_that_breaks_the_promise() -> None:
    assert set(BROKEN) == set(CHECKS)


@pytest.mark.usefixtures("heavy_plugin")
@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_promise_is_found_and_told(name: str) -> None:
    rule, told = BROKEN[name]
    with pytest.raises((AssertionError, ValueError), match=told):
        run(rule, name)


def test_a_rule_may_declare_what_it_reaches_on_the_digits() -> None:
    class Modest(Plain):
        """Says so."""

        digits_bound: ClassVar[float] = 0.05

    run(Modest, "learns_digits")


def test_a_rule_that_does_not_take_one_picture_has_to_say_so() -> None:
    with pytest.raises(AssertionError, match=r"batches of 1 on a dense maps: the objective of .* is not finite"):
        run(NeedsCompany, "the_smallest_batch_stays_finite")


def test_a_rule_that_learns_digits_from_vectors_has_to_learn_them_through_maps_too() -> None:
    class LosesMaps(LocalCrossEntropy):
        """Layers of maps hand on nothing."""

        def hand_on(self, layer: Layer, output: Tensor) -> Tensor:
            return output if output.dim() == 2 else torch.zeros_like(output)

    with pytest.raises(AssertionError, match=r"are right by a chain of maps, and 0\.9 is wanted"):
        run(LosesMaps, "learns_digits")


def test_what_is_drawn_for_a_picture_goes_with_it_when_the_batch_is_shuffled() -> None:
    run(DrawsForEachPicture, "batch_order_does_not_matter")
    with pytest.raises(AssertionError, match=r"on a perceptron: the gradient of layers\.0"):
        run(DrawsWhoIsMet, "batch_order_does_not_matter")


class Excused(Writes):
    """Says what it breaks."""

    expected_failures: ClassVar[dict[str, str]] = {"parameters_move_by_optimizers_alone": "weights decay by hand"}


class Apologetic(LocalCrossEntropy):
    """Apologises for nothing."""

    expected_failures: ClassVar[dict[str, str]] = {"options_survive_json": "no idea"}


def results(rule: RuleClass, **known: str) -> dict[str, tuple[str, str]]:
    return {found["check"]: (found["status"], found["reason"]) for found in run_checks(rule, known)}


def test_every_check_has_one_of_four_ends() -> None:
    found = results(Excused)
    assert list(found) == list(CHECKS)
    assert found["options_are_documented"] == ("passed", "")
    assert found["parameters_move_by_optimizers_alone"] == ("expected-failure", "weights decay by hand")
    assert found["entry_module_is_light"] == ("skipped", "the rule is of no installed plugin")


def test_an_excuse_for_what_works_is_a_failure() -> None:
    (found,) = (found for found in run_checks(Apologetic) if found["check"] == "options_survive_json")
    assert found["status"] == "failed"
    assert found["reason"] == "expected to fail (no idea), and passes"


def test_an_excuse_for_no_check_is_refused() -> None:
    with pytest.raises(LocalRulesError, match="there is no check 'learns_didgits'"):
        list(checks(Plain, {"learns_didgits": "typo"}))


def test_pytest_runs_a_test_for_each_check_and_expects_the_failures() -> None:
    mark = parametrize_with_checks([Plain, "local-ce"], {"Plain": {"learns_digits": "it does not learn"}})
    names, cases = mark.args
    assert names == "check"
    assert [case.id for case in cases] == [f"{rule}-{name}" for rule in ("Plain", "local-ce") for name in CHECKS]
    (marked,) = (case for case in cases if case.marks)
    assert marked.id == "Plain-learns_digits"
    assert marked.marks[0].kwargs == {"reason": "it does not learn", "strict": True}


def test_without_scikit_learn_the_digits_are_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    from localrules.testing.conformance.checks import digits

    digits.digits.cache_clear()
    monkeypatch.setitem(__import__("sys").modules, "sklearn.datasets", None)
    with pytest.raises(NotApplicable, match="scikit-learn is not installed"):
        run(Plain, "learns_digits")


FILE = """
from localrules import Objective


class Mine(Objective):
    \"\"\"Learns from nothing.\"\"\"

    locality = "local"
    expected_failures = {"learns_digits": "it has nothing to learn from"}

    def loss(self, view):
        return (view.output.float().mean(0) - BROKEN).square().mean()


RULES = {"mine": Mine}
"""


@pytest.mark.parametrize(("value", "code"), [("1", 0), ("undefined", 1)])
def test_the_command_prints_what_scripts_rely_on(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, value: str, code: int
) -> None:
    path = tmp_path / "mine.py"
    path.write_text(FILE.replace("BROKEN", value))
    assert main(["plugins", "check", "mine", "--plugin", str(path), "--json"]) == code
    found = json.loads(capsys.readouterr().out)
    assert [set(line) for line in found] == [{"check", "status", "reason"}] * len(CHECKS)
    assert {line["status"] for line in found} <= {"passed", "failed", "expected-failure", "skipped"}
    failed = [line for line in found if line["status"] == "failed"]
    assert bool(failed) == bool(code)
    assert all("NameError" in line["reason"] for line in failed)
    assert main(["plugins", "check", "mine", "--plugin", str(path)]) == code
    assert f"{len(CHECKS)} checks:" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "what"),
    [("classics", "plugin 'classics' has no rules to check"), ("nothing-of-the-kind", "there is no rule")],
)
def test_a_name_without_rules_is_an_error_for_people(capsys: pytest.CaptureFixture[str], name: str, what: str) -> None:
    assert main(["plugins", "check", name, "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["what"].startswith(what)
