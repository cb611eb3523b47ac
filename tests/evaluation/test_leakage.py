"""The leak check finds what was put there, and nothing else."""

from __future__ import annotations

import pytest
import torch

from localrules.data.dataset import Split
from localrules.engine.scores import Scores
from localrules.evaluation.leakage import NEAR_DUPLICATE_THRESHOLD, LeakMask, check_leakage, max_similarity
from localrules_fer.faces.dataset import Faces

FACES = Faces(Faces.Config(train=70, valid=70, test=7)).load()


def recompressed(images: torch.Tensor) -> torch.Tensor:
    """The same faces, darker, noisier, and with a mark in a corner."""
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    marked = 0.8 * images.float() + 4 * noise
    marked[:, :, -2:, -6:] = 90
    return marked.clamp(0, 255).to(torch.uint8)


def split_of(images: torch.Tensor) -> Split:
    return Split(images, torch.zeros(len(images), dtype=torch.int64))


def test_copies_flip_images_and_copies_of_the_photograph_are_told_apart() -> None:
    learned, others = FACES.splits["train"].images, FACES.splits["valid"].images
    parts = [learned[:3], learned[3:7].flip(-1), recompressed(learned[7:12]), recompressed(learned[12:14].flip(-1))]
    scored = split_of(torch.cat([*parts, others[:20]]))
    logits = torch.tensor([[1.0, 0.0]] * 14 + [[0.0, 1.0]] * 15 + [[1.0, 0.0]] * 5)
    found = check_leakage(LeakMask.find(scored, split_of(learned)), Scores(logits, scored.labels))
    assert (found.samples, found.training_samples) == (34, 70)
    assert (found.copies, found.flipped, found.near_duplicates) == (3, 4, 7)
    assert found.n_clean == 20
    assert found.top1 == pytest.approx(19 / 34)
    assert found.top1_clean == pytest.approx(5 / 20)


def test_a_split_that_was_learned_leaves_nothing() -> None:
    learned = FACES.splits["train"]
    found = check_leakage(LeakMask.find(learned, learned), Scores(torch.zeros(70, 7), learned.labels))
    assert (found.copies, found.n_clean, found.top1_clean) == (70, 0, None)


def test_likeness_is_a_correlation_of_thumbnails_and_nought_for_a_constant_image() -> None:
    images, others = FACES.splits["valid"].images[:6], FACES.splits["train"].images[:9]

    def thumbnail(image: torch.Tensor) -> torch.Tensor:
        return image.double().view(16, 3, 16, 3).mean((1, 3)).flatten()

    for image, likeness in zip(images, max_similarity(images, others).tolist(), strict=True):
        pairs = [torch.stack([thumbnail(way), thumbnail(other)]) for way in (image, image.flip(-1)) for other in others]
        assert likeness == pytest.approx(max(float(torch.corrcoef(pair)[0, 1]) for pair in pairs), abs=1e-4)
        assert likeness < NEAR_DUPLICATE_THRESHOLD, "two people"
    assert max_similarity(torch.full((1, 1, 48, 48), 7, dtype=torch.uint8), others).abs() < 1e-3
