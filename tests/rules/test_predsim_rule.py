"""predsim is pred and sim, and which of the two has which weight."""

from __future__ import annotations

import pytest
from one_layer import layer_of, see
from torch import nn

from localrules_supervised.pred import Pred
from localrules_supervised.predsim import PredSim
from localrules_supervised.sim import Sim


def parts(rule: PredSim, shape: tuple[int, ...]) -> tuple[float, float, dict[str, float]]:
    """What pred and sim say of a layer with the same decoder and projection, and what predsim says."""
    view = see(rule, layer_of(shape))
    both = view.auxiliary
    assert isinstance(both, nn.ModuleDict)
    found = {name: value.item() for name, value in rule.loss(view).items()}
    view.auxiliary = both["decoder"]
    pred = Pred().loss(view).item()
    view.auxiliary = both["projection"]
    return pred, Sim().loss(view).item(), found


@pytest.mark.parametrize("shape", [(8,), (5, 4, 4)])
def test_by_default_sim_is_weighed_with_99_hundredths_and_pred_with_one(shape: tuple[int, ...]) -> None:
    pred, sim, found = parts(PredSim(), shape)
    assert found == pytest.approx({"pred": 0.01 * pred, "sim": 0.99 * sim})
    assert sum(found.values()) != pytest.approx(0.99 * pred + 0.01 * sim, rel=0.1)


@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0])
def test_beta_is_the_weight_of_sim(beta: float) -> None:
    pred, sim, found = parts(PredSim(PredSim.Config(beta=beta)), (8,))
    assert found == pytest.approx({"pred": (1 - beta) * pred, "sim": beta * sim})


def test_options_reach_decoder_and_projection() -> None:
    assert PredSim(PredSim.Config(**PredSim.info.presets["paper"])).config.projected == "all"
    rule = PredSim(PredSim.Config(features=16, projected=2))
    flat, maps = (rule.auxiliary(layer_of(shape), 3) for shape in ((8,), (4, 8, 8)))
    assert [tuple(parameter.shape) for parameter in flat["projection"].parameters()] == [(2, 8)]
    assert [tuple(parameter.shape) for parameter in maps["decoder"].parameters()] == [(3, 16), (3,)]
