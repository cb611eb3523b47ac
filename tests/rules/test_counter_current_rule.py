"""Counter-current learning: layers agree with a network that carries the classes down."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers.one_step import first_batch, gradients_in_double
from torch import Tensor, nn

from localrules.engine.session import Session
from localrules.errors import UsageError
from localrules.testing.conformance.sessions import build_session, toy_dataset
from localrules_classics.lenet import LeNet
from localrules_classics.mlp import MLP
from localrules_classics.resnet import ResNet20
from localrules_energy.counter_current import CounterCurrent

CLASSES = 4


def small(**options: Any) -> Session:
    return build_session(
        CounterCurrent,
        MLP,
        toy_dataset(shape=(1, 3, 3)),
        rule_options=options,
        model_options={"hidden": (5, 4), "norm": False, "activation": "tanh"},
    )


class ByHand:
    """One layer's objective as a function of its weights and of its feedback weights, entry by entry."""

    def __init__(self, session: Session, index: int) -> None:
        named = {name: tensor.detach().double() for name, tensor in session.network.model.named_parameters()}
        own = {name: tensor.detach().double() for name, tensor in session.rule.named_parameters()}
        batch = first_batch(session)
        self.labels = batch.labels.tolist()
        self.index = index
        self.options = session.rule.config
        self.forward = [(named[f"{name}.weight"], named[f"{name}.bias"]) for name in ("layers.0.0", "layers.1.0")]
        self.readout = named["readout.weight"], named["readout.bias"]
        self.down = [
            (own[f"feedback.layers/{at}#0.linear.weight"], own[f"feedback.layers/{at}#0.linear.bias"]) for at in (0, 1)
        ]
        self.images = list(batch.images.flatten(1))

    def __call__(self, forward: Tensor, down: Tensor) -> float:
        weights = [pair[0] for pair in self.forward]
        downs = [pair[0] for pair in self.down]
        outputs = []
        for image, label in zip(self.images, self.labels, strict=True):
            chain = [torch.tanh(weights[0] @ image + self.forward[0][1])]
            chain.append(torch.tanh(weights[1] @ chain[0] + self.forward[1][1]))
            probability = torch.softmax(self.readout[0] @ chain[1] + self.readout[1], 0)[label]
            before = self.images[len(outputs)] if self.index == 0 else chain[0]
            output = torch.tanh(forward @ before + self.forward[self.index][1])
            outputs.append(output * float(1 - probability >= self.options.confident))
        codes = []
        for at in range(CLASSES):
            code = torch.zeros(CLASSES, dtype=torch.float64)
            code[at] = 1.0
            for step in (1, 0)[: 2 - self.index]:
                matrix = down if step == self.index else downs[step]
                code = nn.functional.elu(matrix @ code + self.down[step][1])
            codes.append(code)
        if not self.options.cosine:
            each = [
                (float(output @ code) - (label == at)) ** 2
                for output, label in zip(outputs, self.labels, strict=True)
                for at, code in enumerate(codes)
            ]
            return sum(each) / len(each) * 128 / len(outputs[0])
        outputs, codes = ([row / max(float(row.norm()), 1e-12) for row in rows] for rows in (outputs, codes))
        own = [
            (float(output @ code) - (label == at)) ** 2
            for output, label in zip(outputs, self.labels, strict=True)
            for at, code in enumerate(codes)
        ]
        total = sum(own) / len(own)
        for rows in (outputs, codes):
            pairs = [(float(a @ b) - (i == j)) ** 2 for i, a in enumerate(rows) for j, b in enumerate(rows)]
            total += self.options.contrast * sum(pairs) / len(pairs)
        return total


@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.parametrize("options", [{"contrast": 0.5, "confident": 0.7}, {"cosine": False, "confident": 0.0}])
def test_against_the_formula_written_out(index: int, options: dict[str, Any]) -> None:
    session = small(**options)
    reference = ByHand(session, index)
    found, report = gradients_in_double(session)
    weight, down = reference.forward[index][0], reference.down[index][0]
    assert report.objectives[f"layers.{index}"].item() == pytest.approx(reference(weight, down), rel=1e-6)
    own = found[f"layers.{index}.0.weight"], found[f"rule.feedback.layers/{index}#0.linear.weight"]
    for place in ((0, 0), (3, 2)):  # central differences
        for at, gradient in enumerate(own):
            pair = [[weight, down], [weight, down]]
            for sign, tensors in zip((1e-5, -1e-5), pair, strict=True):
                tensors[at] = tensors[at].clone()
                tensors[at][place] += sign
            slope = (reference(*pair[0]) - reference(*pair[1])) / 2e-5
            assert gradient[place].item() == pytest.approx(slope, rel=1e-4, abs=1e-8)


def test_samples_that_are_sure_have_no_part() -> None:
    session = small(confident=0.9999, contrast=0.0)
    with torch.no_grad():
        session.network.model.readout.weight.zero_()
    found, _ = gradients_in_double(session)  # every class has a probability of 0.25
    assert not found["layers.0.0.weight"].any()
    assert found["readout.bias"].any()


def test_the_feedback_network_mirrors_the_layers() -> None:
    session = build_session(CounterCurrent, LeNet, toy_dataset(shape=(1, 16, 16)))
    coming = torch.eye(CLASSES)
    for layer in reversed(session.network.hidden):
        coming = session.rule.feedback[f"{layer.name.replace('.', '/')}#0"](coming)
        assert coming.shape == (CLASSES, *layer.out_shape)
    with pytest.raises(UsageError, match="cannot train"):
        build_session(CounterCurrent, ResNet20, toy_dataset(), model_options={"blocks": [1, 1], "width": 4})
