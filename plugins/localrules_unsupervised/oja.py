"""Oja's rule: linear units learn the principal subspace of their input."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from localrules import Operation, RuleConfig, SearchChoice
from localrules.utils.torch_utils import at_least_float32
from localrules_unsupervised.hebbian import Hebbian, as_output


class Oja(Hebbian):
    """Oja's rule for several units: ``dW = <y x'> - <y y'> W`` with ``y = W x``, averaged over images and positions.

    The units' weights tend to an orthonormal basis of the leading principal subspace of the input (Oja 1989); with the
    upper triangle of ``<y y'>`` left out, the principal components themselves in order (Sanger 1989). The average is
    divided by the mean power of an input, so that one learning rate suits every layer. Where there are more units than
    inputs, they share the whole space (Oja), or the weights of those in excess decay to zero (Sanger).

    Differences: the average of a batch instead of one input at a time; and a layer's norm and activation come after
    the linear units, so the next layer reads principal components that were normalised and rectified.

    References:
        Oja 1982, A simplified neuron model as a principal component analyzer, https://doi.org/10.1007/BF00275687;
        Oja 1989, Neural networks, principal components, and subspaces, https://doi.org/10.1142/S0129065789000475;
        Sanger 1989, https://doi.org/10.1016/0893-6080(89)90044-0.
    """

    class Config(RuleConfig):
        """Options of rule oja."""

        form: Literal["subspace", "sanger"] = Field(
            "subspace", description="subspace (Oja 1989, the paper's), or sanger: the principal components in order."
        )
        centered: bool = Field(
            True,
            description="Learn from inputs less their mean over the batch (ours; the paper takes their mean as zero).",
        )

    info = Hebbian.info.replace(
        search_space={"form": SearchChoice(("subspace", "sanger"))},
        formula="dW = y x' - y y' W, y = W x",
        presets={"paper": {"centered": False}},
        run_defaults={"optimizer": {"name": "sgd", "lr": 0.1}},
    )

    config: Oja.Config

    def change(self, operation: Operation, units: Tensor) -> Tensor:
        """The averaged change, divided by the mean power of the input as it is."""
        if self.config.centered:  # the mean of x drops out of <(y - mean y) x'>
            units = units - units.mean(1, keepdim=True)
        samples = units.shape[1]
        groups = operation.options.get("groups", 1)
        weights = at_least_float32(operation.weight.detach()).flatten(1).chunk(groups)
        decay = torch.cat([self._decay(y, w) for y, w in zip(units.chunk(groups), weights, strict=True)])
        change = operation.weight_gradient(as_output(operation, units)).sub_(decay.view_as(operation.weight))
        power = at_least_float32(operation.input.detach()).square().mean() * weights[0].shape[1]
        return change.div_((samples * power).clamp_min(1e-30))

    def _decay(self, units: Tensor, weight: Tensor) -> Tensor:
        """``y y' W``, summed over samples, from (units, samples) and (units, inputs), shape (units, inputs)."""
        if self.config.form == "sanger":
            return (units @ units.T).tril() @ weight
        return torch.linalg.multi_dot([units, units.T, weight])  # in the cheaper order
