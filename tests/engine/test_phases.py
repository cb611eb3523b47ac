"""Which layers learn when; the others stand still to the last bit."""

from __future__ import annotations

import pytest
import torch
from helpers.tiny_sessions import LOCAL_RULES, RULES, dense, perceptron, state, train
from torch import Tensor

from localrules import Layer
from localrules.config.schema import JOINT, TWO_PHASE, PhaseConfig, RunConfig
from localrules.core.rule import state_key
from localrules.engine.phases import apply_phase, build_phases, cost_until
from localrules.engine.session import Session
from localrules.engine.step import train_step
from localrules.errors import UsageError
from localrules_backprop.backprop import Backprop
from localrules_forward.forward_forward import ForwardForward
from localrules_hsic.hsic import HSIC
from localrules_hsic.hsic_projected import ProjectedHSIC
from localrules_supervised.local_ce import LocalCrossEntropy

LEARNS = {"hidden": "readout", "readout": "hidden"}


def of_layers(session: Session, which: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    readout = ("network.readout.", "rule.readout")
    return {name: tensor for name, tensor in tensors.items() if name.startswith(readout) == (which == "readout")}


@pytest.mark.parametrize("learning", LEARNS)
@pytest.mark.parametrize("rule", RULES)
def test_layers_that_do_not_learn_keep_parameters_and_buffers_to_the_bit(rule: str, learning: str) -> None:
    session = dense(RULES[rule], phases=[{"name": "only", "train_layers": learning}])
    before = state(session)
    train(session, 0, 3)
    after = state(session)
    for name, tensor in of_layers(session, LEARNS[learning], before).items():
        assert torch.equal(tensor, after[name]), name
    for layer in session.network.layers:
        moved = any(
            not torch.equal(tensor, after[name])
            for name, tensor in before.items()
            if name.startswith(f"network.{layer.name}.")
        )
        assert moved == (layer.is_readout == (learning == "readout")), layer.name


@pytest.mark.parametrize("rule", RULES)
def test_layers_that_do_not_learn_run_in_eval_mode_without_gradient(rule: str) -> None:
    session = dense(RULES[rule], phases=[{"name": "only", "train_layers": "readout"}])
    seen: dict[str, tuple[bool, bool]] = {}
    for name, module in session.network.model.named_modules():
        if isinstance(module, torch.nn.BatchNorm2d) or name == "readout.classifier":

            def note(module: torch.nn.Module, inputs: object, output: Tensor, name: str = name) -> None:
                seen[name] = (module.training, output.requires_grad)

            module.register_forward_hook(note)
    train(session, 0, 1)
    assert seen.pop("readout.classifier") == (True, True)
    assert len(seen) == 8
    assert set(seen.values()) == {(False, False)}


def test_a_phase_that_ends_lets_the_next_ones_layers_learn() -> None:
    session = dense(RULES["hsic"], phases="two-phase", steps=4)
    assert [(phase.name, phase.start, phase.stop) for phase in session.phases] == [("hidden", 0, 3), ("readout", 3, 4)]
    start = state(session)
    train(session, 0, 3)
    middle = state(session)
    train(session, 3, 4)
    end = state(session)
    assert torch.equal(start["network.readout.classifier.weight"], middle["network.readout.classifier.weight"])
    assert not torch.equal(middle["network.readout.classifier.weight"], end["network.readout.classifier.weight"])
    assert not torch.equal(start["network.stem.weight"], middle["network.stem.weight"])
    assert torch.equal(middle["network.stem.weight"], end["network.stem.weight"])
    assert torch.equal(middle["network.stem.norm.running_mean"], end["network.stem.norm.running_mean"])


@pytest.mark.parametrize("rule", RULES)
def test_a_phase_may_name_its_layers(rule: str) -> None:
    session = dense(RULES[rule], phases=[{"name": "upper", "train_layers": ["blocks.1.*", "downs.*"]}])
    (phase,) = session.phases
    expected = {layer.name for layer in session.network.layers if layer.name.startswith(("blocks.1.", "downs."))}
    assert phase.trainable_layers == expected
    before = state(session)
    train(session, 0, 3)
    after = state(session)
    for layer in session.network.layers:
        own = [name for name in before if name.startswith(f"network.{layer.name}.")]
        assert any(not torch.equal(before[name], after[name]) for name in own) == (layer.name in expected), layer.name


def test_a_pattern_that_fits_no_layer_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(UsageError, match=r"no layer is called 'block\.1\.\*'") as caught:
        dense(RULES["hsic"], phases=[{"name": "upper", "train_layers": ["blocks.0.*", "block.1.*"]}])
    assert "phase 'upper'" in str(caught.value.where)
    assert "blocks.1.convs.0" in str(caught.value.why)


def test_a_layer_that_learns_costs_its_forward_pass_three_times() -> None:
    session = dense(RULES["hsic"], phases="two-phase", steps=4)
    costs = {layer.name: layer.macs for layer in session.network.layers}
    whole, readout = sum(costs.values()), costs["readout"]
    first, second = session.phases
    assert first.cost == pytest.approx((3 * (whole - readout) + readout) / whole)
    assert second.cost == pytest.approx((whole + 2 * readout) / whole)
    assert cost_until(session.phases, 0) == 0
    assert cost_until(session.phases, 2) == pytest.approx(2 * first.cost)
    assert cost_until(session.phases, 4) == pytest.approx(3 * first.cost + second.cost)


def test_a_report_names_the_layers_that_learned() -> None:
    session = perceptron(RULES["local-ce"], phases="two-phase", steps=4)
    hidden, readout = session.phases
    apply_phase(hidden, session.network, session.trainable)
    report = train_step(session, hidden, 0).report
    assert list(report.objectives) == ["layers.0", "layers.1", "layers.2"]
    assert report.loss is None
    apply_phase(readout, session.network, session.trainable)
    report = train_step(session, readout, 3).report
    assert list(report.objectives) == ["readout"]
    assert report.loss is not None
    assert float(report.loss) == float(report.objectives["readout"])


@pytest.mark.parametrize("learning", ["readout", ["downs.*", "readout"]])
def test_auxiliary_modules_may_go_on_while_their_layers_stand_still(learning: str | list[str]) -> None:
    phases = [{"name": "last", "train_layers": learning, "auxiliary": True}]
    session = dense(ProjectedHSIC, rule_options={"vote": True}, phases=phases)
    before = state(session)
    train(session, 0, 3)
    after = state(session)
    moved = {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}
    stands_still = {layer.name for layer in session.network.layers} - session.phases[0].trainable_layers
    assert {"stem", "blocks.0.convs.0"} <= stands_still
    for layer in session.network.layers:
        assert any(name.startswith(f"network.{layer.name}.") for name in moved) == (layer.name not in stands_still)
    for layer in session.network.hidden:
        for part in ("projection", "proxies", "classifier"):
            own = f"rule.objectives.{state_key(layer, 0)}.{part}."
            assert any(name.startswith(own) for name in moved), own


def test_auxiliary_modules_learn_on_features_that_stand_still_what_their_objective_asks() -> None:
    phases = [{"name": "last", "train_layers": "readout", "auxiliary": True}]
    session = perceptron(LocalCrossEntropy, phases=phases, steps=60, augment={"shift": 0}, optimizer={"lr": 0.01})
    (phase,) = session.phases
    apply_phase(phase, session.network, session.trainable)
    reports = [train_step(session, phase, step).report for step in range(60)]
    assert list(reports[0].objectives) == ["layers.0", "layers.1", "layers.2", "readout"]
    for layer in reports[0].objectives:
        assert float(reports[-1].objectives[layer]) < float(reports[0].objectives[layer]), layer


class FrozenHeads(LocalCrossEntropy):
    """Its heads stay as they were made."""

    def __init__(self, config: LocalCrossEntropy.Config, layer: Layer, num_classes: int) -> None:
        super().__init__(config, layer, num_classes)
        self.requires_grad_(False)


def test_layers_without_auxiliary_modules_have_nothing_to_go_on_with() -> None:
    phases = [{"name": "last", "train_layers": "readout", "auxiliary": True}]
    for rule in (HSIC, Backprop, FrozenHeads):
        with pytest.raises(UsageError, match="no auxiliary modules") as caught:
            perceptron(rule, phases=phases)
        assert "phase 'last'" in str(caught.value.where)


@pytest.mark.parametrize(
    ("fractions", "steps", "stops"),
    [
        ([0.75, 0.25], 100, [75, 100]),
        ([3, 1], 100, [75, 100]),
        ([1, 1, 1], 10, [3, 7, 10]),
        ([1000, 1], 5, [4, 5]),
        ([1, 1000], 5, [1, 5]),
        ([1, 1, 1], 3, [1, 2, 3]),
        ([1], 7, [7]),
    ],
)
def test_phases_divide_the_steps_by_their_fractions_and_each_has_one(
    fractions: list[float], steps: int, stops: list[int]
) -> None:
    session = perceptron(RULES["local-ce"])
    phases = build_phases(
        [PhaseConfig(name=str(at), fraction=each) for at, each in enumerate(fractions)],
        session.network,
        session.rule,
        steps,
    )
    assert [phase.stop for phase in phases] == stops
    assert [phase.start for phase in phases] == [0, *stops[:-1]]


def test_more_phases_than_steps_are_refused() -> None:
    with pytest.raises(UsageError, match="2 phases do not fit into 1 steps"):
        perceptron(RULES["local-ce"], phases="two-phase", steps=1)


def test_phases_have_names_in_the_configuration() -> None:
    tree = {"rule": {"name": "r"}, "model": {"name": "m"}, "data": {"name": "d"}}
    assert RunConfig(**tree).phases == JOINT
    assert RunConfig(**tree, phases="two-phase").phases == TWO_PHASE


@pytest.mark.parametrize("rule", RULES)
def test_parameters_frozen_by_the_user_stay_frozen(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    session = frozen(rule, ["blocks.0.convs.0.weight"], monkeypatch)
    before = state(session)
    train(session, 0, 3)
    after = state(session)
    assert torch.equal(before["network.blocks.0.convs.0.weight"], after["network.blocks.0.convs.0.weight"])
    assert not torch.equal(
        before["network.blocks.0.convs.0.norm.weight"], after["network.blocks.0.convs.0.norm.weight"]
    )
    assert not session.network.model.get_parameter("blocks.0.convs.0.weight").requires_grad


@pytest.mark.parametrize("rule", RULES)
def test_a_layer_frozen_whole_stands_still_and_the_others_learn(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["stem.weight", "stem.source_weight", "stem.norm.weight", "stem.norm.bias"]
    session = frozen(rule, names, monkeypatch)
    before = state(session)
    train(session, 0, 3)
    after = state(session)
    assert "stem" not in session.phases[0].trainable_layers
    assert all(torch.equal(before[name], after[name]) for name in before if name.startswith("network.stem."))
    assert not torch.equal(before["network.downs.0.weight"], after["network.downs.0.weight"])


def test_a_frozen_norm_in_a_layer_that_learns_keeps_its_statistics(monkeypatch: pytest.MonkeyPatch) -> None:
    session = frozen("local-ce", ["stem.norm.weight", "stem.norm.bias"], monkeypatch)
    before = state(session)
    train(session, 0, 3)
    after = state(session)
    assert all(torch.equal(before[name], after[name]) for name in before if name.startswith("network.stem.norm."))
    assert not torch.equal(before["network.stem.weight"], after["network.stem.weight"])


def frozen(rule: str, names: list[str], monkeypatch: pytest.MonkeyPatch) -> Session:
    """A session of a model whose author froze some parameters."""
    from localrules_fer.models.dense_fpn import DenseFPN

    build = DenseFPN.__init__

    def build_frozen(self: DenseFPN, *args: object) -> None:
        build(self, *args)  # type: ignore[arg-type]
        for name in names:
            self.get_parameter(name).requires_grad_(False)

    monkeypatch.setattr(DenseFPN, "__init__", build_frozen)
    return dense(RULES[rule])


@pytest.mark.parametrize("rule", LOCAL_RULES)
def test_a_layer_that_does_not_learn_still_feeds_its_readers(rule: str) -> None:
    session = perceptron(
        RULES[rule], phases=[{"name": "only", "train_layers": "readout"}], steps=40, optimizer={"lr": 0.05}
    )
    before = session.predictor.scores(session.data.split("train")).loss
    train(session)
    assert session.predictor.scores(session.data.split("train")).loss < before


@pytest.mark.parametrize(
    ("phases", "message"),
    [
        ([{"name": "a", "train_layers": []}], "no layer learns in phase 'a'"),
        ([{"name": "a"}, {"name": "a", "train_layers": "readout"}], "two phases are called 'a'"),
    ],
)
def test_phases_that_mean_nothing_are_refused(phases: list[dict[str, object]], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        dense(RULES[next(iter(RULES))], phases=phases)


def test_a_phase_of_a_readout_that_the_rule_does_not_train_is_refused() -> None:
    with pytest.raises(UsageError, match="nothing learns in phase 'readout'"):
        perceptron(ForwardForward, phases="two-phase")
