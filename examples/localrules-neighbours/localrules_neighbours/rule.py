"""The rule neighbours: a scalar for one layer. The engine does the rest."""

from torch import Tensor
from torch.nn import functional

from localrules import LayerView, Objective, Requirements, RuleInfo


class Neighbours(Objective):
    """Each image finds its own class among its neighbours in the batch (Goldberger et al. 2004, NeurIPS 17)."""

    info = RuleInfo(
        formula="-mean_i log sum_{j: y_j = y_i} softmax_{j != i}(cos(z_i, z_j) / 0.1)",
        requires=Requirements(min_batch=2),
    )

    def forward(self, view: LayerView) -> Tensor:
        z = functional.normalize(view.pooled(4))
        near = (z @ z.T / 0.1).fill_diagonal_(-100.0).log_softmax(1)
        same = view.labels[:, None] == view.labels
        return -near.masked_fill(~same, -100.0).logsumexp(1).mean()
