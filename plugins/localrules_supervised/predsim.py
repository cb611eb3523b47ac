"""Label prediction and similarity matching together."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from localrules import Layer, LayerView, Objective, SearchRange
from localrules_supervised.pred import Pred
from localrules_supervised.sim import Sim


class PredSim(Objective):
    """``(1 - beta) pred + beta sim`` with ``beta = 0.99`` on ``sim``: both losses of Nøkland & Eidnes.

    It is often implemented the other way round. The paper's code has 0.99 on the similarity loss, whose mean squared
    differences are small numbers beside a cross-entropy.

    What differs: the readout is trained by the whole cross-entropy, where the paper's code weights it by ``1 - beta``
    (which makes no difference under Adam); a wide vector is projected to fewer features than it has
    (``preset=paper``: as many); dropout is the model's option here.

    References:
        Nøkland & Eidnes 2019, Training neural networks with local error signals, https://arxiv.org/abs/1901.06656;
        https://github.com/anokland/local-loss.
    """

    class Config(Pred.Config, Sim.Config):
        """Options of rule predsim: those of pred and sim, and how the two are weighted."""

        beta: float = Field(0.99, ge=0, le=1, description="Weight of sim; pred has the rest (the paper's).")

    info = Sim.info.replace(
        search_space={"beta": SearchRange(0.5, 1)},
        formula="(1 - beta) CE(decoder(h), y) + beta MSE(S(NN(h)), S(Y)), beta = 0.99",
    )

    config: PredSim.Config

    def __init__(self, config: Config, layer: Layer, num_classes: int) -> None:
        super().__init__(config, layer, num_classes)
        self.pred = Pred(config, layer, num_classes)
        self.sim = Sim(config, layer, num_classes)

    def forward(self, view: LayerView) -> dict[str, Tensor]:
        """The two weighted losses, scalars."""
        return {"pred": (1 - self.config.beta) * self.pred(view), "sim": self.config.beta * self.sim(view)}
