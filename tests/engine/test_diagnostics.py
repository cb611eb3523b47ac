"""Per-layer diagnostics say what they claim, and change no bit of what is learned."""

from __future__ import annotations

import math

import pytest
import torch
from helpers.tiny_sessions import as_model, dense, perceptron, state, train
from torch import nn
from torch.nn import functional

from localrules import Layer, LayerView, Objective, StepReport
from localrules.callbacks.base import MetricsRow
from localrules.config.schema import DIAGNOSTICS
from localrules.core.layer_spec import LayerSpec
from localrules.core.objective import OutputTransform
from localrules.engine.diagnostics import Diagnostics
from localrules.engine.diagnostics.activations import ActivationDiagnostics
from localrules.engine.phases import apply_phase
from localrules.engine.session import Session
from localrules.engine.step import train_step
from localrules.engine.trainer import metric_names
from localrules.testing.conformance.sessions import build_session, toy_dataset
from localrules_backprop.backprop import Backprop
from localrules_classics.vit import ViTTiny
from localrules_hsic.hsic import HSIC
from localrules_supervised.local_ce import LocalCrossEntropy


def watched(session: Session, steps: int) -> list[MetricsRow]:
    """The rows of some steps, each watched."""
    rows = []
    phase = session.phases[0]
    apply_phase(phase, session.network, session.trainable)
    for step in range(steps):
        with Diagnostics(session).of_step(phase, step) as row:
            train_step(session, phase, step)
        rows.append(row)
    return rows


@pytest.mark.parametrize("rule", [HSIC, Backprop])
def test_a_watched_run_learns_the_same_bits(rule: type) -> None:
    plain, seen = dense(rule), dense(rule, diagnostics=DIAGNOSTICS)
    train(plain, 0, 3)
    watched(seen, 3)
    Diagnostics(seen).of_epoch()
    for (name, one), other in zip(state(plain).items(), state(seen).values(), strict=True):
        assert torch.equal(one, other), name


def test_back_propagation_is_at_no_angle_to_itself() -> None:
    session = dense(Backprop, diagnostics=("angle",))
    for row in watched(session, 2):
        assert len(row) == len(session.network.layers)
        assert all(value < 0.1 for value in row.values())


def test_a_rule_that_goes_the_other_way_is_at_a_straight_angle() -> None:
    class Uphill(Backprop):
        def step(self, network, batch, context):  # type: ignore[no-untyped-def]
            loss = -functional.cross_entropy(network(batch.images), batch.labels)
            loss.backward()
            for layer in network.layers:
                context.step_layer(layer)
            return StepReport()

    session = perceptron(Uphill, diagnostics=("angle",))
    (row,) = watched(session, 1)
    assert all(abs(value - 180) < 0.1 for value in row.values())


def test_gradient_and_update_are_those_of_the_step() -> None:
    settings = {"optimizer": {"name": "sgd", "lr": 0.5, "momentum": 0.0}, "diagnostics": ("gradient", "update")}
    session = perceptron(LocalCrossEntropy, **settings)
    train(session, 0, 1)  # heads that are still zero move nothing
    before = {
        layer.name: torch.cat([p.detach().flatten() for p in layer.parameters()]) for layer in session.network.layers
    }
    phase = session.phases[0]
    with Diagnostics(session).of_step(phase, 1) as row:
        train_step(session, phase, 1)
    for layer in session.network.layers:
        was, now = before[layer.name], torch.cat([p.detach().flatten() for p in layer.parameters()])
        moved = float((now - was).norm())
        assert math.isclose(row[f"update/{layer.name}"], moved / float(was.norm()), rel_tol=1e-5)
        assert math.isclose(0.5 * row[f"gradient/{layer.name}"], moved, rel_tol=1e-3)


def test_a_dead_unit_is_one_that_never_changes() -> None:
    session = perceptron(HSIC)
    first = session.network.layers[0]
    with torch.no_grad():  # batch norm's scale: 3 of 12 units say 0 whatever they see
        norm = first.module[1]
        norm.weight[:3] = 0.0
        norm.bias[:3] = -1.0
    row = ActivationDiagnostics(session).row(("dead",))
    assert row[f"dead/{first.name}"] >= 3 / 12
    assert len(row) == len(session.network.hidden)


def test_readings_of_outputs_are_what_they_are_called() -> None:
    session = perceptron(LocalCrossEntropy, steps=40)
    names = ("hsic-input", "hsic-labels", "cka", "probe")
    before = ActivationDiagnostics(session).row(names)
    train(session)
    after = ActivationDiagnostics(session).row(names)
    assert all(0 <= value <= 1 + 1e-6 for value in after.values())
    last = session.network.hidden[-1].name
    assert after[f"hsic-labels/{last}"] > before[f"hsic-labels/{last}"] + 0.1
    assert after[f"probe/{last}"] > 0.7  # a quarter is guessing
    assert f"cka/{session.network.layers[0].name}" not in after


def test_every_column_is_announced() -> None:
    session = dense(HSIC, diagnostics=DIAGNOSTICS)
    known = set(metric_names(session))
    (row,) = watched(session, 1)
    assert row.keys() | Diagnostics(session).of_epoch().keys() <= known


class Noting(Objective):
    """Notes the mean of its output."""

    def forward(self, view: LayerView) -> torch.Tensor:
        self.log("mean", view.output.mean())
        return view.output.square().mean()

    @classmethod
    def plots(cls, objectives, network):  # type: ignore[no-untyped-def]
        from localrules.utils.plotting import new_figure

        return {"means": new_figure(2, 2)}


def test_a_rule_may_note_metrics_of_its_own_and_draw() -> None:
    session = perceptron(Noting)
    phase = session.phases[0]
    apply_phase(phase, session.network, session.trainable)
    report = train_step(session, phase, 0).report
    hidden: list[Layer] = list(session.network.hidden)
    assert set(report.metrics) == {f"mean/{layer.name}" for layer in hidden}
    assert list(session.rule.plots(session.network)) == ["means"]


def test_layers_are_looked_at_with_the_inputs_that_they_learned_from() -> None:
    class Silent(LocalCrossEntropy, OutputTransform):
        """Its readers receive zeros."""

        def transform_output(self, output: torch.Tensor) -> torch.Tensor:
            return torch.zeros_like(output)

    dead = ActivationDiagnostics(perceptron(Silent)).row(("dead",))
    first, *others = dead.values()
    assert isinstance(first, float)
    assert first < 1
    assert set(others) == {1.0}


def test_the_units_of_tokens_are_their_features() -> None:
    session = build_session(
        LocalCrossEntropy, ViTTiny, toy_dataset(), model_options={"width": 8, "heads": 2, "depth": 2}
    )
    patches = session.network.model.patches
    with torch.no_grad():
        for tensor in (patches.conv.weight, patches.conv.bias):
            tensor[:6] = 0
        patches.positions[..., :6] = 0
    assert ActivationDiagnostics(session).row(("dead",))["dead/patches"] == 0.75


def test_of_several_outputs_the_one_that_counts_is_looked_at() -> None:
    class Recurrent(nn.Module):
        def __init__(self, classes: int) -> None:
            super().__init__()
            self.first, self.second = nn.LSTM(8, 6, batch_first=True), nn.LSTM(6, 6, batch_first=True)
            self.readout = nn.Linear(6, classes)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            hidden, _ = self.second(self.first(images.flatten(1, 2))[0])
            logits: torch.Tensor = self.readout(hidden[:, -1])
            return logits

    spec = LayerSpec(layers=["net.first", "net.second"], readout="net.readout")
    session = build_session(LocalCrossEntropy, as_model(Recurrent, spec), toy_dataset(shape=(1, 8, 8)))
    row = ActivationDiagnostics(session).row(("dead", "hsic-labels", "probe"))
    assert all(isinstance(value, float) and math.isfinite(value) for value in row.values())
