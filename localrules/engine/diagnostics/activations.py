"""Diagnostics of the layers' outputs on some fixed images, in eval mode."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from localrules.callbacks.base import MetricsRow
from localrules.callbacks.results import Histogram
from localrules.core.interception import Forward, intercept_layers
from localrules.core.layer import Layer
from localrules.core.nn.pooling import pool_flat
from localrules.data.batches import iter_batches
from localrules.data.dataset import Split
from localrules.engine.inference import for_readers, last_output, subsample
from localrules.engine.session import Session
from localrules.kernels.gram import cosine
from localrules.kernels.hsic import normalized_trace
from localrules.kernels.labels import labels_gram

ACTIVATION_DIAGNOSTICS = ("dead", "hsic-input", "hsic-labels", "cka", "probe")

SAMPLES = 512  # images that are looked at
FIT_FRACTION = 2000  # training images that a linear probe is fitted to
GRID = 4  # maps are averaged over such a grid
RIDGE = 1e-2  # of a linear probe, relative to the mean variance of its features


class ActivationDiagnostics:
    """Every hidden layer's output on the first images of the valid split (of train, where there is none).

    ``dead``: the fraction of units that say the same of every image at every place. ``hsic-input``, ``hsic-labels``:
    the normalised trace of the output's centred cosine Gram matrix and that of the images, or the labels' (the
    information plane). ``cka``: the same with the previous hidden layer. ``probe``:
    accuracy on those images of a ridge classifier fitted to the layer's output on training images.

    Args:
        session: The run.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        splits = session.data.splits
        self._seen = splits.get("valid") or splits["train"]

    def row(self, names: tuple[str, ...]) -> MetricsRow:
        """``<name>/<layer>`` for every hidden layer."""
        outputs, images, labels = self._outputs(self._seen, SAMPLES)
        grams = {name: cosine(pool_flat(output, GRID), centered=True) for name, output in outputs.items()}
        row: MetricsRow = {}
        measures: dict[str, Callable[[], dict[str, float]]] = {
            "dead": lambda: {name: _dead_fraction(output) for name, output in outputs.items()},
            "hsic-input": lambda: _alignment(grams, cosine(images, centered=True)),
            "hsic-labels": lambda: _alignment(grams, labels_gram(labels, len(self._session.data.classes), "delta")),
            "cka": lambda: _neighbor_alignment(grams),
            "probe": lambda: self._collect(outputs, labels),
        }
        for name in names:
            row |= {f"{name}/{layer}": value for layer, value in measures[name]().items()}
        return row

    def histograms(self) -> dict[str, Histogram | None]:
        """``activations/<layer>`` for every hidden layer."""
        outputs, _, _ = self._outputs(self._seen, SAMPLES)
        return {f"activations/{name}": Histogram.of(output) for name, output in outputs.items()}

    def _collect(self, outputs: dict[str, Tensor], labels: Tensor) -> dict[str, float]:
        fitted, _, known = self._outputs(self._session.data.splits["train"], FIT_FRACTION)
        classes = len(self._session.data.classes)
        return {
            name: _ridge_accuracy(pool_flat(fitted[name], GRID), known, pool_flat(output, GRID), labels, classes)
            for name, output in outputs.items()
        }

    def _outputs(self, split: Split, count: int) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """Every hidden layer's (last) output, tokens as feature maps; the images; their labels."""
        parts: dict[str, list[Tensor]] = {}

        def keep(layer: Layer, forward: Forward, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            output = forward(*args, **kwargs)
            if not layer.is_readout:
                parts.setdefault(layer.name, []).append(last_output(layer, output).float())
            return for_readers(predictor.rule, layer, output)

        predictor = self._session.predictor
        images, labels = [], []
        indices = subsample(split, count)
        with predictor.eval_mode():
            for batch in iter_batches(split, predictor.batch_size, predictor.preprocess, indices=indices):
                with intercept_layers(self._session.network.layers, keep):
                    self._session.network(batch.images)
                images.append(batch.images)
                labels.append(batch.labels)
        return {name: torch.cat(found) for name, found in parts.items()}, torch.cat(images), torch.cat(labels)


def _dead_fraction(output: Tensor) -> float:
    units = output.transpose(0, 1).flatten(1)
    return float((units.amax(1) == units.amin(1)).float().mean())


def _alignment(grams: dict[str, Tensor], other: Tensor) -> dict[str, float]:
    return {name: float(normalized_trace(gram, other)) for name, gram in grams.items()}


def _neighbor_alignment(grams: dict[str, Tensor]) -> dict[str, float]:
    names = list(grams)
    return {name: float(normalized_trace(grams[name], grams[before])) for before, name in pairwise(names)}


def _ridge_accuracy(features: Tensor, known: Tensor, asked: Tensor, labels: Tensor, classes: int) -> float:
    """Accuracy of the ridge regression onto one-hot labels, in its dual form: as many unknowns as images."""
    mean = features.mean(0)
    scale = (features - mean).std().clamp_min(1e-12) * features.shape[1] ** 0.5
    features, asked = (features - mean) / scale, (asked - mean) / scale
    target = torch.nn.functional.one_hot(known, classes).float()
    gram = features @ features.T
    gram.diagonal().add_(RIDGE)
    weights = torch.linalg.solve(gram, target - target.mean(0))
    scores = asked @ (features.T @ weights) + target.mean(0)
    return float((scores.argmax(1) == labels).float().mean())
