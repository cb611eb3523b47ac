"""Each layer learns one step of denoising the label."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from localrules import (
    CustomPrediction,
    ExtractViews,
    Layer,
    LayerView,
    Objective,
    Requirements,
    RuleConfig,
    RuleInfo,
    SearchRange,
)
from localrules.utils.torch_utils import at_least_float32


class NoProp(CustomPrediction, Objective):
    """NoProp in discrete time: the t-th of L hidden layers learns to denoise a label with the t-th level of noise.

    ``u_y`` is the label's one-hot code. A layer's auxiliary network reads the layer's pooled output and
    ``z_{t-1} ~ q(. | y)``, drawn directly, and returns ``u_t``; the layer minimises
    ``eta / 2 * w_t * |u_t - u_y|^2``, where ``w_t = SNR(t) - SNR(t-1)`` in the paper. Prediction starts from noise and
    goes through the layers in forward order, ``z_t = a_t u_t + b_t z_{t-1} + sqrt(c_t) eps``; the code nearest to
    ``z_L`` wins. The noise is the same for every image, from a fixed seed, and predictions are averaged over several
    draws, so a prediction depends on nothing but the image.

    What differs: in the paper each step is a whole network that reads the image; here it is a layer and a small
    auxiliary network, and the layer reads the outputs of the layers before it, so features do depend on forward order
    (no gradient does). The paper also learns the last step's classifier and may learn the codes; our codes are fixed,
    and the network's readout is trained by cross-entropy as under other rules, but takes no part in the prediction.

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
        grid: int = Field(
            4,
            ge=1,
            description="Positions per side to which feature maps are averaged, unless the model sets it (ours).",
        )
        draws: int = Field(8, ge=1, le=10_000, description="Draws of noise over which a prediction is averaged (ours).")

    info = RuleInfo(
        search_space={"eta": SearchRange(0.1, 10, log=True)},
        formula="(SNR_t - SNR_{t-1}) ||u(z_l, noisy label) - label||^2, a step t of denoising for each layer",
        requires=Requirements(targets="probabilities", global_batch=True),  # noise is drawn for each sample
        presets={"paper": {"weighting": "snr", "draws": 1}},
        autocast=True,
    )

    config: NoProp.Config

    def __init__(self, config: Config, layer: Layer, num_classes: int) -> None:
        super().__init__(config, layer, num_classes)
        self.schedule = CosineSchedule(len(layer.peers))
        self.step = layer.peer_index + 1
        self.grid = layer.pool_size or config.grid
        self.denoiser = _Denoiser(layer.pooled_features(self.grid), num_classes, config.width)

    def forward(self, view: LayerView) -> Tensor:
        """The weighted mean square of the remaining noise, a scalar."""
        clean = view.batch.class_targets()
        signal = self.schedule.signal(self.step - 1)
        noisy = signal**0.5 * clean + (1 - signal) ** 0.5 * torch.randn_like(clean)
        error = (self._denoise(view, noisy) - clean).square().sum(1).mean()
        return self.config.eta / 2 * self._weight() * error

    @classmethod
    def predict(cls, objectives: Sequence[NoProp], extract_views: ExtractViews, images: Tensor) -> Tensor:
        """The negative squared distance of the denoised label to each class's code, shape (batch, classes)."""
        first = objectives[0]
        pairs = list(zip(objectives, extract_views(images), strict=True))
        codes = torch.eye(first.num_classes, device=images.device)
        draws = first.config.draws
        noise = iter(_prediction_noise(first.num_classes, draws * (1 + first.schedule.steps)).to(images.device))
        logits = []
        for _ in range(draws):
            label = next(noise).expand(len(images), -1)
            for step, outputs in groupby(pairs, key=lambda pair: pair[0].step):
                a, b, c = first.schedule.transition(step)
                clean = torch.stack([objective._denoise(view, label) for objective, view in outputs]).mean(0)
                label = a * clean + b * label + c**0.5 * next(noise)
            logits.append(-(label[:, None] - codes).square().sum(2))
        return torch.stack(logits).mean(0)

    def _denoise(self, view: LayerView, noisy: Tensor) -> Tensor:
        clean: Tensor = self.denoiser(view.pooled(self.grid), noisy)
        return at_least_float32(clean)

    def _weight(self) -> float:
        if self.config.weighting == "equal":
            return 1.0
        ratio, steps = self.schedule.ratio, self.schedule.steps  # the gains sum to the last ratio
        return (ratio(self.step) - ratio(self.step - 1)) / ratio(steps) * steps


@cache
def _prediction_noise(num_classes: int, count: int) -> Tensor:
    """The noise of every prediction, shape (count, classes), drawn once."""
    noise = torch.Generator().manual_seed(0)
    return torch.stack([torch.randn(num_classes, generator=noise) for _ in range(count)])


class _Denoiser(nn.Module):
    """Estimates a clean label from a layer's features and a noisy label."""

    def __init__(self, features: int, num_classes: int, width: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(features + num_classes, width)
        self.output = nn.Linear(width, num_classes)

    def forward(self, features: Tensor, noisy: Tensor) -> Tensor:
        """(batch, features) and (batch, classes) to (batch, classes)."""
        joined = torch.cat([features, noisy.to(features.dtype)], 1)
        clean: Tensor = self.output(functional.relu(self.hidden(joined)))
        return clean


@dataclass(frozen=True)
class CosineSchedule:
    """Noisy labels ``z_t = sqrt(s_t) u + sqrt(1 - s_t) eps``, ``t`` from 0 (noise) to ``steps`` (nearly clean).

    ``s_t = cos(pi / 2 * (1 - t / steps + offset) / (1 + offset))^2``, after Nichol & Dhariwal 2021,
    https://arxiv.org/abs/2102.09672, whose time runs the other way.

    Attributes:
        steps: Number of steps.
        offset: Keeps the label of the last step slightly noisy.
    """

    steps: int
    offset: float = 0.008

    def signal(self, t: int) -> float:
        """``s_t``, the fraction of the variance that the label has; exactly 0 at 0."""
        return math.cos(math.pi / 2 * (1 - t / self.steps + self.offset) / (1 + self.offset)) ** 2 if t else 0.0

    def ratio(self, t: int) -> float:
        """The signal-to-noise ratio, ``s_t / (1 - s_t)``."""
        return self.signal(t) / (1 - self.signal(t))

    def transition(self, t: int) -> tuple[float, float, float]:
        """``a, b, c`` of ``q(z_t | z_{t-1}, u) = N(a u + b z_{t-1}, c)``; ``z_{t-1}`` is ``z_t`` with more noise."""
        now, before = self.signal(t), self.signal(t - 1)
        kept = before / now  # of the variance of z_t, in z_{t-1}
        return (
            math.sqrt(now) * (1 - kept) / (1 - before),
            math.sqrt(kept) * (1 - now) / (1 - before),
            (1 - now) * (1 - kept) / (1 - before),
        )
