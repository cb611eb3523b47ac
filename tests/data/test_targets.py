"""Soft targets are what the settings say, and a function of seed and step alone."""

from __future__ import annotations

import builtins
from typing import Any

import pytest
import torch

from localrules.data.augment import Augment, AugmentConfig
from localrules.data.batches import Batches
from localrules.data.dataset import Split
from localrules.data.targets import Targets, TargetsConfig, class_weights
from localrules.errors import MissingDependencyError, UsageError

LABELS = torch.tensor([0, 0, 0, 0, 1, 1, 2, 2, 2, 2, 2, 2])


@pytest.fixture
def split() -> Split:
    draw = torch.Generator().manual_seed(3)
    return Split(torch.randint(0, 256, (12, 3, 8, 8), dtype=torch.uint8, generator=draw), LABELS)


def batches(split: Split, *, augment: dict[str, Any] | None = None, **targets: Any) -> Batches:
    config = TargetsConfig(**targets)
    plain = {"flip": False, "shift": 0}
    return Batches(
        split,
        6,
        7,
        augment=Augment(AugmentConfig(**plain | (augment or {}))),
        targets=Targets(config, split.labels, 3),
    )


def test_by_default_there_are_no_soft_targets(split: Split) -> None:
    assert batches(split).batch(0).soft_targets is None


def test_label_smoothing_spreads_a_fraction_over_all_classes(split: Split) -> None:
    found = batches(split, label_smoothing=0.3).batch(0)
    assert found.soft_targets is not None
    for label, target in zip(found.labels.tolist(), found.soft_targets.tolist(), strict=True):
        assert target == pytest.approx([0.8 if label == place else 0.1 for place in range(3)])
    assert torch.equal(found.images, batches(split).batch(0).images)


def test_mixup_mixes_images_and_targets_by_the_same_fraction(split: Split) -> None:
    parts = set()
    for step in range(6):
        plain, mixed = batches(split).batch(step), batches(split, mixup=1.0).batch(step)
        again = batches(split, mixup=1.0).batch(step)
        assert torch.equal(mixed.images, again.images)
        assert mixed.soft_targets is not None
        assert torch.equal(mixed.soft_targets, again.soft_targets)
        assert torch.equal(mixed.labels, plain.labels)
        rest = mixed.soft_targets.sum(1)
        torch.testing.assert_close(rest, torch.ones(6))
        part = float(mixed.soft_targets.gather(1, plain.labels[:, None]).min())
        parts.add(round(part, 4))
        assert 0.5 <= part <= 1
        codes = torch.nn.functional.one_hot(plain.labels, 3).float()
        for image, target in zip(mixed.images, mixed.soft_targets, strict=True):
            pairs = [
                (one, other)
                for one in range(6)
                for other in range(6)
                if torch.allclose(part * plain.images[one] + (1 - part) * plain.images[other], image, atol=1e-4)
                and torch.allclose(part * codes[one] + (1 - part) * codes[other], target, atol=1e-5)
            ]
            assert pairs
    assert len(parts) > 3


def test_class_weights_have_a_mean_of_one_over_the_samples() -> None:
    balanced = class_weights(TargetsConfig(class_weights="balanced"), LABELS, 3)
    assert balanced is not None
    assert balanced.tolist() == pytest.approx([1.0, 2.0, 2 / 3])
    listed = class_weights(TargetsConfig(class_weights=(1.0, 0.0, 2.0)), LABELS, 3)
    assert listed is not None
    assert listed.tolist() == pytest.approx([0.75, 0.0, 1.5])


def test_a_class_without_samples_is_taught_by_no_target() -> None:
    config = TargetsConfig(class_weights="balanced", label_smoothing=0.1)
    absent = Split(torch.zeros(6, 1, 2, 2, dtype=torch.uint8), torch.tensor([0, 0, 0, 2, 2, 2]))
    found = Batches(absent, 6, 0, targets=Targets(config, absent.labels, 3)).batch(0)
    assert found.soft_targets is not None
    assert found.soft_targets[:, 1].tolist() == [0.0] * 6


def test_class_weights_multiply_the_targets(split: Split) -> None:
    found = batches(split, class_weights="balanced").batch(0)
    assert found.soft_targets is not None
    expected = torch.tensor([1.0, 2.0, 2 / 3])[found.labels]
    torch.testing.assert_close(found.soft_targets.sum(1), expected)
    logits = torch.randn(6, 3)
    mine = torch.nn.functional.cross_entropy(logits, found.targets)
    losses = torch.nn.functional.cross_entropy(logits, found.labels, reduction="none")
    torch.testing.assert_close(mine, (losses * expected).mean())


@pytest.mark.parametrize(("weights", "says"), [((1.0, 2.0), "2 class weights for 3"), ((0.0, 0.0, 0.0), "no training")])
def test_weights_that_do_not_fit_are_refused(weights: tuple[float, ...], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        class_weights(TargetsConfig(class_weights=weights), LABELS, 3)


def test_rand_augment_changes_images_by_seed_and_step_alone(split: Split) -> None:
    pytest.importorskip("torchvision")
    asked = {"rand_augment": 2}
    plain, found = batches(split).batch(0).images, batches(split, augment=asked).batch(0).images
    assert found.shape == plain.shape
    assert not torch.equal(found, plain)
    torch.manual_seed(1)
    first = torch.rand(1)
    torch.manual_seed(1)
    source = batches(split, augment=asked)
    source.batch(1)
    assert torch.equal(source.batch(0).images, found)
    assert torch.equal(torch.rand(1), first)  # the global generator is neither read nor moved
    assert torch.isfinite(found).all()


def test_rand_augment_needs_colours_or_grey() -> None:
    pytest.importorskip("torchvision")
    images = Split(torch.zeros(12, 2, 8, 8, dtype=torch.uint8), LABELS)
    with pytest.raises(UsageError, match="RandAugment needs grey or RGB images"):
        batches(images, augment={"rand_augment": 2})


def test_rand_augment_without_torchvision_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("torchvision"):
            raise ImportError("No module named 'torchvision'")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingDependencyError) as caught:
        Augment(AugmentConfig(rand_augment=2))
    assert "localrules[baselines]" in caught.value.fix
