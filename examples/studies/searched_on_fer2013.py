"""Extensions of hsic-projected that the second search on FER2013 tries: second_search.py runs them.

localrules run --plugin examples/studies/searched_on_fer2013.py --rule searched --set rule.depth=4 \
    --model dense_fpn_small
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from localrules import (
    Batch,
    FeatureReader,
    Layer,
    LayerInfo,
    LayerView,
    Network,
    state_key,
    zero_init_classifier,
)
from localrules.core.nn.heads import mlp
from localrules.core.nn.pooling import pool_flat, pooled_features
from localrules.errors import UsageError
from localrules.kernels.labels import class_codes, labels_gram
from localrules_hsic.hsic_projected import ProjectedHSIC
from localrules_supervised.auglocal import AugLocal, unit_like
from localrules_supervised.sgr import SGR

MEMORY = 0.99  # of the moving average of predictions by class


class LookAheadReader(nn.Module):
    """The features of another reader, and averages of a head's output: units like layers that follow.

    Args:
        reader: The layer's own.
        layer: Who is read; its output is a feature map.
        picked: The layers that the head's units are like.
    """

    def __init__(self, reader: FeatureReader, layer: Layer, picked: Sequence[LayerInfo]) -> None:
        super().__init__()
        units, shape = [], layer.out_shape
        for each in picked:
            unit, shape = unit_like(each, shape)
            units.append(unit)
        self.reader, self.grid, self.head = reader, reader.grid, nn.Sequential(*units)
        self.features = reader.features + pooled_features(shape, reader.grid)

    def forward(self, view: LayerView) -> Tensor:
        """Shape (batch, features)."""
        return torch.cat([self.reader(view), pool_flat(self.head(view.output), self.grid)], 1)


class Searched(ProjectedHSIC):
    """``hsic-projected`` with a longer view: a head like the layers that follow, patches, softer targets below.

    References:
        Heads: Ma, Wu, Si & Tan 2024, https://arxiv.org/abs/2402.17318 (AugLocal), for a cross-entropy; patches: Su et
        al. 2024, https://arxiv.org/abs/2407.05638 (HPFF), for a cross-entropy; softer targets are ours.
    """

    class Config(ProjectedHSIC.Config):
        """Options of rule searched."""

        depth: int = Field(0, ge=0, description="Units of the first layer's head; 0: none (ours; AugLocal: up to 9).")
        pyramid: float = Field(1.0, ge=0, le=1, description="How much shorter heads get towards the top (ours).")
        reach: float = Field(1.0, gt=0, le=1, description="Fraction of the layers that have a head, from below (ours).")
        pick: Literal["spread", "next"] = Field(
            "spread",
            description="Like which layers: at even distances up to the last (AugLocal's), or the next (ours).",
        )
        patches: int = Field(1, ge=1, description="Patches per side, each with the objective; 1: none (ours).")
        soften: float = Field(
            0.0,
            ge=0,
            lt=1,
            description="Part of the first layer's targets that its own classifier's mean prediction for the class "
            "takes; it falls to 0 at the last layer. Needs vote or ce (ours).",
        )

    config: Searched.Config

    def __init__(self, config: Config, layer: Layer, num_classes: int) -> None:
        super().__init__(config, layer, num_classes)
        last = max(1, len(layer.peers) - 1)
        self.place = layer.peer_index / last
        if config.depth and self.place <= config.reach and len(layer.out_shape) == 3 and layer.peer_index < last:
            self.reader = LookAheadReader(self.reader, layer, self._picked())  # type: ignore[assignment]
            self.projection = self._network(self.reader.features)
            if config.ce:
                self.classifier = zero_init_classifier(self.reader.features, config.hidden, num_classes)
        self.of_patches: nn.Sequential | None = None
        if config.patches > 1 and len(layer.out_shape) == 3 and min(layer.out_shape[1:]) >= 2 * config.patches:
            self.side = max(1, self.reader.grid // config.patches)
            self.of_patches = self._network(layer.out_shape[0] * self.side**2)
        if config.soften:
            if not (config.vote or config.ce):
                raise UsageError("no classifier predicts the classes", where="rule.soften", fix="set rule.vote=true")
            self.register_buffer("means", torch.eye(num_classes))

    def _network(self, features: int) -> nn.Sequential:
        return mlp(features, self.config.hidden, self.config.projection, 2 if self.config.hidden else 1)

    def _picked(self) -> list[LayerInfo]:
        if self.config.pick == "spread":
            return AugLocal.pick_layers(self)  # type: ignore[arg-type]
        part = self.config.pyramid * self.place
        count = max(1, round(self.config.depth * (1 - part) + part))
        start = self.layer.peer_index + 1
        return list(self.layer.peers[start : start + count])

    def forward(self, view: LayerView) -> dict[str, Tensor]:
        """The parts of hsic-projected, and ``patches``."""
        parts = super().forward(view)
        if self.of_patches is not None:
            each = [self._dependence(self._project_patch(patch), view) for patch in self._patches(view.output)]
            parts["patches"] = torch.stack(each).mean()
        if self.config.soften:
            self._remember(self._predicted, view)
        return parts

    def _classify(self, features: Tensor) -> Tensor:
        self._predicted = super()._classify(features)
        return self._predicted

    def _patches(self, maps: Tensor) -> list[Tensor]:
        rows = maps.tensor_split(self.config.patches, 2)
        return [patch for row in rows for patch in row.tensor_split(self.config.patches, 3)]

    def _project_patch(self, patch: Tensor) -> Tensor:
        pooled = nn.functional.adaptive_avg_pool2d(patch, self.side).flatten(1)
        assert self.of_patches is not None
        projected: Tensor = self.of_patches(pooled)
        return projected.float()

    @torch.no_grad()
    def _remember(self, logits: Tensor, view: LayerView) -> None:
        """Move the mean prediction for each class of the batch towards this batch's."""
        codes = class_codes(view.targets, view.num_classes, torch.float32)
        counts = codes.sum(0)[:, None]
        found = codes.T @ logits.float().softmax(1) / counts.clamp(min=1)
        self.means.lerp_(torch.where(counts > 0, found, self.means), 1 - MEMORY)

    def _dependence(self, projected: Tensor, view: LayerView) -> Tensor:
        part = self.config.soften * (1 - self.place)
        if not part:
            return super()._dependence(projected, view)
        codes = class_codes(view.targets, view.num_classes, torch.float32)
        soft = (1 - part) * codes + part * codes @ self.means
        batch = Batch(view.batch.images, view.labels, view.num_classes, soft, view.batch.part)
        return super()._dependence(projected, LayerView(view.layer, view.inputs, view.output, batch))


class TwiceDifferentiable(ProjectedHSIC):
    """``hsic-projected`` in plain operations, whose gradients have gradients."""

    def _dependence(self, projected: Tensor, view: LayerView) -> Tensor:
        targets = view.targets
        if self.config.proxies:
            projected, targets = self.proxies(projected, targets)
        rows = nn.functional.normalize(projected - projected.mean(0), dim=1)
        k = rows @ rows.T
        k = k - k.mean(0) - k.mean(1, keepdim=True) + k.mean()
        y = labels_gram(targets, view.num_classes, self.config.kernel_y)
        return (k * (k - self.config.gamma * y)).sum() / (len(k) - 1) ** 2


class SearchedSGR(SGR):
    """``sgr`` with the objective of ``hsic-projected`` in place of the cross-entropy of a head."""

    class Config(SGR.Config):
        """Options of rule searched-sgr."""

        gamma: float = Field(2.0, gt=0, description="Weight of HSIC(P, Y) (ours).")
        channels: int = Field(0, ge=0, description="As of hsic-projected (ours).")
        relative: bool = Field(True, description="Compare gradients of length 1 instead of the gradients (ours).")

    config: SearchedSGR.Config

    def prepare(self, network: Network, num_classes: int) -> None:
        """An objective for each output of each hidden layer."""
        self.heads = nn.ModuleDict()
        self._below = {}
        self._grids = {}
        options = ProjectedHSIC.Config(gamma=self.config.gamma, channels=self.config.channels, inputs=False)
        for layer in network.hidden:
            for index in range(len(layer.out_shapes)):
                self.heads[state_key(layer, index)] = TwiceDifferentiable(
                    options, layer.select_output(index), num_classes
                )

    def _loss(self, layer: Layer, index: int, output: Tensor, batch: Batch) -> Tensor:
        """The objective of the batch for each sample, shape (batch,): their mean is that objective."""
        head = self.heads[state_key(layer, index)]
        exact = output.to(torch.promote_types(output.dtype, torch.float32))
        own = layer.select_output(index)
        return head(LayerView(own, (), exact, batch))["hsic"].expand(len(output))

    def _distance(self, loss: Tensor, below: list[tuple[Tensor, Tensor]]) -> Tensor | None:
        if not self.config.relative:
            return super()._distance(loss, below)
        values = [value for value, _ in below]
        found = torch.autograd.grad(loss, values, create_graph=True, allow_unused=True)
        pairs = [(wanted, known) for wanted, (_, known) in zip(found, below, strict=True) if wanted is not None]
        if not pairs:
            return None
        cosines = [
            nn.functional.cosine_similarity(wanted.flatten(1), known.flatten(1), dim=1).mean()
            for wanted, known in pairs
        ]
        return (1 - torch.stack(cosines)).mean()


RULES = {"searched": Searched, "searched-sgr": SearchedSGR}
