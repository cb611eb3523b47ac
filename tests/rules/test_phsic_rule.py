"""pHSIC against its formulas, written out in float64, and its update as three factors."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from helpers.digits import learn_digits
from helpers.exhaustive import few
from helpers.one_layer import LABELS, make
from helpers.tiny_sessions import dense, perceptron, state
from torch import Tensor, nn
from torch.nn import functional

from localrules import Batch, Layer, LayerView, UsageError
from localrules.auditing.dependence import measure_dependence
from localrules.data.dataset import Dataset, Split
from localrules.engine.phases import apply_phase
from localrules.engine.session import Session
from localrules.engine.step import train_step
from localrules.kernels.labels import simplex
from localrules.testing.conformance.sessions import toy_dataset
from localrules_hsic.phsic import PHSIC, Grouping

pytestmark = pytest.mark.slow

SAMPLES, CLASSES, UNITS = 6, 3, 8
DRAWS = torch.Generator().manual_seed(0)
FORMS: list[dict[str, Any]] = [
    {},
    {"gamma": 0.5},
    {"kernel": "linear"},
    {"kernel": "gaussian", "width": 2.0},
    {"groups": 4},
    {"groups": 4, "kernel": "linear", "power": 0.3, "delta": 0.2},
    {"groups": 4, "kernel": "gaussian"},
    {"groups": 4, "divisive": 0.2},
]


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=DRAWS, dtype=torch.float64)


def see(output: Tensor, labels: Tensor = LABELS) -> LayerView:
    layer = Layer("layer", nn.Identity(), out_shapes=(tuple(output.shape[1:]),))
    return LayerView(layer, (), output, Batch(output.detach(), labels, CLASSES))


def made(shape: tuple[int, ...] = (UNITS,), **options: Any) -> PHSIC:
    return make(PHSIC, Layer("layers.0", nn.Identity(), index=0, out_shapes=(shape,)), **options)


def slow_groups(z: list[float], groups: int, delta: float) -> list[tuple[list[float], float]]:
    """Each group's units less their mean, and its smoothed variance."""
    n = len(z) // groups
    found = []
    for start in range(0, len(z), n):
        mean = sum(z[start : start + n]) / n
        apart = [unit - mean for unit in z[start : start + n]]
        found.append((apart, (sum(unit**2 for unit in apart) + delta) / n))
    return found


def slow_features(z: list[float], config: PHSIC.Config, power: float) -> list[float]:
    if not config.groups:
        return z
    u = [variance**power for _, variance in slow_groups(z, config.groups, config.delta)]
    return [one - sum(u) / len(u) for one in u]


def slow_kernel(a: list[float], b: list[float], config: PHSIC.Config) -> float:
    product = sum(x * y for x, y in zip(a, b, strict=True))
    if config.kernel == "linear":
        return product / len(a)
    if config.kernel == "gaussian":
        return math.exp(-sum((x - y) ** 2 for x, y in zip(a, b, strict=True)) / (2 * config.width**2))
    return product / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def slow_label_kernel(i: int, j: int) -> float:
    samples = [[float(label == LABELS[k]) - 1 / CLASSES for label in range(CLASSES)] for k in (i, j)]
    return slow_kernel(samples[0], samples[1], PHSIC.Config())


def slow_loss(z: Tensor, config: PHSIC.Config, power: float) -> float:
    u = [slow_features(sample, config, power) for sample in z.tolist()]
    pairs = [(i, j) for i in range(len(u)) for j in range(len(u))]
    k_z = {(i, j): slow_kernel(u[i], u[j], config) for i, j in pairs}
    k_y = {(i, j): slow_label_kernel(i, j) for i, j in pairs}
    mean_z, mean_y = (sum(k.values()) / len(pairs) for k in (k_z, k_y))
    terms = [(k_z[p] - mean_z) * k_z[p] - config.gamma * (k_y[p] - mean_y) * k_z[p] for p in pairs]
    return sum(terms) / len(pairs)


@pytest.mark.parametrize("options", FORMS, ids=str)
def test_the_objective_is_the_formula_pair_by_pair(options: dict[str, Any]) -> None:
    rule, z = made(**options), draw(SAMPLES, UNITS)
    power = options.get("power", 0.8 if "divisive" in options else 0.5)
    assert float(rule(see(z))) == pytest.approx(slow_loss(z, rule.config, power), rel=1e-5)


@pytest.mark.parametrize("options", FORMS, ids=str)
def test_its_gradient_is_that_of_the_formula(options: dict[str, Any]) -> None:
    rule = made(**options)
    # The label kernel is float32: exact for 1 and -1/2.
    assert torch.autograd.gradcheck(lambda z: rule(see(z)), draw(SAMPLES, UNITS).requires_grad_())


def test_the_weight_scales_the_objective_alone() -> None:
    z = draw(SAMPLES, UNITS)
    assert float(made(weight=7)(see(z))) == pytest.approx(7 * float(made()(see(z))))


def test_labels_are_corners_of_a_simplex_whatever_the_batch_holds() -> None:
    found = simplex(torch.tensor([0, 0, 3]), 5)
    expected = torch.tensor([[1, 1, -0.25], [1, 1, -0.25], [-0.25, -0.25, 1]])
    torch.testing.assert_close(found, expected)


def third_factor(k_z: Tensor, gamma: float) -> Tensor:
    """``M_ij``: the derivative of the objective in ``k_z``."""
    k_y = simplex(LABELS, CLASSES).double()
    return (2 * (k_z - k_z.mean()) - gamma * (k_y - k_y.mean())) / SAMPLES**2


def test_with_the_linear_kernel_the_update_is_a_sum_over_pairs_of_three_factors() -> None:
    """``dL/dW = 2/d sum_ij M_ij (z_j f'(a_i)) x_i``: third factor, postsynaptic, presynaptic."""
    weight, x = draw(UNITS, 5).requires_grad_(), draw(SAMPLES, 5)
    a = x @ weight.T
    z = torch.tanh(a)
    made(kernel="linear", gamma=1.5)(see(z)).backward()
    with torch.no_grad():
        m = third_factor(z @ z.T / UNITS, 1.5)
        update = torch.zeros(UNITS, 5, dtype=torch.float64)
        for i in range(SAMPLES):
            for j in range(SAMPLES):
                update += 2 / UNITS * m[i, j] * torch.outer(z[j] * (1 - z[i] ** 2), x[i])
    torch.testing.assert_close(weight.grad, update)


def test_with_groups_the_postsynaptic_factor_is_the_divisively_normalised_output() -> None:
    """``dL/dW_k = 2/G sum_ij M_ij u_jg (2p/n) r_ik f'(a_ik) x_i``, where ``r = (z - mean) / v^(1 - p)``."""
    groups, n, p = 4, UNITS // 4, 0.8
    weight, x = draw(UNITS, 5).requires_grad_(), draw(SAMPLES, 5)
    z = torch.tanh(x @ weight.T)
    rule = made(kernel="linear", groups=groups, divisive=0.2)
    rule(see(z)).backward()
    with torch.no_grad():
        r = rule.transform_output(z)
        v = Grouping(groups, 1.0).variances(z)
        u = v**p - (v**p).mean(1, keepdim=True)
        m = third_factor(u @ u.T / groups, 2.0)
        update = torch.zeros(UNITS, 5, dtype=torch.float64)
        for i in range(SAMPLES):
            for j in range(SAMPLES):
                post = u[j].repeat_interleave(n) * (2 * p / n) * r[i] * (1 - z[i] ** 2)
                update += 2 / groups * m[i, j] * torch.outer(post, x[i])
    torch.testing.assert_close(weight.grad, update)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_group_of_a_feature_map_is_all_positions_of_neighbouring_channels(layout: torch.memory_format) -> None:
    maps = draw(2, 6, 3, 3)
    grouping = Grouping(3, 0.5)
    slowly = [slow_groups(sample.flatten().tolist(), 3, 0.5) for sample in maps]
    found = maps.contiguous(memory_format=layout)
    expected = torch.tensor([[variance for _, variance in sample] for sample in slowly], dtype=torch.float64)
    torch.testing.assert_close(grouping.variances(found), expected)
    divided = [[unit / v**0.2 for apart, v in sample for unit in apart] for sample in slowly]
    transformed = grouping.normalized(found, 0.2)
    assert transformed.shape == maps.shape
    torch.testing.assert_close(transformed.flatten(1), torch.tensor(divided, dtype=torch.float64))


@pytest.mark.parametrize(
    ("groups", "shape", "found"),
    [(16, (1024,), 16), (32, (48,), 24), (32, (12, 6, 6), 12), (16, (20, 6, 6), 10), (4, (10,), 2), (32, (8, 1, 1), 4)],
)
def test_groups_are_of_equal_size_and_of_two_units_at_least(groups: int, shape: tuple[int, ...], found: int) -> None:
    assert Grouping(groups, 1.0).count(shape) == found


def test_a_layer_that_cannot_be_grouped_is_refused_with_its_name() -> None:
    with pytest.raises(UsageError, match=r"'layers\.0' cannot be grouped"):
        made((7,), groups=4)
    made((7,))


def test_divisive_normalisation_without_groups_is_refused() -> None:
    with pytest.raises(ValueError, match="groups is 0"):
        PHSIC.Config(divisive=0.2)


def test_readers_get_the_normalised_output_in_training_and_in_prediction() -> None:
    session = perceptron(PHSIC, rule_options={"groups": 4, "divisive": 0.2})
    seen: list[Tensor] = []
    session.network.layers[1].module.register_forward_pre_hook(lambda module, args: seen.append(args[0].detach()))
    outputs: list[Tensor] = []
    session.network.layers[0].module[-1].register_forward_hook(lambda module, args, out: outputs.append(out.detach()))
    (phase,) = session.phases
    apply_phase(phase, session.network, session.trainable)
    train_step(session, phase, 0)
    session.predictor.scores(session.data.split("valid"))
    assert len(seen) == len(outputs) > 1
    for given, output in zip(seen, outputs, strict=True):
        torch.testing.assert_close(given, Grouping(4, 1.0).normalized(output, 0.2))


DATASET = toy_dataset()
IMAGES, NAMES = DATASET.split("train").images, DATASET.split("train").labels


def hard(images: Tensor, labels: Tensor) -> Dataset:
    return Dataset("hard", DATASET.classes, {"train": Split(images, labels)}, "", "", True)


@pytest.mark.parametrize("preset", [None, *PHSIC.info.presets])
@pytest.mark.parametrize(
    "settings",
    [
        {"data": hard(IMAGES, torch.zeros_like(NAMES))},
        {"data": hard(torch.zeros_like(IMAGES), NAMES)},
        {"batch_size": 2},
        {"precision": "bf16"},
    ],
    ids=["one class", "constant images", "a batch of two", "half precision"],
)
def test_hard_batches_stay_finite(preset: str | None, settings: dict[str, Any]) -> None:
    session: Session = dense(PHSIC, rule_options={} if preset is None else {"preset": preset}, **settings)
    (phase,) = session.phases
    apply_phase(phase, session.network, session.trainable)
    for step in range(3):
        report = train_step(session, phase, step).report
        assert all(math.isfinite(float(value)) for value in report.objectives.values())
    assert all(bool(tensor.isfinite().all()) for tensor in state(session).values())


@pytest.mark.parametrize("options", [{}, {"groups": 4, "divisive": 0.2}], ids=["plain", "divisive"])
@pytest.mark.parametrize("network", [perceptron, dense])
def test_it_is_local(network: Any, options: dict[str, Any]) -> None:
    assert measure_dependence(lambda: network(PHSIC, rule_options=options)).is_local


LEARNING: list[dict[str, Any]] = [
    {},
    {"preset": "paper-divisive"},
    {"preset": "paper-gaussian-grouped"},
    {"kernel": "linear"},
]


@pytest.mark.parametrize("options", few(LEARNING, {"{}"}))
def test_it_learns_digits(options: dict[str, Any]) -> None:
    assert learn_digits(PHSIC, rule_options=options) > 0.9


def test_sgd_with_a_weight_is_sgd_with_another_learning_rate_for_hidden_layers() -> None:
    """So the paper's two learning rates are one, and a weight."""
    sgd = {"name": "sgd", "momentum": 0.9}
    plain, weighted = (
        perceptron(PHSIC, optimizer=sgd | {"lr": lr}, rule_options={"weight": weight})
        for lr, weight in ((0.2, 1.0), (0.05, 4.0))
    )
    for session in (plain, weighted):
        (phase,) = session.phases
        apply_phase(phase, session.network, session.trainable)
        for step in range(phase.stop):
            train_step(session, phase, step)
    for one, other in zip(plain.network.hidden, weighted.network.hidden, strict=True):
        for a, b in zip(one.parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(
        functional.normalize(plain.network.model.readout.weight), weighted.network.model.readout.weight
    )
