"""Label kernels: what they say about which samples belong together."""

from __future__ import annotations

import pytest
import torch

from localrules.errors import UsageError
from localrules.kernels.gram import linear
from localrules.kernels.labels import LABEL_KERNELS, labels_gram

Y = torch.tensor([2, 0, 2, 1, 2, 0])


def one_hot() -> torch.Tensor:
    rows = torch.zeros(6, 4, dtype=torch.float64)
    for row, label in zip(rows, Y, strict=True):
        row[label] = 1
    return rows


def test_delta_is_one_within_a_class_and_zero_across():
    torch.testing.assert_close(labels_gram(Y, 4, "delta").double(), linear(one_hot()))


def test_cosine_and_gaussian_match_reference_on_one_hot_labels(reference):
    cosine, gaussian = labels_gram(Y, 4, "cosine"), labels_gram(Y, 4, "gaussian", width=0.5)
    torch.testing.assert_close(cosine.double(), reference.cosine(one_hot(), centered=True), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gaussian.double(), reference.gaussian(one_hot(), 0.5), rtol=1e-5, atol=1e-6)


def test_balanced_makes_every_class_a_direction_of_length_one():
    k = labels_gram(Y, 4, "balanced")
    torch.testing.assert_close(torch.linalg.eigvalsh(k), torch.tensor([0.0, 0, 0, 1, 1, 1]), atol=1e-6, rtol=0)
    assert (k[Y[:, None] != Y] == 0).all()
    assert k[0, 2].item() == pytest.approx(1 / 3)


@pytest.mark.parametrize("kind", LABEL_KERNELS)
def test_label_kernels_are_float32_without_gradient(kind):
    k = labels_gram(Y, 4, kind)
    assert k.dtype == torch.float32
    assert not k.requires_grad
    assert torch.linalg.eigvalsh(k).min() > -1e-5


def test_an_unknown_kind_suggests_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'balanced'"):
        labels_gram(Y, 4, "ballanced")


def test_a_batch_of_one_is_refused():
    with pytest.raises(UsageError, match="at least 2 samples"):
        labels_gram(Y[:1], 4)
