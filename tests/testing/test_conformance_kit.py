"""The conformance kit finds what is broken and names it, and expects failures only where they occur."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import BaseModel
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode

from localrules import (
    Batch,
    CustomPrediction,
    ExtractViews,
    Layer,
    LayerView,
    Network,
    Objective,
    OutputTransform,
    Requirements,
    Rule,
    RuleConfig,
    RuleInfo,
    StepReport,
)
from localrules.cli import main
from localrules.errors import LocalRulesError
from localrules.testing import Bounds, NotApplicable, checks, parametrize_with_checks, run_checks
from localrules.testing.conformance.checks import CHECKS
from localrules.testing.conformance.kit import run_check
from localrules.testing.conformance.subject import RuleClass, RuleUnderTest
from localrules_backprop.backprop import Backprop
from localrules_supervised.local_ce import LocalCrossEntropy

pytestmark = pytest.mark.slow


def run(rule: RuleClass, name: str, bounds: Bounds | None = None) -> None:
    next(check for check in checks(rule, bounds=bounds) if check.name == name)()


class Plain(Objective):
    """Moves the mean of outputs to one: a rule that passes every check but that it learns."""

    info = RuleInfo(locality="local")

    def forward(self, view: LayerView) -> Tensor:
        return (view.output.float().mean(0) - 1).square().mean()


@pytest.mark.parametrize("name", [name for name in CHECKS if name != "learns_digits"])
def test_a_rule_that_keeps_its_promises_passes(name: str) -> None:
    try:
        run(Plain, name)
    except NotApplicable:
        # It is of no plugin, and says nothing of targets.
        assert name in ("entry_module_is_light", "soft_targets_are_honoured")


def test_tensors_without_memory_that_others_have_left_do_not_disturb_the_count_of_memory() -> None:
    with FakeTensorMode():
        left = torch.zeros(2)
    run(Plain, "memory_stays_bounded")
    assert left.shape == (2,)


class Undocumented(Plain):
    class Config(RuleConfig):
        strength: float = 1.0


class TakesAnyOption(Plain):
    class Config(BaseModel):
        """Refuses nothing."""


class SaysLocal(Backprop):
    info = Backprop.info.replace(locality="local")


class OwnsNothing(Backprop):
    """A scale of its own, in no layer's optimizer."""

    def prepare(self, network: Network, num_classes: int) -> None:
        super().prepare(network, num_classes)
        self.scale = nn.Parameter(torch.ones(()))


class Writes(Backprop):
    """Shrinks the weights by hand."""

    def step(self, network: Network, batch: Batch, context: Any) -> StepReport:
        report = super().step(network, batch, context)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.mul_(0.99)
        return report


SCALES: list[nn.Parameter] = []


class SharesMemory(Plain):
    """The scales of all norms share one memory: who writes to one writes to all."""

    def __init__(self, config: BaseModel, layer: Layer, num_classes: int) -> None:
        super().__init__(config, layer, num_classes)
        if layer.peer_index == 0:
            SCALES.clear()
        SCALES.extend(module.weight for module in layer.module.modules() if hasattr(module, "eps"))
        if SCALES:
            widest = max(SCALES, key=len).data
            for scale in SCALES:
                scale.data = widest[: len(scale)]


class PredictsByTheBatch(Backprop):
    """Its logits have no mean over the batch."""

    def predict(self, network: Network, images: Tensor) -> Tensor:
        logits = network(images)
        return logits - logits.mean(0)


class LearnsByWhatItPredicted(Backprop):
    """The scale of its last predictions, which no state has, is that of its loss."""

    scale = 1.0

    def step(self, network: Network, batch: Batch, context: Any) -> StepReport:
        logits = network(batch.images)
        (self.scale * logits.square().mean()).backward()
        for layer in network.layers:
            context.step_layer(layer)
        return StepReport(logits=logits.detach())

    def predict(self, network: Network, images: Tensor) -> Tensor:
        logits = network(images)
        self.scale = 1 + float(logits.abs().mean())
        return logits


class KeepsALaterGraph(Plain):
    """Remembers its loss, from the second step on."""

    steps = 0

    def forward(self, view: LayerView) -> Tensor:
        loss = super().forward(view)
        self.steps += 1
        self.__dict__["kept"] = loss if self.steps > 1 else None
        return loss


class RunsTwiceLater(Backprop):
    """Two passes, undeclared, from the second step on."""

    steps = 0

    def step(self, network: Network, batch: Batch, context: Any) -> StepReport:
        self.steps += 1
        if self.steps > 1:
            with torch.no_grad():
                network(batch.images)
        return super().step(network, batch, context)


class MeetsAnother(Plain):
    """Compares each image with another one of the batch, which a permutation names."""

    def forward(self, view: LayerView) -> Tensor:
        other = torch.randperm(len(view.output))
        return super().forward(view) + (view.output - view.output[other]).float().square().mean()


@pytest.mark.parametrize(
    ("rule", "name"),
    [
        (PredictsByTheBatch, "predictions_depend_on_image_and_state"),
        (LearnsByWhatItPredicted, "prediction_changes_nothing"),
        (KeepsALaterGraph, "no_graph_outlives_a_step"),
        (RunsTwiceLater, "forward_passes_match_declaration"),
    ],
)
def test_what_is_broken_later_or_for_other_images_is_found(rule: RuleClass, name: str) -> None:
    with pytest.raises(AssertionError):
        run(rule, name)


def test_a_permutation_of_the_batch_goes_with_its_order() -> None:
    run(MeetsAnother, "batch_order_does_not_matter")


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

    def forward(self, view: LayerView) -> Tensor:
        self.last = view
        return super().forward(view)


COUNTED = [0]


class CountsForever(Plain):
    """Scales by how often it was ever called."""

    def forward(self, view: LayerView) -> Tensor:
        COUNTED[0] += 1
        return super().forward(view) * COUNTED[0]


class ForgetsOnResume(Plain):
    """Its running mean is not a buffer."""

    mean = 1.0

    def forward(self, view: LayerView) -> Tensor:
        self.mean = 0.9 * self.mean + 0.1 * float(view.output.detach().mean())
        return super().forward(view) * self.mean


class MindsTheOrder(Plain):
    """The first image counts double."""

    def forward(self, view: LayerView) -> Tensor:
        return super().forward(view) + view.output[0].square().mean()


class DrawsForEachImage(Plain):
    """Noise, drawn in two ways."""

    def forward(self, view: LayerView) -> Tensor:
        output = view.output.float()
        kept = nn.functional.dropout(torch.cat([output, output + torch.randn_like(output)]))
        return (kept * kept.new_empty(len(kept), *[1] * (kept.dim() - 1)).uniform_() - 1).square().mean()


class DrawsWhoIsMet(Plain):
    """Compares images with others that are drawn by their place."""

    def forward(self, view: LayerView) -> Tensor:
        return (view.output - view.output[torch.randint(4, (len(view.output),))]).float().square().mean()


class PredictsBadly(CustomPrediction, Plain):
    """One row, whatever the batch."""

    info = Plain.info.replace(trains_readout=False)

    @classmethod
    def predict(cls, objectives: Sequence[Objective], extract_views: ExtractViews, images: Tensor) -> Tensor:
        return images.new_zeros(1, objectives[0].num_classes)


class KnowsTheLabels(CustomPrediction, Plain):
    """Predicts the labels of the last step."""

    def forward(self, view: LayerView) -> Tensor:
        self.seen = view.labels
        return super().forward(view)

    @classmethod
    def predict(cls, objectives: Sequence[Any], extract_views: ExtractViews, images: Tensor) -> Tensor:
        seen = getattr(objectives[0], "seen", torch.zeros(1000, dtype=torch.int64))
        return nn.functional.one_hot(seen[: len(images)], objectives[0].num_classes).float()


class LearnsFromPredicting(CustomPrediction, Plain):
    """Counts the images that it has predicted."""

    def __init__(self, config: BaseModel, layer: Layer, num_classes: int) -> None:
        super().__init__(config, layer, num_classes)
        self.register_buffer("predicted", torch.zeros(()))

    @classmethod
    def predict(cls, objectives: Sequence[Any], extract_views: ExtractViews, images: Tensor) -> None:
        objectives[0].predicted += len(images)


class DividesByTheSpread(Plain):
    """By how far labels spread, which is nothing where there is one class."""

    info = RuleInfo(locality="local-labels")

    def forward(self, view: LayerView) -> Tensor:
        return super().forward(view) / view.labels.float().var()


class NeedsFour(Plain):
    """Is not a number below four images."""

    info = Plain.info.replace(requires=Requirements(min_batch=2))

    def forward(self, view: LayerView) -> Tensor:
        return super().forward(view) * (1.0 if len(view.output) > 3 else float("nan"))


class NeedsCompany(Plain):
    """Is not a number of one image, and does not say so."""

    def forward(self, view: LayerView) -> Tensor:
        return super().forward(view) * (1.0 if len(view.output) > 1 else float("nan"))


class ComparesOthers(Plain):
    """Its loss is the same whatever the outputs of two images are, and it does not say so."""

    info = Plain.info.replace(requires=Requirements(min_batch=2))

    def forward(self, view: LayerView) -> Tensor:
        return super().forward(view) * (len(view.output) > 2)


class FreezesTheFirst(Backprop):
    """Trains all layers but the first."""

    def prepare(self, network: Network, num_classes: int) -> None:
        network.layers[0].module.requires_grad_(False)


class NeedsFullPrecision(Plain):
    """Overflows in half precision."""

    info = Plain.info.replace(autocast=True)

    def forward(self, view: LayerView) -> Tensor:
        return super().forward(view) * (1.0 if view.output.dtype == torch.float32 else float("inf"))


class VanishesInHalfPrecision(Plain):
    """Its gradients are too small for half precision."""

    info = Plain.info.replace(autocast=True)

    def forward(self, view: LayerView) -> Tensor:
        return super().forward(view) * (1.0 if view.output.dtype == torch.float32 else 0.0)


class SumsOverTheBatch(Plain):
    """Its loss is that of all images together."""

    def forward(self, view: LayerView) -> Tensor:
        return (view.output - 1).square().flatten(1).mean(1).sum()


class KeepsEveryBatch(Plain):
    """Remembers all that it has seen."""

    def forward(self, view: LayerView) -> Tensor:
        self.__dict__.setdefault("seen", []).append(view.output.detach().clone())
        return super().forward(view)


class NeverTrainsItsHead(Plain):
    """Has a head that its loss does not read."""

    def __init__(self, config: RuleConfig, layer: Layer, num_classes: int) -> None:
        super().__init__(config, layer, num_classes)
        self.head = nn.Linear(4, num_classes)


class OneOperationAlone(Plain):
    """Breaks on a layer of several."""

    info = Plain.info.replace(requires=Requirements(operations=True))

    def forward(self, view: LayerView) -> Tensor:
        (_,) = view.operations
        return super().forward(view)


class OneOutputAlone(Backprop):
    """Breaks on a layer of several outputs, which only some cuts have."""

    def step(self, network: Network, batch: Batch, context: Any) -> StepReport:
        for layer in network.layers:
            (_,) = layer.out_shapes
        return super().step(network, batch, context)


class TrainsFrozenLayers(Backprop):
    """Moves the parameters of all layers, whichever are to learn."""

    def step(self, network: Network, batch: Batch, context: Any) -> StepReport:
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.mul_(0.99)
        return super().step(network, batch, context)


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

    def forward(self, view: LayerView) -> Tensor:
        beside = threading.current_thread() is not threading.main_thread()
        return super().forward(view) * (2 if beside else 1) + view.output.square().mean() * beside


class ReadsLabelsAlone(LocalCrossEntropy):
    """Says that it can learn from soft targets, and learns from labels."""

    info = LocalCrossEntropy.info.replace(requires=Requirements(targets="probabilities"))

    def forward(self, view: LayerView) -> Tensor | dict[str, Tensor]:
        return super().forward(replace(view, batch=replace(view.batch, soft_targets=None)))


BROKEN = {
    "options_are_documented": (Undocumented, "options without a description: strength"),
    "options_survive_json": (TakesAnyOption, "a misspelt option is accepted"),
    "entry_module_is_light": (OfAHeavyPlugin, "importing heavy_plugin imports numpy: name classes by target"),
    "locality_holds": (SaysLocal, "declares 'local' and is 'backprop'.*layers.0 depends on layers.1"),
    "every_parameter_has_one_owner": (OwnsNothing, r"scale \(no layer\)"),
    "a_layer_step_writes_only_to_its_layer": (SharesMemory, r"written to: network\.\S+ while \S+ stepped"),
    "parameters_move_by_optimizers_alone": (Writes, "written to without an optimizer: network.layers.0"),
    "forward_passes_match_declaration": (RunsTwice, "a layer ran 2 times"),
    "cached_values_are_detached": (ReportsTheGraph, "loss: not detached"),
    "no_graph_outlives_a_step": (KeepsTheView, "alive after the step: the graph of layers.0"),
    "the_same_seed_gives_the_same_bits": (CountsForever, "two runs of one seed differ"),
    "resuming_equals_no_interruption": (ForgetsOnResume, "these differ after a resume"),
    "layers_can_train_in_parallel": (KnowsItsThread, "3 layers at once, these differ"),
    "batch_order_does_not_matter": (MindsTheOrder, "the gradient of layers.0"),
    "phases_train_their_layers_alone": (TrainsFrozenLayers, "moved while only last was to learn: layers.0"),
    "predictions_have_their_shape": (PredictsBadly, r"shape \(1, 4\), not \(5, 4\)"),
    "predictions_depend_on_image_and_state": (KnowsTheLabels, "a run that was loaded answers otherwise"),
    "prediction_changes_nothing": (LearnsFromPredicting, "changed by prediction: rule objectives.layers.0#0.predicted"),
    "hard_batches_stay_finite": (
        DividesByTheSpread,
        "one class, dense maps cut by layer: the objective of .* is not finite",
    ),
    "the_smallest_batch_trains": (NeedsFour, "batches of 2, perceptron cut by layer"),
    "half_precision_trains": (NeedsFullPrecision, "bf16, "),
    "updates_are_means_over_a_batch": (SumsOverTheBatch, "sums over a batch should be means"),
    "memory_stays_bounded": (KeepsEveryBatch, r"every step still leaves [1-9][\d,]* bytes in tensors"),
    "auxiliary_parameters_learn": (NeverTrainsItsHead, r"these did not move: objectives\S+head\.weight"),
    "multi_operation_layers_stay_finite": (OneOperationAlone, "too many values"),
    "soft_targets_are_honoured": (ReadsLabelsAlone, "mixed targets teach the same as labels"),
    "learns_digits": (Plain, r"on the digits' test split by a perceptron, below 0\.9"),
}


def test_for_each_check_there_is_a_rule_that_breaks_the_promise() -> None:
    assert set(BROKEN) == set(CHECKS)


@pytest.mark.usefixtures("heavy_plugin")
@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_promise_is_found_and_told(name: str) -> None:
    rule, told = BROKEN[name]
    with pytest.raises((AssertionError, LocalRulesError), match=told):
        run(rule, name)


@pytest.mark.parametrize("name", ["cached_values_are_detached", "predictions_have_their_shape"])
def test_checks_run_on_a_layer_with_several_outputs(name: str) -> None:
    with pytest.raises(LocalRulesError, match="OneOutputAlone") as failed:
        run(OneOutputAlone, name)
    assert "too many values to unpack" in failed.value.why


def test_gradients_that_vanish_in_half_precision_are_found() -> None:
    with pytest.raises(AssertionError, match=r"bf16, .*: training changed nothing in layers\.0"):
        run(VanishesInHalfPrecision, "half_precision_trains")


def test_the_networks_and_their_cuts() -> None:
    places = RuleUnderTest(Plain).places
    assert [str(place) for place in places] == [
        "perceptron cut by layer",
        "perceptron cut into one layer",
        "dense maps cut by layer",
        "dense maps cut by block",
        "dense maps cut into one layer",
    ]
    networks = [RuleUnderTest(Plain).session(place).network for place in places]
    outputs = [max(len(layer.out_shapes) for layer in network.layers) for network in networks]
    assert outputs == [1, 1, 1, 1, 2]


def test_another_bound_may_be_set_for_the_accuracy_on_the_digits() -> None:
    run(Plain, "learns_digits", Bounds(digits=0.05))
    with pytest.raises(AssertionError, match=r"by a chain of maps, below 0\.8"):
        run(Plain, "learns_digits", Bounds(digits=0.05, maps=0.8))


def test_a_rule_that_does_not_take_one_image_has_to_say_so() -> None:
    with pytest.raises(
        AssertionError, match=r"batches of 1, dense maps cut by layer: the objective of .* is not finite"
    ):
        run(NeedsCompany, "the_smallest_batch_trains")


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_a_rule_that_learns_nothing_from_two_images_has_to_say_so(
    decay: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = ComparesOthers.info.replace(run_defaults={"optimizer": {"name": "adamw", "weight_decay": decay}})
    monkeypatch.setattr(ComparesOthers, "info", info)
    with pytest.raises(
        AssertionError, match=r"batches of 2, perceptron cut by layer: training changed nothing in layers"
    ):
        run(ComparesOthers, "the_smallest_batch_trains")


def test_layers_that_a_rule_has_frozen_need_not_learn() -> None:
    run(FreezesTheFirst, "the_smallest_batch_trains")


def test_a_rule_that_learns_digits_from_vectors_has_to_learn_them_through_maps_too() -> None:
    class LosesMaps(OutputTransform, LocalCrossEntropy):
        """Readers of feature maps receive zeros."""

        def transform_output(self, output: Tensor) -> Tensor:
            return output if output.dim() == 2 else torch.zeros_like(output)

    with pytest.raises(AssertionError, match=r"by a chain of maps, below 0\.9"):
        run(LosesMaps, "learns_digits")


def test_what_is_drawn_for_an_image_goes_with_it_when_the_batch_is_shuffled() -> None:
    run(DrawsForEachImage, "batch_order_does_not_matter")
    with pytest.raises(AssertionError, match=r"on perceptron cut by layer: the gradient of layers\.0"):
        run(DrawsWhoIsMet, "batch_order_does_not_matter")


@pytest.mark.exhaustive
def test_every_check_has_one_of_four_results() -> None:
    known = {"parameters_move_by_optimizers_alone": "weights decay by hand"}
    results = run_checks(Writes, expected_failures=known)
    found = {result["check"]: (result["status"], result["reason"]) for result in results}
    assert list(found) == list(CHECKS)
    assert found["options_are_documented"] == ("passed", "")
    assert found["parameters_move_by_optimizers_alone"] == ("expected-failure", "weights decay by hand")
    assert found["entry_module_is_light"] == ("skipped", "the rule is of no installed plugin")


def test_an_expected_failure_that_passes_is_a_failure() -> None:
    known = {"options_survive_json": "no idea"}
    (check,) = (check for check in checks(Plain, expected_failures=known) if check.name == "options_survive_json")
    assert run_check(check) == {"status": "failed", "reason": "expected to fail (no idea), and passes"}


def test_an_expected_failure_of_no_check_is_refused() -> None:
    with pytest.raises(LocalRulesError, match="there is no check 'learns_didgits'"):
        list(checks(Plain, expected_failures={"learns_didgits": "typo"}))


def test_pytest_runs_a_test_for_each_check_and_expects_the_failures() -> None:
    known = {"Plain": {"learns_digits": "it does not learn"}}
    mark = parametrize_with_checks([Plain, "local-ce"], expected_failures=known)
    names, cases = mark.args
    assert names == "check"
    assert [case.id for case in cases] == [f"{rule}-{name}" for rule in ("Plain", "local-ce") for name in CHECKS]
    (marked,) = (case for case in cases if case.marks)
    assert marked.id == "Plain-learns_digits"
    assert marked.marks[0].kwargs == {"reason": "it does not learn", "strict": True}


def test_without_scikit_learn_the_digits_are_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    from localrules.testing.conformance import digits

    digits.digits.cache_clear()
    monkeypatch.setitem(__import__("sys").modules, "sklearn.datasets", None)
    with pytest.raises(NotApplicable, match="scikit-learn is not installed"):
        run(Plain, "learns_digits")


FILE = """
from localrules import Objective, RuleInfo


class Mine(Objective):
    \"\"\"Moves the mean of outputs to one.\"\"\"

    info = RuleInfo(locality="local")

    def forward(self, view):
        return (view.output.mean(0) - BROKEN).square().mean()


RULES = {"mine": Mine}
"""


@pytest.mark.parametrize(("value", "code"), [pytest.param("1", 0, marks=pytest.mark.exhaustive), ("undefined", 1)])
def test_the_command_prints_what_scripts_rely_on(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, value: str, code: int
) -> None:
    path = tmp_path / "mine.py"
    path.write_text(FILE.replace("BROKEN", value))
    command = ["plugins", "check", "mine", "--plugin", str(path), "--expect-failure", "learns_digits"]
    assert main([*command, "--json"]) == code
    found = json.loads(capsys.readouterr().out)
    assert [set(line) for line in found] == [{"check", "status", "reason"}] * len(CHECKS)
    assert {line["status"] for line in found} <= {"passed", "failed", "expected-failure", "skipped"}
    (expected,) = (line for line in found if line["check"] == "learns_digits")
    assert expected["status"] == "expected-failure"
    failed = [line for line in found if line["status"] == "failed"]
    assert bool(failed) == bool(code)
    assert all("NameError" in line["reason"] for line in failed)
    if failed:  # at once: the other takes as long again
        assert main(command) == code
        assert f"{len(CHECKS)} checks:" in capsys.readouterr().out


def test_the_command_takes_other_bounds(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(FILE.replace("BROKEN", "1"))
    command = ["plugins", "check", "mine", "--plugin", str(path), "--json", "--digits-bound", "0.05"]
    command += ["--only", "learns_digits"]
    assert main(command) == 0
    assert main([*command, "--maps-bound", "0.9"]) == 1
    lines = capsys.readouterr().out
    assert "by a chain of maps, below 0.9" in lines


def test_a_name_of_nothing_is_an_error_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugins", "check", "nothing-of-the-kind", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["what"].startswith("there is no rule")


@pytest.mark.exhaustive
def test_models_and_data_sets_are_checked_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugins", "check", "classics", "--json", "--only", "logits_have_their_shape"]) == 0
    found = {line["check"]: line["status"] for line in json.loads(capsys.readouterr().out)}
    assert found["mlp/logits_have_their_shape"] == "passed"
