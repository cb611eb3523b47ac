"""Direct random target projection."""

from __future__ import annotations

from torch import Tensor, nn

from localrules import Layer, LayerView, Objective, RuleInfo
from localrules_feedback.projection import random_patterns


class DirectRandomTargetProjection(Objective):
    """Every hidden layer is told the label through a fixed random matrix: ``delta_l = -(B_l y*) * phi'``.

    Of the error ``y - y*``, which direct feedback alignment sends, the part is kept that is known without a forward
    pass. As an objective: the output shall agree with the random pattern of its class, ``L = -mean <Z, B[y*]>``.

    References:
        Frenkel, Lefebvre & Bol 2021, Learning without feedback: fixed random learning signals allow for feedforward
        training of deep neural networks, https://doi.org/10.3389/fnins.2021.629892, https://arxiv.org/abs/1909.01311.
    """

    info = RuleInfo(
        formula="L = -mean <Z, B[y]>, with a fixed random pattern B[y] for each class",
        model_defaults={"activation": "tanh"},
    )
    # The paper's. Under relu nothing bounds the objective, and a network without norms diverges.

    def auxiliary(self, layer: Layer, num_classes: int) -> nn.Module:
        """The layer's random patterns, one for each class; they never learn."""
        return _Patterns(random_patterns(num_classes, layer.out_shape))

    def loss(self, view: LayerView) -> Tensor:
        """How little the output agrees with its class's pattern, a scalar."""
        assert isinstance(view.auxiliary, _Patterns)
        wanted = view.auxiliary.patterns[view.labels]
        return -(view.output * wanted).sum() / len(view.labels)


class _Patterns(nn.Module):
    patterns: Tensor

    def __init__(self, patterns: Tensor) -> None:
        super().__init__()
        self.register_buffer("patterns", patterns)
