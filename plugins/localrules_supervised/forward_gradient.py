"""Local losses whose gradient is estimated from one random direction, forwards."""

from __future__ import annotations

import math
import warnings
from functools import cache
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.func import jvp
from torch.nn import functional

from localrules import Layer, LayerView, Objective, Requirements, RuleConfig, RuleInfo, SearchChoice
from localrules.core.nn.pooling import pool


class ForwardGradient(Objective):
    """Many small local losses, each of which learns from its derivative along one random direction of its own activity.

    A layer's channels are split into groups, and its feature maps averaged over a grid of cells; a group in a cell has
    the activity ``z`` and the loss ``CE(W z, y)``, with a linear head per group that all cells share. With a random
    direction ``v``, forward differentiation gives the loss's derivative ``c`` along it, and ``c v`` is an unbiased
    estimate of the gradient at ``z``, of variance in proportion to the number of units in the group. No error goes
    back through the heads; inside the layer the estimate follows the chain rule. Heads have the exact gradient, a
    product of the prediction error and ``z``.

    What differs: the network is the run's, not LocalMixer; heads read cells of an average, which are perturbed as a
    whole, where the paper has a loss per patch; directions are signs (``preset=paper``: normal).

    References:
        Ren, Kornblith, Liao & Hinton 2023, Scaling forward gradient with local losses,
        https://arxiv.org/abs/2210.03310;
        https://github.com/google-research/google-research/tree/master/local_forward_gradient; forward gradients: Baydin
        et al. 2022, https://arxiv.org/abs/2202.08587.
    """

    class Config(RuleConfig):
        """Options of rule forward-gradient."""

        group: int = Field(
            4, ge=1, description="Largest number of channels in a group; groups are equal, so it is a divisor (ours)."
        )
        grid: int = Field(
            4,
            ge=1,
            description="Cells per side to which feature maps are averaged, each with a loss of its own, unless the "
            "model sets it (ours).",
        )
        directions: Literal["normal", "signs"] = Field(
            "signs", description="Random directions: standard normal (the paper's), or signs, of less variance (ours)."
        )

    info = RuleInfo(
        search_space={"group": SearchChoice((1, 4, 16))},
        formula="d z = c v, c the derivative of CE(W z, y) along a random v, for groups of channels z, each with its W",
        requires=Requirements(targets="weighted", global_batch=True),  # directions are drawn for each sample
        presets={"paper": {"directions": "normal"}},
    )

    config: ForwardGradient.Config

    def __init__(self, config: Config, layer: Layer, num_classes: int) -> None:
        super().__init__(config, layer, num_classes)
        _load_forward_differentiation()
        self.grid = layer.pool_size or config.grid
        channels = layer.out_channels
        size = max(divisor for divisor in range(1, min(config.group, channels) + 1) if channels % divisor == 0)
        bound = 1 / math.sqrt(size)
        self.weight = nn.Parameter(torch.empty(channels // size, num_classes, size).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(channels // size, num_classes, 1))

    def forward(self, view: LayerView) -> dict[str, Tensor]:
        """The heads' mean cross-entropy, and a term of value 0 with the estimated gradient."""
        features = self._features(view.output)
        targets = view.targets
        if targets.is_floating_point():  # the classes come second, as in the logits
            targets = targets[:, None, :, None].to(features.dtype)
            targets = targets.expand(-1, features.shape[1], -1, features.shape[3])
        else:
            targets = targets[:, None, None].expand(-1, features.shape[1], features.shape[3])
        values = features.detach()
        direction = torch.randn_like(values)
        if self.config.directions == "signs":
            direction = direction.sign()
        weight, bias = self.weight.detach(), self.bias.detach()
        with torch.no_grad():
            slopes: Tensor = jvp(lambda z: _losses(z, weight, bias, targets), (values,), (direction,))[1]
        estimate = slopes.unsqueeze(2) * direction / slopes.numel()
        return {
            "heads": _losses(values, self.weight, self.bias, targets).mean(),
            "estimate": (estimate * (features - values)).sum(),
        }

    def _features(self, output: Tensor) -> Tensor:
        """Activity of each group in each cell, shape (batch, groups, channels of a group, cells)."""
        maps = output[:, :, None, None] if output.dim() == 2 else output
        if maps.dim() == 4 and max(maps.shape[2:]) > self.grid:
            maps = pool(maps, self.grid)
        return maps.reshape(len(maps), len(self.weight), self.weight.shape[2], -1)


def _losses(features: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of each group's head in each cell, shape (batch, groups, cells)."""
    logits = torch.einsum("bgfc,gkf->bgkc", features, weight) + bias
    losses = functional.cross_entropy(logits.flatten(0, 1), targets.flatten(0, 1), reduction="none")
    return losses.view(len(features), features.shape[1], features.shape[3])


@cache
def _load_forward_differentiation() -> None:
    """Have torch import what its first ``jvp`` imports, without the warning about torch's own code that this gives."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*torch.jit.script", FutureWarning)
        jvp(torch.neg, (torch.ones(1),), (torch.ones(1),))
