"""Objectives that were tried on FER2013, beside those that stayed: docs/research/fer2013-hsic.md has the results.

localrules run --plugin examples/tried_on_fer2013.py --rule tried --set rule.form=contrastive --model dense_fpn_small
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from localrules import Layer, LayerView, Objective, Requirements
from localrules.core.nn.heads import FeatureReader, mlp
from localrules.core.objective import RuleConfig
from localrules.kernels.gram import cosine
from localrules.kernels.labels import labels_gram
from localrules.kernels.normalization import center, frobenius_inner, normalize, ridge_normalize
from localrules_hsic.hsic_projected import Proxies


class Tried(Objective):
    """Forms of dependence between the labels and a projection that learns with the layer; and a cross-entropy.

    References:
        ssl: Li et al. 2021, https://arxiv.org/abs/2106.08320; plain: what stayed, in hsic-projected; trace and
        normalized: Ma, Lewis & Kleijn 2020, https://arxiv.org/abs/1908.01580; neighbours: Goldberger et al. 2004,
        Neighbourhood components analysis; contrastive: Khosla et al. 2020, https://arxiv.org/abs/2004.11362; residual
        is ours.
    """

    class Config(RuleConfig):
        """Options of rule tried."""

        form: Literal["trace", "ssl", "plain", "normalized", "neighbours", "contrastive", "residual", "none"] = Field(
            "ssl", description="Which (ours); none: the cross-entropy alone."
        )
        projection: int = Field(64, ge=0, description="Features of the projection; 0: the output as it is (ours).")
        hidden: int = Field(128, ge=0, description="Units of the hidden layer of projection and classifier (ours).")
        inputs: bool = Field(True, description="Look at what the layer read, too, as hsic-projected does (ours).")
        channels: int = Field(0, ge=0, description="Of a 3 x 3 convolution that they read beside it; 0: none (ours).")
        ce: float = Field(0.0, ge=0, description="Weight of the cross-entropy of a classifier (ours).")
        gamma: float = Field(3.0, gt=0, description="ssl, plain, residual: weight of the dependence on labels (ours).")
        proxies: int = Field(0, ge=0, description="Learned points of each class beside the batch; ssl, plain (ours).")
        sharp: float = Field(0.0, ge=0, description="exp((k - 1) / sharp) in place of a cosine k; 0: k (ours).")
        eps: float = Field(0.01, gt=0, description="normalized: ridge (ours).")
        memory: int = Field(0, ge=0, description="Past batches to compare with, too; not for residual (ours).")
        temperature: float = Field(0.2, gt=0, description="neighbours, contrastive (ours).")

    formula: ClassVar[str] = "a dependence of P on Y + ce CE(c(Z), Y), P a projection of the layer's output"
    requires: ClassVar[Requirements] = Requirements(min_batch=2, global_batch=True, auxiliary=True)
    config: Tried.Config

    def prepare(self, layers: Sequence[Layer], num_classes: int) -> None:
        """Nothing is remembered yet."""
        self._past: dict[str, list[tuple[Tensor, Tensor]]] = {}

    def auxiliary(self, layer: Layer, num_classes: int) -> nn.Module:
        """The projection, the classifier, and the one that the residual is of."""
        config, depth = self.config, 2 if self.config.hidden else 1
        reading = FeatureReader(layer, 4, inputs=config.inputs, channels=config.channels)
        made, features = nn.ModuleDict({"reading": reading}), reading.features
        made["classifier"] = mlp(features, config.hidden, num_classes, depth)
        if config.projection:
            made["projection"] = mlp(features, config.hidden, config.projection, depth)
        made["proxies"] = Proxies(num_classes, config.proxies, config.projection or features)
        made["residual"] = nn.Linear(config.projection or features, num_classes)
        return made

    def loss(self, view: LayerView) -> dict[str, Tensor]:
        """The two parts, scalars."""
        assert isinstance(view.auxiliary, nn.ModuleDict)
        config = self.config
        parts: dict[str, Tensor] = {}
        features = view.auxiliary["reading"](view)
        if config.form != "none":
            projected = view.auxiliary["projection"](features) if config.projection else features
            parts[config.form] = self._dependence(projected.float(), view)
        if config.ce:
            logits = view.auxiliary["classifier"](features).float()
            parts["ce"] = config.ce * functional.cross_entropy(logits, view.labels)
        return parts

    def _dependence(self, projected: Tensor, view: LayerView) -> Tensor:
        config, past = self.config, self._past.setdefault(view.layer.name, [])
        now = (projected.detach(), view.labels)
        projected = torch.cat([projected, *(features for features, _ in past)])
        labels = torch.cat([view.labels, *(known for _, known in past)])
        past[:] = [now, *past][: config.memory]
        if config.form in ("ssl", "plain") and config.proxies:
            assert isinstance(view.auxiliary, nn.ModuleDict)
            projected, labels = view.auxiliary["proxies"](projected, labels)
        labels = labels_gram(labels, view.num_classes)
        if config.form in ("neighbours", "contrastive"):
            return self._among_neighbours(projected, labels)
        k = cosine(projected, centered=True)
        if config.sharp:
            k = ((k - 1) / config.sharp).exp()
        if config.form == "trace":
            return -frobenius_inner(normalize(k), normalize(labels))
        if config.form == "normalized":
            return -frobenius_inner(ridge_normalize(k, eps=config.eps), ridge_normalize(labels))
        loss = projected.new_zeros(())
        if config.form == "residual":
            assert isinstance(view.auxiliary, nn.ModuleDict)
            directions = functional.normalize(projected.detach() - projected.detach().mean(0), dim=1)
            logits = view.auxiliary["residual"](8 * directions).float()
            loss = functional.cross_entropy(logits, view.labels)
            missing = functional.one_hot(view.labels, view.num_classes) - logits.detach().softmax(1)
            labels = missing @ missing.T
        k = center(k)
        if config.form == "plain":
            return frobenius_inner(k, k - config.gamma * labels) / (len(k) - 1) ** 2
        labels = normalize(labels)
        spread = frobenius_inner(k, k).clamp_min(1e-12).sqrt()
        return loss + (spread - config.gamma * frobenius_inner(k, labels)) / (len(k) - 1)

    def _among_neighbours(self, projected: Tensor, labels: Tensor) -> Tensor:
        """Probability that an image's neighbour is of its class: in all (neighbours), or each of them (contrastive)."""
        same = labels.fill_diagonal_(0)
        some = same.sum(1) > 0
        directions = functional.normalize(projected, dim=1)
        apart = (directions @ directions.T / self.config.temperature).fill_diagonal_(-torch.inf)
        logs = apart.log_softmax(1).masked_fill(same == 0, -torch.inf)[some]
        if self.config.form == "neighbours":
            return -logs.logsumexp(1).mean()
        return -(logs.masked_fill(same[some] == 0, 0).sum(1) / same[some].sum(1)).mean()


RULES = {"tried": Tried}
