"""Counter-current learning: a second network carries the classes down, and layers learn to agree with it."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

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
    isolated_forward,
    state_key,
)
from localrules.utils.torch_utils import at_least_float32
from localrules_energy.inverses import inverse


class CounterCurrent(Rule):
    """A feedback network mirrors the hidden layers: ``c_l = elu(G_l c_{l+1})`` with one linear or convolution ``G_l``,
    from the one-hot codes of all classes at the top. A layer and its ``G_l`` minimise, with ``h_i`` the layer's output
    for sample i and ``c_k`` the feedback network's for class k, both flattened and divided by their norm,

        ``mean_ik (h_i c_k - [y_i = k])^2 + contrast (mean_ij (h_i h_j - [i = j])^2 + mean_kl (c_k c_l - [k = l])^2)``.

    No gradient passes from layer to layer, up or down; what comes down is the feedback network's activity, whose
    weights learned from the layers above. The readout is trained by cross-entropy. A sample whose class already has a
    probability above ``1 - confident`` has no part in the loss: its ``h_i`` is zero.

    With ``contrast`` 0.5 this is the loss of the authors' code for convolutional networks. With ``cosine`` off it is
    that of their fully connected ones, ``128 / features`` times the mean of ``(h_i c_k - [y_i = k])^2``, unnormalised.
    Differences: the
    feedback network ends at the first layer's output, since a reconstruction of the image would not reach the layers;
    gradients are not centred, and clipping and optimizer are the run's.

    References:
        Kao & Hariharan 2024, Counter-current learning, https://arxiv.org/abs/2409.19841;
        https://github.com/IandRover/CCL-NeurIPS24.
    """

    class Config(RuleConfig):
        """Options of rule counter-current."""

        cosine: bool = Field(
            True,
            description="Divide outputs by their norm, as the paper's code does for convolutional networks, or not, as "
            "for fully connected ones.",
        )
        contrast: float = Field(
            0.0, ge=0, description="With cosine: weight of the terms within one network (ours; the paper's code: 0.5)."
        )
        confident: float = Field(
            0.1, ge=0, lt=1, description="Margin below 1 in which a class's probability is enough (the paper's code)."
        )

    info = RuleInfo(
        formula="mean (h_i c_k - [y_i = k])^2 + contrast (mean (h_i h_j - [i = j])^2 + mean (c_k c_l - [k = l])^2)",
        locality="feedback",
        requires=Requirements(min_batch=2, sequential=True, targets="probabilities"),
        search_space={"confident": SearchRange(0.02, 0.5, log=True)},
        presets={"paper": {"contrast": 0.5}, "paper-connected": {"cosine": False, "confident": 0.0}},
    )

    config: CounterCurrent.Config

    def prepare(self, network: Network, num_classes: int) -> None:
        """One linear or convolution of the feedback network for each hidden layer."""
        shapes = [*(layer.out_shape for layer in network.hidden), (num_classes,)]
        self.feedback = nn.ModuleDict(
            {
                state_key(layer): inverse(above, own, "elu")
                for layer, (own, above) in zip(network.hidden, pairwise(shapes), strict=True)
            }
        )

    def parameters_for(self, layer: Layer) -> Iterable[nn.Parameter]:
        """Those that bring the feedback network's activity to the layer."""
        if state_key(layer) in self.feedback:
            yield from self.feedback[state_key(layer)].parameters()

    def auxiliary_serves_others(self, layer: Layer) -> bool:
        """The feedback network goes on to the layers below."""
        return not layer.is_readout

    def step(self, network: Network, batch: Batch, context: Context) -> StepReport:
        """Both networks forward, and a backward pass inside each layer."""
        *hidden, readout = isolated_forward(network, batch.images, precision=context.autocast())
        logits = readout.output.detach()
        wide = at_least_float32(readout.output)
        loss = functional.cross_entropy(wide, batch.targets)
        if context.is_trainable(readout.layer):
            loss.backward()
            context.step_layer(readout.layer)
        report = StepReport(logits=logits, loss=loss.detach())
        targets = batch.class_targets(wide.dtype)
        open_samples = ((wide.detach().softmax(1) - targets).abs() * targets).sum(1) >= self.config.confident
        coming = torch.eye(batch.num_classes).to(wide)
        for trace in reversed(hidden):
            with context.autocast():
                classes = self.feedback[state_key(trace.layer)](coming)
            coming = classes.detach()
            if context.is_objective_trainable(trace.layer):
                value = self._objective(trace.output.to(wide.dtype), classes.to(wide.dtype), targets, open_samples)
                value.backward()
                report.objectives[trace.layer.name] = value.detach()
                context.step_layer(trace.layer)
        report.objectives = dict(reversed(report.objectives.items()))  # in forward order
        return report

    def _objective(self, output: Tensor, classes: Tensor, targets: Tensor, open_samples: Tensor) -> Tensor:
        samples, codes = output.flatten(1), classes.flatten(1)
        samples = samples * open_samples[:, None]
        if not self.config.cosine:
            return (samples @ codes.T - targets).square().mean() * (128 / samples.shape[1])
        samples, codes = functional.normalize(samples, dim=1), functional.normalize(codes, dim=1)
        total = (samples @ codes.T - targets).square().mean()
        if self.config.contrast:
            total = total + self.config.contrast * (_from_identity(samples) + _from_identity(codes))
        return total


def _from_identity(rows: Tensor) -> Tensor:
    """The mean squared distance of the Gram matrix from the identity."""
    return (rows @ rows.T - torch.eye(len(rows)).to(rows)).square().mean()
