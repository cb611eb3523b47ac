"""Error broadcast and decorrelation."""

from __future__ import annotations

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
    isolated_forward,
    state_key,
)
from localrules.core.nn.losses import cross_entropy_error
from localrules.utils.torch_utils import at_least_float32

RIDGE = 1e-3  # of the entropy's covariance, in units of its mean variance


class ErrorBroadcast(Rule):
    """Every hidden layer makes its output uncorrelated with the network's error, as that of an optimal estimator is.

    With a layer's output ``h`` and the error ``e``, the layer keeps the running cross-correlation
    ``R = memory R + (1 - memory) mean(h e^T)`` and minimises ``|R|^2 / 2`` in ``h``, at a fixed error: the signal at
    its output is ``R e`` for each sample, a projection of the error as in direct feedback alignment, by weights that
    change. Inside the layer the signal follows the chain rule. The readout has its own gradient.

    ``R`` starts at random and ``memory`` is close to 1, as in the paper's experiments, so that for the first ten
    thousands of steps the projection is mostly a random one. A correlation that forgets faster does not teach the
    layers (see the rule's page).

    Two terms keep outputs from becoming uncorrelated by vanishing: ``power``, the mean over units of
    ``(mean h^2 - level)^2 / 2``, and ``entropy``, minus half the log-determinant of the output's covariance over the
    batch, per unit. Both are off by default: the networks' norms and rates do not need them here.

    What differs: the error is that of the softmax (``loss=squared``: the paper's); the scale of the signal is free of
    ``memory``; the entropy is that of the centred output, and does not remember earlier batches; the paper's
    forward broadcast and sparse weights are left out.

    References:
        Erdogan, Pehlevan & Erdogan 2025, Error broadcast and decorrelation as a potential artificial and natural
        learning mechanism, https://arxiv.org/abs/2504.11558;
        https://github.com/meterdogan07/error-broadcast-decorrelation.
    """

    class Config(RuleConfig):
        """Options of rule error-broadcast."""

        memory: float = Field(
            0.99999, ge=0, le=1, description="Weight of earlier batches in the correlation (the paper's, of its CNN)."
        )
        gain: float = Field(
            0.01,
            ge=0,
            description="Factor of Xavier's uniform numbers, with which the correlation starts (the paper's, of its "
            "MLP).",
        )
        loss: Literal["cross-entropy", "squared"] = Field(
            "cross-entropy",
            description="Loss whose error is broadcast, and by which the readout learns: softmax less label (ours), or "
            "logits less label (the paper's).",
        )
        power: float = Field(0.0, ge=0, description="Weight of the term that keeps up each unit's power (ours).")
        level: float = Field(1.0, gt=0, description="Mean square at which the power is kept (ours).")
        entropy: float = Field(0.0, ge=0, description="Weight of the output's entropy (ours).")

    info = RuleInfo(
        search_space={"gain": SearchRange(0.001, 0.1, log=True)},
        formula="delta_l = (R_l e) phi', R_l the running cross-correlation of the layer's output and the error e",
        locality="broadcast-error",
        requires=Requirements(min_batch=2, targets="probabilities"),
    )

    config: ErrorBroadcast.Config

    def prepare(self, network: Network, num_classes: int) -> None:
        """A random correlation for each output of each hidden layer."""
        for layer in network.hidden:
            for index, shape in enumerate(layer.out_shapes):
                start = torch.empty(torch.Size(shape).numel(), num_classes)
                nn.init.xavier_uniform_(start, self.config.gain)
                self.register_buffer(state_key(layer, index), start)

    def step(self, network: Network, batch: Batch, context: Context) -> StepReport:
        """One forward pass to the error, and a backward pass inside each layer."""
        *hidden, readout = isolated_forward(network, batch.images, precision=context.autocast())
        logits = readout.output.detach()
        wide = at_least_float32(readout.output)
        targets = batch.class_targets(wide.dtype)
        loss = functional.cross_entropy(wide, batch.targets)
        report = StepReport(logits=logits, loss=loss.detach())
        error = cross_entropy_error(wide, batch.targets)
        if self.config.loss == "squared":
            loss = (wide - targets).square().sum(1).mean() / 2
            error = wide.detach() - targets
        if context.is_trainable(readout.layer):
            loss.backward()
            context.step_layer(readout.layer)
        errors = batch.part.gather(error)
        for trace in hidden:
            if context.is_trainable(trace.layer):
                parts = [
                    self._objective(trace.layer, index, batch.part.gather(output), errors)
                    for index, output in enumerate(trace.final_outputs)
                ]
                report.objectives[trace.layer.name] = torch.stack([value for value, _ in parts]).sum()
                torch.stack([surrogate for _, surrogate in parts]).sum().backward()
                context.step_layer(trace.layer)
        return report

    def _objective(self, layer: Layer, index: int, output: Tensor, error: Tensor) -> tuple[Tensor, Tensor]:
        """Half the squared norm of the correlation, detached, and a scalar with the layer's gradient."""
        flat = output.flatten(1).to(error.dtype)
        correlation = self.get_buffer(state_key(layer, index))
        now = (flat.detach().T @ error) / len(error)
        correlation.lerp_(now.to(correlation.dtype), 1 - self.config.memory)
        signal = error @ correlation.to(error.dtype).T / len(error)
        surrogate = (flat * signal).sum()
        if self.config.power:
            excess = flat.square().mean(0) - self.config.level
            surrogate = surrogate + self.config.power * excess.square().mean() / 2
        if self.config.entropy:
            surrogate = surrogate - self.config.entropy * entropy(flat)
        return correlation.square().sum() / 2, surrogate


def entropy(features: Tensor) -> Tensor:
    """Half the log-determinant of the features' covariance over the batch, per unit, up to a constant.

    A multiple of the mean variance is added to the diagonal. There are as many non-zero eigenvalues as samples at most,
    so the determinant is that of the samples' Gram matrix.

    Args:
        features: Shape (batch, units).
    """
    samples, units = features.shape
    centred = features - features.mean(0)
    gram = centred @ centred.T / samples
    ridge = (gram.diagonal().sum() / units * RIDGE).detach() + 1e-12
    return torch.logdet(torch.eye(samples).to(gram) + gram / ridge) / (2 * units)
