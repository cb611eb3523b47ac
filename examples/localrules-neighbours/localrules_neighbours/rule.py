"""The rule neighbours: the objective of one layer."""

from pydantic import Field
from torch import Tensor
from torch.nn import functional

from localrules import LayerView, Objective, Requirements, RuleConfig, RuleInfo


class Neighbours(Objective):
    """Each image should find its own class among its neighbours in the batch (Goldberger et al. 2004, NeurIPS 17)."""

    class Config(RuleConfig):
        temperature: float = Field(0.1, gt=0, description="Divides the cosines (ours).")

    info = RuleInfo(formula="-mean_i log sum_{j: y_j = y_i} softmax_j(cos(z_i, z_j) / t)", requires=Requirements(3))

    def forward(self, view: LayerView) -> Tensor:
        z = functional.normalize(view.pooled(4))
        near = (z @ z.T / self.config.temperature).fill_diagonal_(-100.0).log_softmax(1)
        return -near.masked_fill(view.labels[:, None] != view.labels, -100.0).logsumexp(1).mean()
