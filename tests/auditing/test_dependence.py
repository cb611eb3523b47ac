"""That a local rule is local, measured; and that the measurement sees every kind of leak."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from helpers.exhaustive import few
from helpers.plain_networks import Pyramid, Residual
from helpers.tiny_sessions import LOCAL_RULES, RULES, as_model, dense, perceptron, train
from pydantic import BaseModel
from torch import Tensor

from localrules import Layer, LayerView, Objective
from localrules.auditing.dependence import Dependence, measure_dependence
from localrules.engine.session import Session
from localrules.errors import LocalRulesError
from localrules.testing.conformance.sessions import build_session, toy_dataset
from localrules_hsic.hsic_projected import ProjectedHSIC
from localrules_supervised.local_ce import LocalCrossEntropy

pytestmark = pytest.mark.slow

NETWORKS: dict[str, Callable[..., Session]] = {"dense_fpn": dense, "mlp": perceptron}


def own_and_upstream(found: Dependence) -> list[list[bool]]:
    size = range(len(found.layers))
    return [[row == column or found.upstream[row][column] for column in size] for row in size]


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("rule", few(LOCAL_RULES, {"hsic", "local-ce"}))
def test_update_of_a_layer_depends_on_itself_and_on_what_it_reads_and_on_nothing_else(rule: str, network: str) -> None:
    found = measure_dependence(lambda: NETWORKS[network](RULES[rule]))
    assert found.deterministic
    assert found.leaks == []
    assert found.is_local
    assert [list(row) for row in found.depends] == own_and_upstream(found)


@pytest.mark.parametrize(
    ("rule", "granularity"),
    [("hsic", "block"), pytest.param("hsic-normalized", 2, marks=pytest.mark.exhaustive), ("local-ce", 3)],
)
def test_local_rules_are_local_however_the_network_is_cut(rule: str, granularity: str | int) -> None:
    assert measure_dependence(lambda: dense(RULES[rule], granularity=granularity)).is_local


@pytest.mark.parametrize(
    ("rule", "options"),
    [
        pytest.param(LocalCrossEntropy, {"hidden": 8, "inputs": True}, marks=pytest.mark.exhaustive),
        (ProjectedHSIC, {"hidden": 8, "projection": 4, "ce": 0.5}),
    ],
)
def test_small_networks_on_layers_leave_them_local(rule: type[Objective], options: dict[str, object]) -> None:
    def build() -> Session:
        return dense(rule, rule_options={"grid": 2, "channels": 4, **options}, batch_size=16)

    convolutions = [name for name, _ in build().rule.named_parameters() if "convolved.0" in name]
    assert len(convolutions) == 3  # the stem's, and those of the two convolutions at the same size
    found = measure_dependence(build)
    assert found.is_local
    assert [list(row) for row in found.depends] == own_and_upstream(found)


@pytest.mark.parametrize(
    ("rule", "plain"),
    [("hsic", Pyramid), ("hsic-normalized", Residual), pytest.param("local-ce", Pyramid, marks=pytest.mark.exhaustive)],
)
def test_local_rules_are_local_on_networks_of_others(rule: str, plain: type) -> None:
    model = as_model(plain)
    found = measure_dependence(lambda: build_session(RULES[rule], model, toy_dataset()))
    assert found.is_local
    assert len(found.layers) > 5


@pytest.mark.parametrize("rule", ["hsic", "local-ce"])
@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer": {"step_timing": "pass", "grad_clip_norm": 0.1}},
        {"optimizer": {"name": "sgd", "weight_decay": 0.01}},
        {"precision": "bf16"},
        {
            "phases": [{"name": "a", "train_layers": "hidden", "fraction": 2}, {"name": "b", "train_layers": "all"}],
            "steps": 3,
        },
    ],
    ids=["step at the end and clip", "sgd", "bf16", "phases"],
)
def test_no_setting_of_a_run_couples_layers(rule: str, settings: dict[str, object]) -> None:
    assert measure_dependence(lambda: perceptron(RULES[rule], **settings)).is_local


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("rule", few(["backprop", "backprop-checkpointed"], {"backprop-checkpointed"}))
def test_every_update_depends_on_every_layer_under_back_propagation(rule: str, network: str) -> None:
    found = measure_dependence(lambda: NETWORKS[network](RULES[rule]))
    assert found.deterministic
    assert not found.is_local
    assert all(all(row) for row in found.depends)


def test_a_clip_over_all_layers_together_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def build() -> Session:
        session = perceptron(LOCAL_RULES["local-ce"], optimizer={"step_timing": "pass", "grad_clip_norm": 0.1})
        whole = list(session.network.parameters())
        session.optimizers._parameters = dict.fromkeys(session.optimizers._parameters, whole)
        return session

    assert ("layers.0", "readout") in measure_dependence(build).leaks


SHARED: dict[str, Tensor] = {}
"""State that all objectives of a network share."""
LAYERS: dict[str, Layer] = {}


class Quiet(Objective):
    """A local objective, for leaky ones to add to."""

    def __init__(self, config: BaseModel, layer: Layer, num_classes: int) -> None:
        super().__init__(config, layer, num_classes)
        if layer.index == 0:
            SHARED.clear()
        LAYERS[layer.name] = layer

    def forward(self, view: LayerView) -> Tensor:
        return (view.output.mean(0) - 1).square().mean()


class RemembersThePassBefore(Quiet):
    """Scales the first layer's objective by what the third layer gave in the last step."""

    def forward(self, view: LayerView) -> Tensor:
        own, shared = super().forward(view), SHARED
        if view.layer.index == 2:
            shared["last"] = view.output.detach().mean()
        return own * shared.get("last", 1.0) if view.layer.index == 0 else own


class SharesAHead(Quiet):
    """All objectives use one linear head, and all of them write to it."""

    def forward(self, view: LayerView) -> Tensor:
        head = SHARED.setdefault("head", torch.eye(8))
        with torch.no_grad():
            head += 0.01 * view.output[:8, :8].T @ view.output[:8, :8]
        return (view.output[:, :8] @ head).square().mean()


class LooksAtAnother(Quiet):
    """Holds another layer's parameters, and reads them."""

    def weight_of(self, name: str) -> Tensor:
        return next(LAYERS[name].parameters())

    def forward(self, view: LayerView) -> Tensor:
        return super().forward(view) * self.weight_of("layers.2").detach().norm()


class PullsAtAnother(LooksAtAnother):
    """Sends a gradient into another layer's parameters, which its next step adds to its own."""

    def forward(self, view: LayerView) -> Tensor:
        own = Quiet.forward(self, view)
        return own * self.weight_of("layers.0").norm() if view.layer.index == 2 else own


KEPT: dict[str, Tensor] = {}


class UsesAGlobal(Quiet):
    """The third layer's output is kept outside of everything."""

    def forward(self, view: LayerView) -> Tensor:
        own = super().forward(view)
        if view.layer.index == 2:
            KEPT["mean"] = view.output.detach().mean()
        return own * KEPT.get("mean", 1.0) if view.layer.index == 0 else own


@pytest.mark.parametrize(
    ("leaky", "pair"),
    [
        (PullsAtAnother, ("layers.0", "layers.2")),
        (RemembersThePassBefore, ("layers.0", "layers.2")),
        (SharesAHead, ("layers.0", "layers.2")),
        (LooksAtAnother, ("layers.1", "layers.2")),
        (UsesAGlobal, ("layers.0", "layers.2")),
    ],
)
def test_a_leak_is_found_with_its_pair_of_layers(leaky: type[Objective], pair: tuple[str, str]) -> None:
    found = measure_dependence(lambda: perceptron(leaky))
    assert not found.is_local
    assert pair in found.leaks


class KeepsTheGraph(Quiet):
    """Computes with the output of the layer before, whose graph has been freed by then."""

    def forward(self, view: LayerView) -> Tensor:
        own, shared = super().forward(view), SHARED
        if "before" in shared:
            own = own + shared["before"].mean()
        shared["before"] = view.output
        return own


def test_another_layers_graph_is_gone_when_an_objective_reaches_for_it() -> None:
    with pytest.raises(LocalRulesError, match="second time"):
        train(perceptron(KeepsTheGraph), 0, 1)


@pytest.mark.parametrize("leaky", [RemembersThePassBefore, LooksAtAnother])
def test_a_leak_is_pinned_on_no_other_layer(leaky: type[Objective]) -> None:
    found = measure_dependence(lambda: perceptron(leaky))
    above = ("layers.0", "layers.1", "layers.2")  # what the third layer gives depends on all of these
    assert {other for _, other in found.leaks} <= set(above)
    assert not any(row[-1] for row in found.depends[:-1])


def test_what_outlives_the_session_shows_as_unsteady() -> None:
    KEPT.clear()
    assert not measure_dependence(lambda: perceptron(UsesAGlobal)).deterministic


def test_the_plain_objective_of_the_leaky_ones_is_local() -> None:
    assert measure_dependence(lambda: perceptron(Quiet)).is_local
