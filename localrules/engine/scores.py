"""Scores of a network's predictions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Scores:
    """Predictions on a split.

    Attributes:
        logits: float32, shape (samples, classes).
        labels: int64, shape (samples,).
    """

    logits: Tensor
    labels: Tensor

    @property
    def predictions(self) -> Tensor:
        """The first of the largest logits of each sample, shape (samples,)."""
        return self.logits.argmax(1)

    @property
    def probabilities(self) -> Tensor:
        """The softmax of the logits, float64, shape (samples, classes)."""
        return self.logits.double().softmax(1)

    @property
    def loss(self) -> float:
        """Mean cross-entropy."""
        return float(functional.cross_entropy(self.logits, self.labels))

    @property
    def top1(self) -> float:
        """Fraction of samples whose label has the largest logit."""
        return float((self.predictions == self.labels).double().mean())

    @property
    def confusion(self) -> Tensor:
        """Samples by label (first axis) and prediction (second), int64, shape (classes, classes)."""
        classes = self.logits.shape[1]
        return torch.bincount(self.labels * classes + self.predictions, minlength=classes**2).view(classes, classes)

    @property
    def per_class_recall(self) -> Tensor:
        """Each class's fraction of samples that were found, NaN for a class without samples, shape (classes,)."""
        confusion = self.confusion.double()
        return confusion.diagonal() / confusion.sum(1)

    @property
    def balanced_accuracy(self) -> float:
        """The mean of the recalls of the classes that occur."""
        return float(self.per_class_recall.nanmean())

    @property
    def one_vs_rest_accuracy(self) -> float:
        """The mean over classes of "this class or not" accuracies. It flatters: a wrong sample errs in two classes."""
        confusion = self.confusion.double()
        wrong = confusion.sum(0) + confusion.sum(1) - 2 * confusion.diagonal()
        return float(1 - (wrong / confusion.sum()).mean())

    def subset(self, mask: Tensor) -> Scores:
        """The samples where ``mask`` is true."""
        return Scores(self.logits[mask], self.labels[mask])
