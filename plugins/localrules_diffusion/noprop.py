"""Each layer is one step of denoising the label, and learns that step alone."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from localrules import Layer, LayerView, Objective, Requirements
from localrules.core.nn.pooling import pool_flat
from localrules.core.objective import Look, RuleConfig
from localrules_diffusion.schedule import CosineSchedule


class NoProp(Objective):
    """NoProp in discrete time: the t-th of L hidden layers learns to clean a label of its t-th degree of noise.

    ``u_y`` is the label's one-hot code. A layer's auxiliary network reads the layer's pooled output and
    ``z_{t-1} ~ q(. | y)``, drawn directly, and gives ``u_t``; the layer minimises
    ``eta / 2 * w_t * |u_t - u_y|^2``, where ``w_t = SNR(t) - SNR(t-1)`` in the paper. A picture is classified by
    starting from noise and going through the layers in forward order, ``z_t = a_t u_t + b_t z_{t-1} + sqrt(c_t) eps``;
    the code nearest to ``z_L`` wins. The noise is the same for every picture, from a fixed seed, and answers are
    averaged over several draws, so an answer depends on nothing but the picture.

    What differs: in the paper each step is a whole network that reads the picture; here it is a layer and a small
    network on top, and the layer reads what the layers before it give, so features do depend on forward order (no
    gradient does). The paper also learns the last step's classifier and may learn the codes; our codes are fixed, and
    the network's readout learns by cross-entropy as under other rules, without a say in the rule's answer.

    References:
        Li, Teh & Pascanu 2025, NoProp, https://arxiv.org/abs/2503.24322.
    """

    class Config(RuleConfig):
        """Options of rule noprop."""

        eta: float = Field(1.0, gt=0, description="Scale of the objective (ours).")
        weighting: Literal["equal", "snr"] = Field(
            "equal",
            description="w_t: 1 (ours: under Adam a layer's scale is lost, and the last layer's SNR is in the "
            "thousands), or the gain in SNR divided by its mean over layers (the paper's, normalised).",
        )
        width: int = Field(128, ge=1, description="Units of the auxiliary network's one hidden layer (ours).")
        grid: int = Field(4, ge=1, description="Raster over which maps are averaged where the model names none (ours).")
        draws: int = Field(8, ge=1, description="Draws of noise over which an answer is averaged (ours).")

    formula: ClassVar[str] = (
        "(SNR_t - SNR_{t-1}) ||u(z_l, noisy label) - label||^2, a step t of denoising for each layer"
    )
    requires: ClassVar[Requirements] = Requirements(auxiliary=True)
    presets: ClassVar[dict[str, dict[str, object]]] = {"paper": {"weighting": "snr", "draws": 1}}

    config: NoProp.Config

    def prepare(self, layers: Sequence[Layer], num_classes: int) -> None:
        """Number the steps."""
        self._schedule = CosineSchedule(len(layers))
        self._step_of = {layer.name: number for number, layer in enumerate(layers, 1)}

    def auxiliary(self, layer: Layer, num_classes: int) -> nn.Module:
        """The network that cleans the label, given what the layer makes of the picture."""
        features = pool_flat(torch.zeros(1, *layer.out_shape), self._grid(layer)).shape[1]
        return _Denoiser(features, num_classes, self.config.width)

    def loss(self, view: LayerView) -> Tensor:
        """The weighted mean square of what is left of the noise."""
        step = self._step_of[view.layer.name]
        clean = functional.one_hot(view.labels, view.num_classes).float()
        signal = self._schedule.signal(step - 1)
        noisy = signal**0.5 * clean + (1 - signal) ** 0.5 * torch.randn_like(clean)
        left = (self._denoised(view, noisy) - clean).square().sum(1).mean()
        return self.config.eta / 2 * self._weight(step) * left

    def predict(self, look: Look, images: Tensor, num_classes: int) -> Tensor:
        """Less the squared distance of each class's code to the cleaned label, shape (batch, classes)."""
        views = look(images)
        codes = torch.eye(num_classes, device=images.device)
        noise = torch.Generator().manual_seed(0)
        answers = []
        for _ in range(self.config.draws):
            label = torch.randn(num_classes, generator=noise).to(images.device).expand(len(images), -1)
            for name, ends in groupby(views, key=lambda view: view.layer.name):
                a, b, c = self._schedule.towards(self._step_of[name])
                clean = torch.stack([self._denoised(view, label) for view in ends]).mean(0)
                fresh = torch.randn(num_classes, generator=noise).to(images.device)
                label = a * clean + b * label + c**0.5 * fresh
            answers.append(-(label[:, None] - codes).square().sum(2))
        return torch.stack(answers).mean(0)

    def _denoised(self, view: LayerView, noisy: Tensor) -> Tensor:
        assert view.auxiliary is not None
        cleaned: Tensor = view.auxiliary(view.pooled(self._grid(view.layer)), noisy)
        return cleaned.float()

    def _weight(self, step: int) -> float:
        if self.config.weighting == "equal":
            return 1.0
        steps = self._schedule.steps  # the gains sum to the last ratio
        return (self._schedule.ratio(step) - self._schedule.ratio(step - 1)) / self._schedule.ratio(steps) * steps

    def _grid(self, layer: Layer) -> int:
        return layer.pool_size or self.config.grid


class _Denoiser(nn.Module):
    """A layer's features and a noisy label, to a clean one."""

    def __init__(self, features: int, num_classes: int, width: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(features + num_classes, width)
        self.output = nn.Linear(width, num_classes)

    def forward(self, features: Tensor, noisy: Tensor) -> Tensor:
        """(batch, features) and (batch, classes) to (batch, classes)."""
        joined = torch.cat([features, noisy.to(features.dtype)], 1)
        cleaned: Tensor = self.output(functional.relu(self.hidden(joined)))
        return cleaned
