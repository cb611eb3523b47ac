"""Feedback alignment: back-propagation but for the weights on the way back."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers.digits import digits_session
from helpers.plain_networks import PLAIN
from helpers.tiny_sessions import as_model, dense, perceptron, state, train
from torch import Tensor, nn

from localrules import Batch, Network, StepReport
from localrules.auditing.dependence import measure_dependence
from localrules.engine.phases import apply_phase
from localrules.engine.session import Session
from localrules.engine.step import StepContext, train_step
from localrules.errors import UsageError
from localrules.testing.conformance.sessions import build_session, toy_dataset
from localrules_backprop.backprop import Backprop
from localrules_classics.lenet import LeNet
from localrules_classics.mlp import MLP
from localrules_feedback.fa import FeedbackAlignment
from localrules_feedback.feedback_weights import FeedbackRule


class Transported(FeedbackRule):
    """Feedback weights that are the forward ones: back-propagation by another implementation."""

    def draw(self, key: str, weight: Tensor) -> None:
        pass

    def feedback(self, key: str, weight: Tensor) -> Tensor:
        return weight


class _Open:
    """A context in which nothing is stepped, so that gradients stay."""

    def __init__(self, session: Session) -> None:
        inner = StepContext(session, session.phases[0])
        self.is_trainable, self.autocast, self.submit = inner.is_trainable, inner.autocast, inner.submit
        self.backward = inner.backward

    def step_layer(self, layer: Any) -> None:
        pass


def gradients(session: Session, *, double: bool = True) -> tuple[dict[str, Tensor], StepReport]:
    """Gradients that the session's rule leaves in ``.grad`` for the first batch."""
    network, rule = session.network, session.rule
    apply_phase(session.phases[0], network, session.trainable)
    batch = session.batches.batch(0)
    images = batch.images
    if double:
        network.double()
        rule.double()
        images = images.double()
    torch.manual_seed(0)
    report = rule.step(network, Batch(images, batch.labels, len(session.data.classes)), _Open(session))
    found = {name: parameter.grad for name, parameter in network.model.named_parameters()}
    return {name: gradient for name, gradient in found.items() if gradient is not None}, report


def lenet(rule: type, **settings: Any) -> Session:
    return build_session(rule, LeNet, toy_dataset(), **settings)


def plain(kind: str) -> Any:
    return lambda rule, **settings: build_session(rule, as_model(PLAIN[kind]), toy_dataset(), **settings)


NETWORKS: dict[str, Any] = {
    "perceptron": perceptron,
    "lenet": lenet,
    "dense": dense,
    **{kind: plain(kind) for kind in PLAIN},
}


@pytest.mark.slow
@pytest.mark.parametrize("granularity", ["layer", 2])
@pytest.mark.parametrize("kind", NETWORKS)
def test_with_transposed_weights_it_is_back_propagation(kind: str, granularity: str | int) -> None:
    found, _ = gradients(NETWORKS[kind](Transported, granularity=granularity))
    expected, _ = gradients(NETWORKS[kind](Backprop, granularity=granularity))
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(
            found[name], gradient, rtol=1e-10, atol=1e-12, msg=lambda text, name=name: f"{name}: {text}"
        )


def test_a_whole_run_with_transposed_weights_ends_where_back_propagation_does() -> None:
    ends = []
    for rule in (Transported, Backprop):
        session = perceptron(rule, optimizer={"name": "sgd", "lr": 0.1})
        train(session)
        ends.append(state(session))
    for name, tensor in ends[1].items():
        torch.testing.assert_close(ends[0][name], tensor, rtol=1e-4, atol=1e-5)


def test_against_the_formula_written_out() -> None:
    """delta_l = (B_{l+1} delta_{l+1}) * phi', dW_l = delta_l h_{l-1}^T, in loops over the batch."""
    options = {"hidden": (5, 4), "norm": False, "activation": "tanh"}
    session = build_session(FeedbackAlignment, MLP, toy_dataset(shape=(1, 3, 3)), model_options=options)
    found, _ = gradients(session)
    weights = dict(session.network.model.named_parameters())
    matrices = [weights[f"{name}.weight"].detach() for name in ("layers.0.0", "layers.1.0", "readout")]
    biases = [weights[f"{name}.bias"].detach() for name in ("layers.0.0", "layers.1.0", "readout")]
    backward = [session.rule.get_buffer(name) for name in ("layers/1#0", "readout#0")]
    batch = session.batches.batch(0)
    expected = [torch.zeros_like(matrix) for matrix in matrices]
    for image, label in zip(batch.images.double().flatten(1), batch.labels, strict=True):
        first = torch.tanh(matrices[0] @ image + biases[0])
        second = torch.tanh(matrices[1] @ first + biases[1])
        error = torch.softmax(matrices[2] @ second + biases[2], 0)
        error[label] -= 1
        error /= len(batch.labels)
        second_error = (backward[1].T @ error) * (1 - second**2)
        first_error = (backward[0].T @ second_error) * (1 - first**2)
        for total, delta, before in zip(
            expected, (first_error, second_error, error), (image, first, second), strict=True
        ):
            total += torch.outer(delta, before)
    for name, matrix in zip(("layers.0.0", "layers.1.0", "readout"), expected, strict=True):
        torch.testing.assert_close(found[f"{name}.weight"], matrix)


def test_the_readout_learns_by_its_own_gradient_and_the_layers_below_do_not() -> None:
    found, _ = gradients(perceptron(FeedbackAlignment))
    expected, _ = gradients(perceptron(Backprop))
    for name, gradient in expected.items():
        if gradient.dim() == 2 or name.startswith("readout"):  # a bias in front of a norm has none, by either
            assert torch.allclose(found[name], gradient) == name.startswith("readout"), name


@pytest.mark.parametrize(("network", "count"), [(perceptron, 3), (lenet, 4)])
def test_every_operation_but_the_first_has_feedback_weights_of_its_own(network: Any, count: int) -> None:
    session = network(FeedbackAlignment)
    buffers = dict(session.rule.named_buffers())
    layers = session.network.layers
    assert len(buffers) == count
    assert [name.split("#")[0].replace("/", ".") for name in buffers] == [layer.name for layer in layers[1:]]
    before = {name: tensor.clone() for name, tensor in buffers.items()}
    train(session)
    assert all(torch.equal(buffers[name], tensor) for name, tensor in before.items())


def test_a_folded_kernel_and_the_attention_of_the_readout_have_them_too() -> None:
    session = dense(FeedbackAlignment)
    buffers = dict(session.rule.named_buffers())
    kernel = session.network.model.blocks[0].convs[1].weight
    assert buffers["blocks/0/convs/1#0"].shape == kernel.shape
    readout = [name for name in buffers if name.startswith(session.network.readout.name.replace(".", "/") + "#")]
    assert len(readout) == 3  # two of the attention, one of the classifier
    found, _ = gradients(session)
    assert {name for name, _ in session.network.model.named_parameters()} == set(found)


def test_feedback_weights_are_xavier_s() -> None:
    session = build_session(FeedbackAlignment, MLP, toy_dataset(), model_options={"hidden": (300, 200)})
    feedback = session.rule.get_buffer("layers/1#0")
    assert feedback.shape == (200, 300)
    bound = (6 / 500) ** 0.5
    assert feedback.abs().max().item() == pytest.approx(bound, rel=1e-3)
    assert feedback.std().item() == pytest.approx(bound / 3**0.5, rel=0.02)


def test_preparing_counts_nothing_in_norms_and_draws_what_the_seed_says() -> None:
    first, again, other = (dense(FeedbackAlignment, seed=seed) for seed in (0, 0, 1))
    assert all(int(norm.num_batches_tracked) == 0 for norm in first.network.modules() if hasattr(norm, "momentum"))
    assert first.network.model.training
    for name, tensor in first.rule.named_buffers():
        assert torch.equal(tensor, again.rule.get_buffer(name))
        assert not torch.equal(tensor, other.rule.get_buffer(name))


def test_feedback_weights_are_saved_and_loaded() -> None:
    one, other = perceptron(FeedbackAlignment, seed=0), perceptron(FeedbackAlignment, seed=1)
    other.rule.load_state_dict(one.rule.state_dict())
    for name, tensor in one.rule.named_buffers():
        assert torch.equal(other.rule.get_buffer(name), tensor)


def test_weights_that_no_operation_uses_are_refused() -> None:
    class Odd(nn.Module):
        def __init__(self, classes: int) -> None:
            super().__init__()
            self.first = nn.Linear(256, 8)
            self.second = nn.Bilinear(8, 8, 8)
            self.last = nn.Linear(8, classes)

        def forward(self, x: Tensor) -> Tensor:
            x = self.first(x.flatten(1))
            return self.last(self.second(x, x))

    example = torch.zeros(2, 256)
    network = Network.wrap(Odd(4), ["first", "second"], readout="last", example=example)
    with pytest.raises(UsageError, match="'second' cannot have feedback weights for 'weight'"):
        FeedbackAlignment().prepare(network, 4)


@pytest.mark.parametrize("network", [perceptron, lenet, dense])
def test_half_precision_stays_near_full_precision(network: Any) -> None:
    found, report = gradients(network(FeedbackAlignment, precision="bf16"), double=False)
    expected, _ = gradients(network(FeedbackAlignment), double=False)
    assert report.logits is not None
    for name, gradient in found.items():
        assert gradient.dtype == torch.float32
        assert bool(gradient.isfinite().all()), name
    joined, true = (torch.cat([g[name].flatten() for name in sorted(g)]) for g in (found, expected))
    assert torch.cosine_similarity(joined, true, 0) > 0.98


@pytest.mark.parametrize(
    "phases", [[{"name": "only", "train_layers": "readout"}], [{"name": "only", "train_layers": "hidden"}]]
)
def test_layers_that_do_not_learn_stay_as_they_are(phases: list[dict[str, str]]) -> None:
    session = perceptron(FeedbackAlignment, phases=phases)
    before = state(session)
    train(session)
    moved = {name.split(".")[1] for name, tensor in state(session).items() if not torch.equal(tensor, before[name])}
    assert moved == ({"readout"} if phases[0]["train_layers"] == "readout" else {"layers"})


@pytest.mark.slow
@pytest.mark.parametrize("network", [perceptron, dense])
def test_an_update_depends_on_the_layers_above(network: Any) -> None:
    found = measure_dependence(lambda: network(FeedbackAlignment))
    assert found.deterministic
    assert not found.is_local
    assert FeedbackAlignment.info.locality == "feedback"


def angle(session: Session) -> float:
    """Degrees between the rule's update of the hidden layers and back-propagation's, over the whole training split."""
    network, split = session.network, session.data.split("train")
    batch = Batch(session.batches.preprocess(split.images), split.labels, len(session.data.classes))
    updates = []
    for rule in (session.rule, Backprop()):
        network.zero_grad()
        rule.step(network, batch, _Open(session))
        updates.append(torch.cat([p.grad.flatten() for layer in network.hidden for p in layer.parameters()]))
    network.zero_grad()
    return float(torch.rad2deg(torch.acos(torch.cosine_similarity(*updates, 0))))


def test_its_update_comes_to_align_with_back_propagation_s() -> None:
    session = digits_session(FeedbackAlignment, epochs=8)
    apply_phase(session.phases[0], session.network, session.trainable)
    at_first = angle(session)
    for step in range(100):
        train_step(session, session.phases[0], step)
    assert at_first > 85  # random weights know nothing of the forward ones
    assert angle(session) < 75


class _Attends(nn.Module):
    """A layer with one linear operation, and attention whose projections carry the error too."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(16, 8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.position = nn.Parameter(torch.zeros(1, 16, 8))

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.embed(images.flatten(1, 2)) + self.position
        found: Tensor = self.attention(tokens, tokens, tokens, need_weights=False)[0]
        return found.mean(1)


class _Convolves1d(nn.Module):
    """A layer with one linear operation, and a convolution over one axis."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.along = nn.Linear(16, 8), nn.Conv1d(16, 4, 3)

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.along(self.embed(images.flatten(1, 2)))
        return found.flatten(1)


class _Multiplies(nn.Module):
    """A layer with one linear operation, and a product with a parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.mix = nn.Linear(16, 8), nn.Parameter(torch.eye(8))

    def forward(self, images: Tensor) -> Tensor:
        return torch.einsum("bti,ij->bj", self.embed(images.flatten(1, 2)), self.mix)


@pytest.mark.parametrize(
    ("kind", "parameter"), [(_Attends, "in_proj_weight"), (_Convolves1d, "along.weight"), (_Multiplies, "mix")]
)
def test_a_parameter_that_would_carry_true_errors_is_refused_by_name(kind: type[nn.Module], parameter: str) -> None:
    width = kind()(torch.zeros(1, 1, 16, 16)).shape[1]
    network = Network.wrap(
        nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), kind(), nn.Linear(width, 4)),
        layers=["0", "1", "2"],
        example=torch.zeros(2, 1, 16, 16),
    )
    with pytest.raises(UsageError) as refused:
        FeedbackAlignment(FeedbackAlignment.Config()).prepare(network, 4)
    assert parameter in refused.value.where
    assert "position" not in refused.value.where


def test_a_parameter_that_is_only_added_needs_no_feedback_weights() -> None:
    class Shifted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.position = nn.Linear(16, 4), nn.Parameter(torch.zeros(1, 16, 4))

        def forward(self, images: Tensor) -> Tensor:
            return (self.embed(images.flatten(1, 2)) + self.position).flatten(1)

    model = nn.Sequential(Shifted(), nn.Linear(64, 4))
    network = Network.wrap(model, layers=["0", "1"], example=torch.zeros(2, 1, 16, 16))
    FeedbackAlignment(FeedbackAlignment.Config()).prepare(network, 4)
