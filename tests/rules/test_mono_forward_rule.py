"""mono-forward: goodness for each class, and the prediction from it."""

from __future__ import annotations

import pytest
import torch
from helpers.digits import digits_session, learn_digits
from helpers.one_layer import affine, cross_entropy, drawn, draws, layer_of, make, see
from helpers.reference import pooled
from helpers.tiny_sessions import dense, perceptron
from torch import Tensor

from localrules.engine.session import Session
from localrules_supervised.mono_forward import MonoForward


@pytest.mark.parametrize(("shape", "pool_size", "grid"), [((7,), None, 4), ((3, 8, 8), None, 4), ((3, 8, 8), 1, 1)])
def test_goodness_is_a_projection_without_bias(shape: tuple[int, ...], pool_size: int | None, grid: int) -> None:
    rule = drawn(make(MonoForward, layer_of(shape, pool_size=pool_size)))
    view = see(rule)
    assert rule.projection.bias is None
    goodness = affine(pooled(view.output.detach(), grid).tolist(), rule.projection)
    assert rule(view).item() == pytest.approx(cross_entropy(goodness), rel=1e-6)


def with_goodness(answer: str, network: object = perceptron) -> Session:
    """A session in which every M is random."""
    session = network(MonoForward, rule_options={"answer": answer})
    with torch.no_grad():
        for number, parameter in enumerate(session.rule.parameters()):
            parameter.copy_(draws(*parameter.shape, seed=number))
    return session


def answers(session: Session) -> Tensor:
    return session.predictor.scores(session.data.split("valid")).logits


def goodness_of_each_layer(session: Session) -> list[Tensor]:
    """The goodness of each layer on the validation images."""
    outputs: list[Tensor] = []
    for layer in session.network.hidden:
        layer.module.register_forward_hook(lambda *call: outputs.append(call[2]))
    session.rule.predict = lambda network, images: network(images)  # type: ignore[method-assign]
    answers(session)
    objectives = session.rule.objectives.values()
    return [
        objective.projection(pooled(output, objective.grid))
        for objective, output in zip(objectives, outputs, strict=True)
    ]


@pytest.mark.parametrize("network", [perceptron, dense])
def test_the_answer_is_the_sum_over_layers_or_the_last_layer_s(network: object) -> None:
    each = goodness_of_each_layer(with_goodness("sum", network))
    assert len(each) > 2
    torch.testing.assert_close(answers(with_goodness("sum", network)), sum(each[1:], each[0]))
    torch.testing.assert_close(answers(with_goodness("last", network)), each[-1])


def test_the_readout_predicts_with_that_option_and_is_not_needed_otherwise() -> None:
    def changed(session: Session) -> Session:
        with torch.no_grad():
            for parameter in session.network.readout.parameters():
                parameter.add_(1.0 + torch.arange(float(parameter.shape[0])).view(-1, *[1] * (parameter.dim() - 1)))
        return session

    for answer in ("sum", "last", "readout"):
        same = torch.equal(answers(with_goodness(answer)), answers(changed(with_goodness(answer))))
        assert same == (answer != "readout")


@pytest.mark.parametrize("answer", ["last", "readout"])
def test_every_answer_learns(answer: str) -> None:
    assert learn_digits(MonoForward, rule_options={"answer": answer}, epochs=4) > 0.9


def test_a_new_projection_predicts_nothing() -> None:
    session = digits_session(MonoForward)
    assert not session.predictor.scores(session.data.split("test")).logits.any()
