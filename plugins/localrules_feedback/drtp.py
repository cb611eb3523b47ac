"""Direct random target projection."""

from __future__ import annotations

from pydantic import BaseModel
from torch import Tensor

from localrules import Layer, LayerView, Objective, Requirements, RuleInfo
from localrules_feedback.projection import random_patterns


class DirectRandomTargetProjection(Objective):
    """Every hidden layer gets the label through a fixed random matrix: ``delta_l = -(B_l y*) * phi'``.

    Of the error ``y - y*``, which direct feedback alignment sends, this is the part that is known without a forward
    pass. As an objective, the output's agreement with the random pattern of its class: ``L = -mean <Z, B[y*]>``.

    References:
        Frenkel, Lefebvre & Bol 2021, Learning without feedback: fixed random learning signals allow for feedforward
        training of deep neural networks, https://doi.org/10.3389/fnins.2021.629892, https://arxiv.org/abs/1909.01311.
    """

    info = RuleInfo(
        formula="L = -mean <Z, B[y]>, with a fixed random pattern B[y] for each class",
        requires=Requirements(targets="weighted"),
        # The paper's. Under relu nothing bounds the objective, and a network without norms diverges.
        model_defaults={"activation": "tanh"},
    )

    patterns: Tensor

    def __init__(self, config: BaseModel, layer: Layer, num_classes: int) -> None:
        super().__init__(config, layer, num_classes)
        self.register_buffer("patterns", random_patterns(num_classes, layer.out_shape))

    def forward(self, view: LayerView) -> Tensor:
        """The negative agreement of the outputs with their classes' patterns, a scalar."""
        targets = view.targets
        if targets.is_floating_point():
            patterns = (targets.to(self.patterns) @ self.patterns.flatten(1)).view_as(view.output)
        else:
            patterns = self.patterns[targets]
        return -(view.output * patterns).sum() / len(targets)
