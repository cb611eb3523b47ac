"""A learning rule in one file: localrules run --rule prototypes --plugin examples/myrule.py --model mlp --data faces"""

from torch import Tensor
from torch.nn import functional

from localrules import LayerView, Objective


class Prototypes(Objective):
    """Attracts each sample to the mean of its class in the batch, and repels it from the other means."""

    def forward(self, view: LayerView) -> Tensor:
        features = view.pooled(view.layer.pool_size or 4)
        features = functional.normalize(features - features.mean(0))
        members = functional.one_hot(view.labels, view.num_classes).float()
        means = functional.normalize(members.T @ features)
        return functional.cross_entropy(10 * features @ means.T, view.labels)


RULES = {"prototypes": Prototypes}
