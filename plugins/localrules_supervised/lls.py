"""Cross-entropy of a layer's agreement with one fixed wave per class."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from localrules import Layer, LayerView, Objective, Requirements, RuleConfig, RuleInfo, SearchRange


class LLS(Objective):
    """``CE(S z / (t |z|), y)``, with ``S_cj = sin(f_c j)``: fixed periodic basis vectors, one per class.

    ``z`` is the layer's output, feature maps averaged over a grid and flattened, and ``j`` counts its features. The
    frequencies ``f_c`` are spread evenly over an interval. A layer thus learns with a classifier that has no weights:
    neither a head to train nor random numbers to store.

    With ``modulation`` the classifier has a few learned weights: a factor per class (LLS-M), or a linear map of the
    classes' agreements (LLS-MxM).

    What differs: outputs without positions are not averaged, where the authors' code averages neighbouring units too;
    learned factors start at one, and the map at the identity, not at small random numbers.

    References:
        Apolinario, Roy & Roy 2025, LLS: local learning rule for deep neural networks inspired by neural activity
        synchronization, https://arxiv.org/abs/2405.15868; https://github.com/mapolinario94/LLS-DNN.
    """

    class Config(RuleConfig):
        """Options of rule lls."""

        waveform: Literal["sine", "square"] = Field(
            "sine", description="Shape of the waves: sine, or its sign (both are the paper's; default ours)."
        )
        modulation: Literal["none", "classes", "pairs"] = Field(
            "none",
            description="Learned weights: none (the paper's LLS), a factor per class (its LLS-M), or a linear map of "
            "the classes' agreements (its LLS-MxM).",
        )
        grid: int = Field(
            4,
            ge=1,
            description="Positions per side to which feature maps are averaged, unless the model sets it (ours; the "
            "paper's code: 4 in the first layer of a VGG, 2 in the others).",
        )
        lowest: float = Field(50.0, description="Frequency of the first class, in radians per feature (the paper's).")
        highest: float = Field(512.0, description="Frequency of the last class (the paper's).")
        temperature: float = Field(1.0, gt=0, description="Agreements are divided by it (ours; the paper's code: 0.5).")

    info = RuleInfo(
        search_space={"temperature": SearchRange(0.1, 3, log=True)},
        formula="CE(S z / (t |z|), y), S_cj = sin(f_c j): one fixed wave over the layer's features for each class",
        requires=Requirements(targets="weighted"),
        autocast=True,
    )

    config: LLS.Config
    waves: Tensor

    def __init__(self, config: Config, layer: Layer, num_classes: int) -> None:
        super().__init__(config, layer, num_classes)
        self.grid = layer.pool_size or config.grid
        frequencies = torch.linspace(config.lowest, config.highest, num_classes, dtype=torch.float64)
        waves = torch.sin(frequencies[:, None] * torch.arange(layer.pooled_features(self.grid)))
        self.register_buffer("waves", (waves.sign() if config.waveform == "square" else waves).float())
        self.factors = nn.Parameter(torch.ones(num_classes)) if config.modulation == "classes" else None
        self.mixing = nn.Parameter(torch.eye(num_classes)) if config.modulation == "pairs" else None

    def forward(self, view: LayerView) -> Tensor:
        """The cross-entropy of the agreements with the classes' waves, a scalar."""
        directions = functional.normalize(view.pooled(self.grid), dim=1)
        agreements = functional.linear(directions, self.waves.to(directions.dtype)).to(self.waves.dtype)
        if self.factors is not None:
            agreements = agreements * self.factors
        if self.mixing is not None:
            agreements = agreements @ self.mixing
        return functional.cross_entropy(agreements / self.config.temperature, view.targets)
