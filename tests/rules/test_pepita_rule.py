"""pepita against its formula in loops, its two passes, and that it learns."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers.digits import digits_session, learn_digits
from helpers.tiny_sessions import DATASET, dense, perceptron, state, train
from test_hard_batches import HARD, assert_stays_finite
from torch import Tensor, nn

from localrules import Batch, Network, StepReport
from localrules.auditing.dependence import measure_dependence
from localrules.engine.phases import apply_phase
from localrules.engine.session import Session
from localrules.engine.step import StepContext
from localrules.errors import UsageError
from localrules.testing.conformance.sessions import build_session, toy_dataset
from localrules_classics.mlp import MLP
from localrules_classics.vgg import VGG8b
from localrules_forward.pepita import Pepita, SharedNormStats

pytestmark = pytest.mark.slow

LARGE = {"scale": 3.0}  # makes the difference of the two passes large beside rounding errors


class _Open(StepContext):
    """A context in which nothing is stepped, so that gradients stay."""

    def step_layer(self, layer: Any) -> None:
        pass


def gradients(session: Session) -> tuple[dict[str, Tensor], StepReport, Batch]:
    """Gradients that the rule leaves in ``.grad`` for the first batch, in float64."""
    apply_phase(session.phases[0], session.network, session.trainable)
    session.network.double()
    session.rule.double()
    batch = session.batches.batch(0)
    batch = Batch(batch.images.double(), batch.labels, len(session.data.classes))
    report = session.rule.step(session.network, batch, _Open(session, session.phases[0]))
    found = {name: parameter.grad for name, parameter in session.network.model.named_parameters()}
    return {name: gradient for name, gradient in found.items() if gradient is not None}, report, batch


def small(**settings: Any) -> Session:
    options = {"hidden": (5, 4), "norm": False, "activation": "tanh", **settings.pop("model", {})}
    data = toy_dataset(shape=(1, 3, 3))
    return build_session(Pepita, MLP, data, model_options=options, rule_options=LARGE, **settings)


def test_against_the_formula_written_out() -> None:
    session = small()
    found, report, batch = gradients(session)
    weights = {name: tensor.detach() for name, tensor in session.network.model.named_parameters()}
    names = ("layers.0.0", "layers.1.0", "readout")

    def activities(image: Tensor) -> list[Tensor]:
        values = [image]
        for name in names:
            values.append(weights[f"{name}.weight"] @ values[-1] + weights[f"{name}.bias"])
            values[-1] = torch.softmax(values[-1], 0) if name == "readout" else torch.tanh(values[-1])
        return values

    expected = {name: torch.zeros_like(weights[f"{name}.weight"]) for name in names}
    for image, label in zip(batch.images.flatten(1), batch.labels, strict=True):
        target = torch.eye(4, dtype=torch.float64)[label]
        plain = activities(image)
        moved = activities(image + session.rule.feedback @ (plain[-1] - target))
        for layer, name in enumerate(names):
            post = moved[-1] - target if name == "readout" else plain[layer + 1] - moved[layer + 1]
            expected[name] += torch.outer(post, moved[layer]) / len(batch.labels)
    for name, matrix in expected.items():
        torch.testing.assert_close(found[f"{name}.weight"], matrix, rtol=1e-4, atol=1e-6)  # correlated in float32
    assert set(found) == {*(f"{name}.weight" for name in names), "readout.bias"}
    assert report.loss is not None
    assert set(report.objectives) == {"layers.0", "layers.1"}


def test_a_folded_kernel_s_update_is_a_mean_over_positions_and_reaches_the_weights_of_its_sources() -> None:
    session = dense(Pepita, rule_options=LARGE)
    before = {name: tensor.clone().double() for name, tensor in session.network.model.state_dict().items()}
    found, _, batch = gradients(session)
    model = session.network.model
    model.load_state_dict(before)
    kernel = before["stem.weight"] * before["stem.source_weight"]

    def stem(images: Tensor) -> Tensor:
        return model.stem.norm(nn.functional.conv2d(images, kernel, None, 2, 1))

    with torch.no_grad():
        probabilities = torch.softmax(model(batch.images), 1)
        error = probabilities - torch.eye(4, dtype=torch.float64)[batch.labels]
        perturbed = batch.images + (error @ session.rule.feedback.T).view(batch.images.shape)
        raw = nn.functional.conv2d(batch.images, kernel, None, 2, 1)
        mean, var = raw.mean((0, 2, 3)), raw.var((0, 2, 3), unbiased=False)
        again = nn.functional.conv2d(perturbed, kernel, None, 2, 1)
        after = (again - mean[:, None, None]) / (var[:, None, None] + 1e-5).sqrt()
        change = stem(batch.images).relu() - after.relu()
        patches = nn.functional.unfold(perturbed, 3, padding=1, stride=2)  # samples, values of a patch, positions
        expected = torch.einsum("bup,bvp->uv", change.flatten(2), patches) / (change.numel() / len(kernel))
    torch.testing.assert_close(found["stem.weight"].flatten(1), expected, rtol=1e-3, atol=1e-6)
    source = (found["stem.weight"] * before["stem.weight"]).sum()  # the kernel's update along the unfolded kernel
    torch.testing.assert_close(found["stem.source_weight"], source[None], rtol=1e-4, atol=1e-6)


def test_an_operation_that_pooling_follows_is_compared_at_its_own_output() -> None:
    session = build_session(Pepita, VGG8b, toy_dataset(shape=(1, 32, 32)), model_options={"width": 0.125})
    assert_stays_finite(session)


def test_without_an_error_no_hidden_layer_changes() -> None:
    session = small()
    session.rule.feedback.zero_()
    found, *_ = gradients(session)
    assert all(gradient.abs().max() == 0 for name, gradient in found.items() if name.startswith("layers"))
    assert found["readout.weight"].abs().max() > 0


def test_both_passes_drop_the_same_units_and_normalise_alike() -> None:
    session = small(model={"dropout": 0.5, "norm": True})
    session.rule.feedback.zero_()
    found, *_ = gradients(session)  # whatever else differed between the passes would show in the difference
    assert all(gradient.abs().max() < 1e-6 for name, gradient in found.items() if name.startswith("layers"))


def test_norms_count_a_batch_once() -> None:
    session = dense(Pepita)
    train(session, 0, 2)
    assert int(session.network.model.stem.norm.num_batches_tracked) == 2
    plain, again = (nn.BatchNorm1d(3) for _ in range(2))
    first, second = torch.randn(8, 3), torch.randn(8, 3)
    with SharedNormStats() as norms:
        plain(first)
    again(first)
    with SharedNormStats(norms.recorded):
        found = plain(second)
    assert torch.equal(plain.running_mean, again.running_mean)
    std = (first.var(0, unbiased=False) + plain.eps).sqrt()
    torch.testing.assert_close(found, (second - first.mean(0)) / std)


def test_the_feedback_is_fixed_saved_and_within_its_bound() -> None:
    session = perceptron(Pepita)
    before = session.rule.feedback.clone()
    train(session)
    assert torch.equal(session.rule.feedback, before)
    assert "feedback" in session.rule.state_dict()
    bound = 0.05 * (6 / 256) ** 0.5
    assert before.shape == (256, 4)
    assert 0.95 * bound < before.abs().max() <= bound


def test_the_error_is_added_to_images_that_the_network_changes_before_its_first_layer() -> None:
    class Cropped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(4, 3), nn.Linear(3, 2)

        def forward(self, images: Tensor) -> Tensor:
            return self.last(self.first(images[:, :4]))

    network = Network.wrap(Cropped(), ["first", "last"], example=torch.zeros(2, 6))
    rule = Pepita()
    rule.prepare(network, 2)
    assert rule.feedback.shape == (6, 2)
    session = perceptron(Pepita)
    context = StepContext(session, session.phases[0])
    rule.step(network, Batch(torch.zeros(2, 6), torch.tensor([0, 1]), 2), context)
    with pytest.raises(UsageError, match="'pepita' cannot learn from samples of this shape"):
        rule.step(network, Batch(torch.zeros(2, 7), torch.tensor([0, 1]), 2), context)


@pytest.mark.parametrize("network", [perceptron, dense])
def test_layers_depend_on_later_ones_through_the_error_alone(network: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not measure_dependence(lambda: network(Pepita)).is_local
    projected = torch.linspace(-1, 1, 16 * 256).view(16, 1, 16, 16)
    monkeypatch.setattr(Pepita, "_project_error", lambda self, error, images: projected)
    assert measure_dependence(lambda: network(Pepita)).is_local


@pytest.mark.parametrize("phase", ["hidden", "readout"])
def test_layers_that_do_not_learn_stay_as_they_are(phase: str) -> None:
    session = perceptron(Pepita, phases=[{"name": "only", "train_layers": phase}])
    before = state(session)
    train(session)
    moved = {name.split(".")[1] for name, tensor in state(session).items() if not torch.equal(tensor, before[name])}
    assert moved == {"readout" if phase == "readout" else "layers"}


@pytest.mark.parametrize("case", HARD)
def test_hard_batches_break_nothing(case: str) -> None:
    assert_stays_finite(dense(Pepita, data=HARD[case]))


@pytest.mark.parametrize("settings", [{"batch_size": 2}, {"precision": "bf16"}], ids=str)
@pytest.mark.parametrize("network", [perceptron, dense])
def test_small_batches_and_half_precision(network: Any, settings: dict[str, Any]) -> None:
    assert_stays_finite(network(Pepita, data=DATASET, **settings))


def test_it_learns_digits_and_its_hidden_layers_are_better_than_none_learning() -> None:
    assert learn_digits(Pepita) > 0.9
    untrained = digits_session(Pepita, phases=[{"name": "readout", "train_layers": "readout"}])
    train(untrained)
    frozen = untrained.predictor.scores(untrained.data.split("test")).top1
    assert learn_digits(Pepita, epochs=16) > frozen + 0.02
