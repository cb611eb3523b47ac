"""Base of Hebbian rules: a change of weights computed from inputs and pre-activations."""

from __future__ import annotations

from abc import abstractmethod

import torch
from pydantic import BaseModel
from torch import Tensor

from localrules import Layer, LayerView, Objective, Operation, Requirements, RuleInfo, UsageError
from localrules.kernels.checks import no_autocast
from localrules.utils.torch_utils import at_least_float32


class Hebbian(Objective):
    """Changes the weights of every linear and convolution inside a layer by :meth:`change`, without an objective.

    The change ``dW`` becomes the surrogate ``-(dW * W).sum()``, whose gradient is ``-dW``, so that optimizers and
    schedules work as for any rule. A kernel that is folded from several parameters passes it on by the chain rule, to
    parameters of two or more dimensions alone. A Hebbian rule has no change for a layer's vectors and scalars (biases,
    norms, the weights of a kernel's sources): they stay as they were.
    """

    info = RuleInfo(
        locality="local",
        # Outputs are standardised over the batch: those of one sample are zero, behind a linear layer.
        requires=Requirements(min_batch=2, operations=True, targets="weighted", global_batch=True),
    )

    def __init__(self, config: BaseModel, layer: Layer, num_classes: int) -> None:
        super().__init__(config, layer, num_classes)
        if not any(weight.dim() > 1 for weight in layer.parameters()):
            raise UsageError(
                f"layer {layer.name!r} has no linear and no convolution",
                where=f"{type(self).__name__} at layer {layer.name!r}",
                why="a Hebbian rule changes the weights of linear and conv2d operations",
                fix=f"let another rule train it: --rule '{layer.name}=RULE,*=...'",
            )
        learned = [weight for weight in layer.parameters() if weight.requires_grad]
        if learned and not any(weight.dim() > 1 for weight in learned):
            raise self._frozen_error()

    @abstractmethod
    def change(self, operation: Operation, units: Tensor) -> Tensor:
        """The change to be added to the weight.

        Args:
            operation: With its ``input``.
            units: Its pre-activations, without the bias, float32, shape (units, samples); a convolution has a sample at
                every position of every image.

        Returns:
            Shaped like ``operation.weight``, float32.
        """

    def forward(self, view: LayerView) -> Tensor:
        """The surrogate; its value is minus half the rate at which the squared weights grow, near zero once settled."""
        if not view.operations:
            return view.output.new_zeros(())  # another output of a layer whose operations the first has
        norms = [operation.weight.detach().flatten(1).norm(dim=1).mean() for operation in view.operations]
        self.log("weight_norm", torch.stack(norms).mean())
        with no_autocast(view.output):
            # A scalar that scales a kernel would get the sum over all of it, and diverge.
            trained = [weight for weight in self.layer.parameters() if weight.dim() > 1 and weight.requires_grad]
            operations = [operation for operation in view.operations if operation.weight.requires_grad]
            if not operations:  # what is left has two dimensions and no operation: a class token, say
                raise self._frozen_error()
            ascent = [self._change(operation) for operation in operations]
            weights = [operation.weight for operation in operations]
            changes = torch.autograd.grad(weights, trained, ascent, allow_unused=True)
            terms = [g.flatten() @ w.flatten() for g, w in zip(changes, trained, strict=True) if g is not None]
            return -torch.stack(terms).sum()

    def _frozen_error(self) -> UsageError:
        name = self.layer.name
        return UsageError(
            f"nothing that the rule trains is left in layer {name!r}",
            where=f"{type(self).__name__} at layer {name!r}",
            why="its linears and convolutions are frozen; biases and norms stay as they are under a Hebbian rule",
            fix="freeze the whole layer with requires_grad_(False), or let another rule train it: "
            f"--rule '{name}=RULE,*=...'",
        )

    def _change(self, operation: Operation) -> Tensor:
        with torch.no_grad():
            return self.change(operation, _pre_activations(operation)).to(operation.weight.dtype)


def as_output(operation: Operation, values: Tensor) -> Tensor:
    """Values of shape (units, samples) in the shape of the operation's output."""
    assert operation.output is not None
    shape = operation.output.shape
    if operation.kind == "conv2d":
        return values.view(shape[1], shape[0], *shape[2:]).movedim(0, 1)
    return values.T.reshape(shape)


def _pre_activations(operation: Operation) -> Tensor:
    assert operation.output is not None
    output = at_least_float32(operation.output.detach())
    units = (output.movedim(1, 0) if operation.kind == "conv2d" else output.movedim(-1, 0)).flatten(1)
    return units if operation.bias is None else units - at_least_float32(operation.bias.detach())[:, None]
