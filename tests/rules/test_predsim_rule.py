"""predsim is pred and sim: the weights of the two."""

from __future__ import annotations

import pytest
from helpers.one_layer import drawn, layer_of, make, see
from torch import nn

from localrules_supervised.predsim import PredSim


def parts(shape: tuple[int, ...], **options: float) -> tuple[float, float, dict[str, float]]:
    """The losses of pred and sim with predsim's decoder and projection, and the two parts of predsim."""
    rule = drawn(make(PredSim, layer_of(shape), **options))
    view = see(rule)
    return rule.pred(view).item(), rule.sim(view).item(), {name: value.item() for name, value in rule(view).items()}


@pytest.mark.parametrize("shape", [(8,), (5, 4, 4)])
def test_by_default_sim_is_weighted_with_99_hundredths_and_pred_with_one(shape: tuple[int, ...]) -> None:
    pred, sim, found = parts(shape)
    assert found == pytest.approx({"pred": 0.01 * pred, "sim": 0.99 * sim})
    assert sum(found.values()) != pytest.approx(0.99 * pred + 0.01 * sim, rel=0.1)


@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0])
def test_beta_is_the_weight_of_sim(beta: float) -> None:
    pred, sim, found = parts((8,), beta=beta)
    assert found == pytest.approx({"pred": (1 - beta) * pred, "sim": beta * sim})


def test_options_reach_decoder_and_projection() -> None:
    flat, maps = (make(PredSim, layer_of(shape), features=16, projected=2) for shape in ((8,), (4, 8, 8)))
    assert [tuple(parameter.shape) for parameter in flat.sim.parameters()] == [(2, 8)]
    assert [tuple(parameter.shape) for parameter in maps.pred.parameters()] == [(3, 16), (3,)]
    paper = make(PredSim, layer_of((1024,)), **PredSim.info.presets["paper"])
    (projection,) = (module for module in paper.sim.modules() if isinstance(module, nn.Linear))
    assert projection.weight.shape == (1024, 1024)
