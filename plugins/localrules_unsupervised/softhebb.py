"""SoftHebb: units compete for every input; the winner moves towards it, the others a little away from it."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from localrules import Operation, OutputTransform, RuleConfig, SearchRange
from localrules.utils.torch_utils import at_least_float32
from localrules_unsupervised.hebbian import Hebbian, as_output

SMALLEST = 1e-12  # smaller probabilities become zero: a sharp softmax gives subnormals, which slow a product tenfold


class SoftHebb(Hebbian, OutputTransform):
    """Soft winner-take-all Hebbian learning: ``dW = sum y (x - u w)``, summed over images and positions.

    With ``u = W x``, the pre-activations without the bias, and ``y = softmax(t u)`` over the units: ``+y`` for the unit
    with the largest ``u``, ``-y`` (anti-Hebbian) for all others. The sum is divided by its largest entry; each unit's
    part is multiplied by the square root of ``| |w| - 1 |``, since a weight settles at length 1.

    Differences: a published layer is batch norm without parameters, convolution, Triangle and pooling, its weights
    start at a length near 25, and each layer has a ``t`` of its own. Here a layer is the model's own (convolution,
    norm, activation) and its weights start as the model draws them: so the softmax is of ``u`` divided by its std over
    the batch (``relative``), and the rule itself subtracts the input's mean (``centered``), as a batch norm in front
    would. Triangle can be applied to a layer's output (``triangle``), after the activation.

    References:
        Journé, Garcia Rodriguez, Guo & Moraitis 2023, Hebbian deep learning without feedback,
        https://arxiv.org/abs/2209.11883, and its code, https://github.com/NeuromorphicComputing/SoftHebb; the rule:
        Moraitis, Toichkin, Journé, Chua & Guo 2022, https://doi.org/10.1088/2634-4386/aca710.
    """

    class Config(RuleConfig):
        """Options of rule softhebb."""

        sharpness: float = Field(
            10.0, gt=0, description="t of the softmax (ours; the paper's 1, 0.65, 0.25 by layer, for longer weights)."
        )
        relative: bool = Field(
            True, description="Divide pre-activations by their std over the batch before the softmax (ours)."
        )
        centered: bool = Field(
            True, description="Learn from inputs less their mean over the batch (ours, for the paper's norm in front)."
        )
        adaptive: bool = Field(True, description="Slow a unit down as its weights approach length 1 (the paper's).")
        triangle: float = Field(
            0.0,
            ge=0,
            le=10,
            description="Power p of relu(z - mean over units)^p, which readers get in place of the output z; 0 for z "
            "itself (ours; the paper's 0.7, 1.4, 1 by layer).",
        )

    info = Hebbian.info.replace(
        search_space={"sharpness": SearchRange(1, 30, log=True)},
        formula="dW = +-y (x - u W), y = softmax(t u), u = W x; + for the winner, - for all others",
        presets={"paper": {"sharpness": 1.0, "relative": False, "centered": False, "triangle": 1.0}},
        run_defaults={"optimizer": {"name": "sgd", "lr": 0.05}},
    )

    config: SoftHebb.Config

    def change(self, operation: Operation, units: Tensor) -> Tensor:
        """The summed change, its largest entry 1 in size before units are slowed down."""
        if self.config.centered:
            units = units - units.mean(1, keepdim=True)
        probabilities = (self._sharpness(units) * units).softmax(0)
        post = -functional.threshold(probabilities, SMALLEST, 0.0)
        winners = units.argmax(0, keepdim=True)
        post.scatter_(0, winners, -post.gather(0, winners))
        decay = (post * units).sum(1, keepdim=True)
        if self.config.centered:  # sum y (x - mean x) = sum (y - mean y) x
            post = post - post.mean(1, keepdim=True)
        weight = at_least_float32(operation.weight.detach()).flatten(1)
        change = operation.weight_gradient(as_output(operation, post)).flatten(1).addcmul_(decay, weight, value=-1)
        low, high = change.aminmax()
        rate = 1 / torch.maximum(high, -low).clamp_min(1e-30)
        if self.config.adaptive:
            rate = rate * (weight.norm(dim=1, keepdim=True) - 1).abs().sqrt()
        return change.mul_(rate).view_as(operation.weight)

    def _sharpness(self, units: Tensor) -> Tensor | float:
        if not self.config.relative:
            return self.config.sharpness
        return self.config.sharpness / units.std(correction=0).clamp_min(1e-12)

    def transform_output(self, output: Tensor) -> Tensor:
        """The output, or Triangle of it: the excess over the mean of the units at each position."""
        if not self.config.triangle:
            return output
        return (output - output.mean(1, keepdim=True)).relu() ** self.config.triangle
