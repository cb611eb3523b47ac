"""The rule neighbours computes its formula, and passes the conformance kit of localrules."""

import math

import torch
from localrules.testing import make_view, parametrize_with_checks

from localrules_neighbours.rule import Neighbours


def reference(features, labels, temperature):
    """The formula in plain Python, in double precision, one pair at a time."""
    total = 0.0
    for i, one in enumerate(features):
        weights = {}
        for j, other in enumerate(features):
            if i != j:
                lengths = math.hypot(*one) * math.hypot(*other)
                cosine = sum(a * b for a, b in zip(one, other, strict=True)) / lengths
                weights[j] = math.exp(cosine / temperature)
        own = sum(weight for j, weight in weights.items() if labels[j] == labels[i])
        total -= math.log(own / sum(weights.values()))
    return total / len(features)


def test_the_objective_is_the_formula():
    torch.manual_seed(0)
    output, labels = torch.randn(8, 5), torch.tensor([0, 1, 0, 1, 2, 2, 0, 1])
    objective, view = make_view(Neighbours, output, labels)
    expected = reference(output.double().tolist(), labels.tolist(), objective.config.temperature)
    assert math.isclose(objective(view).item(), expected, rel_tol=1e-5)


@parametrize_with_checks(["neighbours"])
def test_the_rule_passes_the_conformance_kit(check):
    check()
