"""channel-goodness: groups of channels, one class each."""

from __future__ import annotations

import math

import pytest
import torch
from helpers.one_layer import CLASSES, LABELS, cross_entropy, draws, layer_of, make, see
from helpers.tiny_sessions import perceptron

from localrules import UsageError
from localrules_supervised.channel_goodness import ChannelGoodness

# (5,): groups of 2, 2 and 1 units. (4, 2, 3): of 2, 1 and 1 channels. (2, 2, 2): fewer channels than classes.
GROUPS = {(7,): [[0, 1, 2], [3, 4], [5, 6]], (4, 2, 3): [[0, 1], [2], [3]], (2, 2, 2): [[0, 1, 2], [3, 4, 5], [6, 7]]}


def members(output: torch.Tensor, shape: tuple[int, ...]) -> list[list[list[float]]]:
    """The values of each class's group, sample by sample."""
    units = output.flatten(1)[:, :, None] if shape[0] < CLASSES else output.flatten(2) if output.dim() > 2 else output
    return [
        [[float(value) for unit in group for value in torch.atleast_1d(sample[unit])] for group in GROUPS[shape]]
        for sample in units.detach()
    ]


@pytest.mark.parametrize("goodness", ["squares", "mean"])
@pytest.mark.parametrize("shape", GROUPS)
def test_cross_entropy_of_the_groups_means(shape: tuple[int, ...], goodness: str) -> None:
    rule = make(ChannelGoodness, layer_of(shape), goodness=goodness).double()
    view = see(rule)
    power = 2 if goodness == "squares" else 1
    scores = [
        [sum(value**power for value in group) / len(group) for group in sample]
        for sample in members(view.output, shape)
    ]
    assert rule(view).item() == pytest.approx(cross_entropy(scores, LABELS), rel=1e-6)


@pytest.mark.parametrize("shape", GROUPS)
def test_readers_receive_each_group_normalised(shape: tuple[int, ...]) -> None:
    output = draws(6, *shape, seed=4)
    assert make(ChannelGoodness, layer_of(shape)).double().transform_output(output) is output
    found = make(ChannelGoodness, layer_of(shape), normalize=True).double().transform_output(output)
    assert found.shape == output.shape
    for before, after in zip(members(output, shape), members(found, shape), strict=True):
        for values, normalised in zip(before, after, strict=True):
            mean = sum(values) / len(values)
            variance = sum((value - mean) ** 2 for value in values) / len(values)
            expected = [(value - mean) / math.sqrt(variance + 1e-5) for value in values]
            assert normalised == pytest.approx(expected, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("answer", ["sum", "last", "readout"])
def test_the_prediction(answer: str) -> None:
    session = perceptron(ChannelGoodness, rule_options={"answer": answer})
    outputs: list[torch.Tensor] = []
    for layer in session.network.layers:
        layer.module.register_forward_hook(lambda *call: outputs.append(call[2]))
    found = session.predictor.scores(session.data.split("valid")).logits
    *hidden, readout = outputs
    each = [torch.stack([part.square().mean(1) for part in output.tensor_split(4, dim=1)], 1) for output in hidden]
    expected = {"sum": torch.stack(each).sum(0), "last": each[-1], "readout": readout}[answer]
    torch.testing.assert_close(found, expected)


def test_fewer_units_than_classes_are_refused() -> None:
    with pytest.raises(UsageError, match="cannot split layer 'layer' into groups"):
        make(ChannelGoodness, layer_of((CLASSES - 1,)))


@pytest.mark.parametrize("shape", [(2 * CLASSES - 1,), (CLASSES, 1, 1)])
def test_a_group_of_one_value_cannot_be_normalised(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="cannot normalise the groups of layer 'layer'"):
        make(ChannelGoodness, layer_of(shape), normalize=True)
    make(ChannelGoodness, layer_of(shape))
    make(ChannelGoodness, layer_of((2 * CLASSES,)), normalize=True)
    make(ChannelGoodness, layer_of((CLASSES, 1, 2)), normalize=True)
