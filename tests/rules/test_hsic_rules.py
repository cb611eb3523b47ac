"""The HSIC rules against their formulas, written out in float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers import reference
from helpers.one_layer import make
from torch import Tensor, nn

from localrules import Batch, Layer, LayerView, Objective
from localrules_hsic import features
from localrules_hsic.hsic import HSIC
from localrules_hsic.hsic_normalized import NormalizedHSIC

SAMPLES, CLASSES = 12, 3


def make_view(pool_size: int | None = None, seed: int = 0) -> LayerView:
    draws = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, CLASSES, (SAMPLES,), generator=draws)
    images = torch.randn(SAMPLES, 1, 8, 8, generator=draws, dtype=torch.float64)
    inputs = torch.randn(SAMPLES, 3, 8, 8, generator=draws, dtype=torch.float64)
    output = torch.randn(SAMPLES, 2, 8, 8, generator=draws, dtype=torch.float64) + labels[:, None, None, None]
    layer = Layer("layer", nn.Identity(), pool_size=pool_size, out_shapes=((2, 8, 8),))
    return LayerView(layer, (inputs,), output.requires_grad_(), Batch(images, labels, CLASSES))


def trace_loss(config: HSIC.Config, view: LayerView) -> Tensor:
    """HSIC(Z, X) - beta HSIC(Z, Y), each by itself."""
    z, x, y = grams(config, view)
    if config.normalization == "frobenius":
        terms = [reference.cosine_of_grams(z, other) for other in (x, y) if other is not None]
    else:
        power = {"biased": 2, "printed": 1}[config.normalizer]
        terms = [reference.trace_form(z, other, power) for other in (x, y) if other is not None]
    return combine(terms, config.beta)


def normalized_loss(config: NormalizedHSIC.Config, view: LayerView) -> Tensor:
    """nHSIC(Z, X) - beta nHSIC(Z, Y), each by itself."""
    z, x, y = grams(config, view)
    terms = [reference.normalized(z, other, config.eps, config.eps_target) for other in (x, y) if other is not None]
    return combine(terms, config.beta)


def combine(terms: list[Tensor], beta: float) -> Tensor:
    return terms[0] - beta * terms[1] if len(terms) == 2 else -beta * terms[0]


def grams(config: Any, view: LayerView) -> tuple[Tensor, Tensor | None, Tensor]:
    grid = {"flat": None, "readers": view.layer.pool_size or config.grid}.get(config.reading, config.reading)
    z = reference.kernel(reference.pooled(view.output, grid), config.kernel, config.width, config.centered)
    seen = {"input": view.images, "previous": reference.pooled(view.inputs[0], 4), "none": None}[config.reference]
    x = None if seen is None else reference.kernel(seen, config.kernel_x, config.width, config.centered)
    return z, x, reference.labels_kernel(view.labels, CLASSES, config.kernel_y, config.width)


def objective(rule: type[Objective], view: LayerView, **options: Any) -> Objective:
    return make(rule, view.layer, num_classes=CLASSES, **options)


def assert_equal(rule: Objective, expected: Any, view: LayerView, tolerance: float = 1e-5) -> None:
    found, slowly = rule(view), expected(rule.config, view)
    torch.testing.assert_close(found.double(), slowly, rtol=tolerance, atol=tolerance)
    gradient, slow_gradient = (torch.autograd.grad(loss, view.output)[0] for loss in (found, slowly))
    scale = float(slow_gradient.abs().max())
    assert scale > 0
    torch.testing.assert_close(gradient, slow_gradient, rtol=10 * tolerance, atol=10 * tolerance * scale)


PAPER: list[tuple[type[Objective], Any]] = [(HSIC, trace_loss), (NormalizedHSIC, normalized_loss)]


@pytest.mark.parametrize(("rule", "expected"), PAPER)
def test_the_defaults(rule: type[Objective], expected: Any) -> None:
    view = make_view()
    assert_equal(objective(rule, view), expected, view)


@pytest.mark.parametrize(("rule", "expected"), PAPER)
def test_the_form_as_printed(rule: type[Objective], expected: Any) -> None:
    # The Gaussian of labels is rounded to float32, which the paper's ridge of 1e-5 lets through.
    tolerance = 1e-5 if rule is HSIC else 2e-3
    view = make_view()
    assert_equal(objective(rule, view, **rule.info.presets["paper"]), expected, view, tolerance)


@pytest.mark.slow
@pytest.mark.parametrize("kernel_y", ["delta", "balanced", "gaussian"])
@pytest.mark.parametrize("kernel", ["cosine", "gaussian", "linear"])
@pytest.mark.parametrize("normalization", ["frobenius", "none"])
def test_trace_form_with_each_kernel(normalization: str, kernel: str, kernel_y: str) -> None:
    options = {"normalization": normalization, "kernel": kernel, "kernel_x": kernel, "kernel_y": kernel_y}
    view = make_view()
    assert_equal(objective(HSIC, view, **options), trace_loss, view)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"centered": False},
        {"reference": "previous"},
        {"reference": "none"},
        {"reading": 2},
        {"reading": "flat"},
        {"grid": 2},
        {"beta": 0.0},
        {"beta": 3.0},
        {"kernel": "gaussian", "width": 0.7},
    ],
    ids=str,
)
@pytest.mark.parametrize(("rule", "expected"), PAPER)
def test_each_option(rule: type[Objective], expected: Any, options: dict[str, Any]) -> None:
    view = make_view()
    assert_equal(objective(rule, view, **options), expected, view)


def test_outputs_are_averaged_as_their_readers_see_them() -> None:
    view = make_view(pool_size=1)
    assert_equal(objective(HSIC, view, reading="readers"), trace_loss, view)
    at_one = objective(HSIC, view, reading=1)(view)
    assert torch.equal(objective(HSIC, view, reading="readers")(view), at_one)
    assert not torch.equal(objective(HSIC, view, reading=4)(view), at_one)


def test_the_normalizers_differ_by_the_batch_size() -> None:
    view = make_view()
    biased, printed = (
        objective(HSIC, view, normalization="none", normalizer=normalizer)(view) for normalizer in ("biased", "printed")
    )
    torch.testing.assert_close(printed, biased * (SAMPLES - 1))


@pytest.mark.parametrize("rule", [HSIC, NormalizedHSIC])
def test_the_default_does_not_depend_on_the_scale_of_the_output(rule: type[Objective]) -> None:
    view = make_view()
    before = objective(rule, view)(view)
    view.output = view.output.detach() * 100
    torch.testing.assert_close(objective(rule, view)(view), before)


@pytest.mark.parametrize("preset", [None, "paper"])
@pytest.mark.parametrize("rule", [HSIC, NormalizedHSIC])
def test_the_order_of_the_batch_does_not_matter(rule: type[Objective], preset: str | None) -> None:
    view = make_view()
    trained = objective(rule, view, **(rule.info.presets[preset] if preset else {}))
    order = torch.randperm(SAMPLES, generator=torch.Generator().manual_seed(5))
    batch = Batch(view.images[order], view.labels[order], CLASSES)
    shuffled = LayerView(view.layer, (view.inputs[0][order],), view.output.detach()[order].requires_grad_(), batch)
    one, other = trained(view), trained(shuffled)
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    (gradient,), (moved,) = torch.autograd.grad(one, view.output), torch.autograd.grad(other, shuffled.output)
    torch.testing.assert_close(gradient[order], moved, rtol=1e-2, atol=1e-2 * float(gradient.abs().max()))


@pytest.mark.parametrize("rule", [HSIC, NormalizedHSIC])
def test_shared_gram_matrices_are_computed_once_per_step(
    rule: type[Objective], monkeypatch: pytest.MonkeyPatch
) -> None:
    grams: list[tuple[int, ...]] = []
    plain = features.gram
    monkeypatch.setattr(features, "gram", lambda x, kernel: grams.append(x.shape) or plain(x, kernel))
    view = make_view()
    trained = objective(rule, view, reference="input")
    first, again = trained(view), trained(view)
    assert torch.equal(first, again)
    assert len(grams) == 1


def test_the_input_and_the_labels_get_no_gradient() -> None:
    view = make_view()
    view.batch.images.requires_grad_()
    objective(HSIC, view)(view).backward()
    assert view.images.grad is None


def test_a_better_separated_layer_has_a_lower_objective() -> None:
    view = make_view()
    one_hot = nn.functional.one_hot(view.labels, CLASSES).double()
    for rule in (HSIC, NormalizedHSIC):
        trained = objective(rule, view)
        losses = []
        for mix in (0.0, 0.5, 0.9):
            noise = torch.randn(SAMPLES, CLASSES, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
            view.output = mix * one_hot + (1 - mix) * noise
            losses.append(trained(view).item())
        assert losses == sorted(losses, reverse=True)


@pytest.mark.parametrize("rule", [HSIC, NormalizedHSIC])
def test_one_width_is_that_of_all_gaussian_kernels(rule: type[Objective]) -> None:
    """Also of the labels': at width 1 they are nearly a delta, at width 30 nearly constant."""
    options = {"kernel": "gaussian", "kernel_x": "gaussian", "kernel_y": "gaussian", "reference": "none"}
    expected = {HSIC: trace_loss, NormalizedHSIC: normalized_loss}[rule]
    found = []
    for width in (1.0, 30.0):
        view = make_view()
        made = objective(rule, view, width=width, **options)
        assert_equal(made, expected, view)
        found.append(made(view).item())
    assert found[0] != pytest.approx(found[1], rel=1e-3)
