"""CaFo: random layers, each with a predictor that is solved in closed form; the predictors vote."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from localrules import (
    Batch,
    Context,
    Layer,
    Network,
    Requirements,
    Rule,
    RuleConfig,
    RuleInfo,
    SearchRange,
    StepReport,
    UsageError,
    state_key,
)
from localrules.kernels.checks import no_autocast
from localrules_closed_form.features import extract_features, pool_features
from localrules_closed_form.least_squares import LeastSquares


class CaFo(Rule):
    """The cascaded forward algorithm: layers keep their random weights, each has a linear predictor of the label.

    A predictor maps a layer's output, averaged over a grid and flattened, to one-hot labels by ridge regression:
    ``W = (A'A / n + ridge * s I)^-1 A'Y / n``, with the features of all samples so far, and a one for the bias, in
    ``A``, and the mean square ``s`` of a feature. A step adds to the sums ``A'A`` and ``A'Y``; the first prediction
    after it solves for ``W``, in float64. With ``predictor=ce`` it descends on cross-entropy instead. The network's
    prediction is the sum over the layers of the softmax of their predictors' outputs; the readout is neither trained
    nor used.

    Differences: the paper solves once over the data set as it is, here every augmented image of every epoch counts;
    it flattens whole feature maps, whose ``A'A`` would not fit into memory for larger networks; it has no ridge and no
    bias; its blocks are convolution, relu, max-pooling, batch norm. Batch norms use the batch's statistics in training
    and running ones in prediction, as usual.

    References:
        Zhao, Wang, Li, Jin, Lang & Ling 2023, The cascaded forward algorithm for neural network training,
        https://arxiv.org/abs/2303.09728, and its code, https://github.com/Graph-ZKY/CaFo.
    """

    class Config(RuleConfig):
        """Options of rule cafo."""

        predictor: Literal["mse", "ce"] = Field(
            "mse",
            description="Closed-form least squares (the paper's CaFo+MSE), or descent on cross-entropy (its CaFo+CE).",
        )
        ridge: float = Field(
            1e-3,
            gt=0,
            description="Ridge of least squares, relative to a feature's mean square (ours; the paper has none).",
        )
        grid: int = Field(
            8,
            ge=1,
            description="Positions per side to which feature maps are averaged (ours; the paper flattens them).",
        )
        features: int = Field(
            1024,
            ge=1,
            description="Upper bound of the features of maps; the grid is coarser where it would give more (ours: it "
            "bounds memory, 8 bytes times its square per layer).",
        )

    info = RuleInfo(
        search_space={"ridge": SearchRange(0.0001, 0.1, log=True)},
        formula="W_l = (A_l'A_l + r I)^-1 A_l'Y on random features A_l of each layer; output: sum_l softmax(A_l W_l)",
        locality="local-labels",
        requires=Requirements(targets="probabilities"),
        trains_layers=False,
        loss_scaling=True,
        trains_readout=False,
        presets={"paper": {"ridge": 1e-8, "grid": 32, "features": 8192}},
    )

    config: CaFo.Config

    def prepare(self, network: Network, num_classes: int) -> None:
        """Make a predictor for each output of each hidden layer."""
        if self.config.predictor == "mse" and next(network.parameters()).device.type == "mps":
            raise UsageError(
                "rule 'cafo' cannot solve on this device",
                where="--device mps",
                why="its sums are kept in float64, which Apple's GPUs do not have",
                fix="choose --device cpu, or --set rule.predictor=ce",
            )
        self.predictors = nn.ModuleDict()
        for layer in network.hidden:
            for index, shape in enumerate(layer.as_feature_maps().out_shapes):
                width = self._read(torch.zeros(1, *shape)).shape[1]
                self.predictors[state_key(layer, index)] = self._predictor(width, num_classes)

    def _predictor(self, width: int, num_classes: int) -> nn.Module:
        if self.config.predictor == "mse":
            return LeastSquares(width, num_classes, self.config.ridge)
        classifier = nn.Linear(width, num_classes)
        nn.init.zeros_(classifier.weight)
        nn.init.zeros_(classifier.bias)
        return classifier

    def parameters_for(self, layer: Layer) -> Iterable[nn.Parameter]:
        """The parameters of the layer's predictors; least squares has none."""
        for index in range(len(layer.out_shapes)):
            if not layer.is_readout:
                yield from self.predictors[state_key(layer, index)].parameters()

    def auxiliary_serves_others(self, layer: Layer) -> bool:
        """The predictors predict."""
        return not layer.is_readout

    def step(self, network: Network, batch: Batch, context: Context) -> StepReport:
        """One forward pass; each layer's predictor is trained on the layer's features."""
        report = StepReport()
        with torch.no_grad(), context.autocast():
            found = extract_features(network, batch.images, self._read)
        for layer, features in found:
            if context.is_objective_trainable(layer):
                self._train(layer, features, batch, context, report)
        return report

    def _train(self, layer: Layer, features: list[Tensor], batch: Batch, context: Context, report: StepReport) -> None:
        """Add to the sums, or leave the classifiers' gradients and step them."""
        losses = []
        for index, inputs in enumerate(features):
            predictor = self.predictors[state_key(layer, index)]
            if isinstance(predictor, LeastSquares):
                predictor.add(batch.part.gather(inputs), batch.part.gather(batch.targets))
            else:
                losses.append(functional.cross_entropy(predictor(inputs), batch.targets))
        if losses:
            loss = torch.stack(losses).sum()
            context.backward(loss, layer)
            report.objectives[layer.name] = loss.detach()
            context.step_layer(layer)

    def predict(self, network: Network, images: Tensor) -> Tensor:
        """The logarithm of the summed votes, shape (batch, classes)."""
        votes = []
        for layer, features in extract_features(network, images, self._read):
            with no_autocast(images):
                votes += [self.predictors[state_key(layer, index)](inputs) for index, inputs in enumerate(features)]
        return torch.stack(votes).log_softmax(2).logsumexp(0)

    def _read(self, output: Tensor) -> Tensor:
        return pool_features(output, self.config.grid, self.config.features)
