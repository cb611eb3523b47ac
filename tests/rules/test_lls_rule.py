"""lls: agreement with waves, number by number."""

from __future__ import annotations

import math

import pytest
import torch
from helpers.one_layer import CLASSES, cross_entropy, drawn, draws, layer_of, make, see
from helpers.reference import pooled

from localrules_supervised.lls import LLS

FREQUENCIES = [50 + (512 - 50) * index / (CLASSES - 1) for index in range(CLASSES)]


def agreements(features: list[list[float]], square: bool, temperature: float) -> list[list[float]]:
    """Of each sample with each class, feature by feature."""
    found = []
    for sample in features:
        length = math.sqrt(sum(value * value for value in sample))
        waves = [[math.sin(frequency * place) for place in range(len(sample))] for frequency in FREQUENCIES]
        if square:
            waves = [[math.copysign(1, value) if value else 0.0 for value in wave] for wave in waves]
        found.append([sum(w * z for w, z in zip(wave, sample, strict=True)) / length / temperature for wave in waves])
    return found


@pytest.mark.parametrize("waveform", ["sine", "square"])
@pytest.mark.parametrize(("shape", "pool_size", "grid"), [((7,), None, 4), ((3, 8, 8), None, 4), ((3, 8, 8), 1, 1)])
def test_agreement_with_one_wave_per_class(
    waveform: str, shape: tuple[int, ...], pool_size: int | None, grid: int
) -> None:
    rule = make(LLS, layer_of(shape, pool_size=pool_size), waveform=waveform, temperature=0.5).double()
    view = see(rule)
    found = agreements(pooled(view.output.detach(), grid).tolist(), waveform == "square", 0.5)
    assert rule(view).item() == pytest.approx(cross_entropy(found), rel=1e-6)  # waves are kept in float32


def test_learned_factors_and_learned_map() -> None:
    plain = make(LLS, layer_of((7,))).double()
    view = see(plain)
    each = agreements(view.output.tolist(), False, 1.0)
    for modulation in ("classes", "pairs"):
        start = make(LLS, layer_of((7,)), modulation=modulation).double()
        assert start(view).item() == pytest.approx(plain(view).item(), rel=1e-6)
        rule = drawn(start)
        (learned,) = (parameter.detach() for parameter in rule.parameters())
        if modulation == "classes":
            factors = learned.tolist()
            expected = [[a * f for a, f in zip(sample, factors, strict=True)] for sample in each]
        else:
            expected = [
                [sum(sample[i] * learned[i, j].item() for i in range(CLASSES)) for j in range(CLASSES)]
                for sample in each
            ]
        assert rule(view).item() == pytest.approx(cross_entropy(expected), rel=1e-6)


def test_the_classifier_has_no_weights_and_the_scale_of_the_output_does_not_matter() -> None:
    rule = make(LLS, layer_of((7,))).double()
    assert list(rule.parameters()) == []
    view = see(rule)
    before = rule(view).item()
    view.output = view.output.detach() * draws(6, 1, seed=3).abs()
    assert rule(view).item() == pytest.approx(before, rel=1e-9)


def test_an_output_of_zeros_has_finite_gradients() -> None:
    rule = make(LLS, layer_of((7,)))
    view = see(rule)
    view.output = torch.zeros(6, 7, requires_grad=True)
    rule(view).backward()
    assert view.output.grad is not None
    assert view.output.grad.isfinite().all()
