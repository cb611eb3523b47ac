"""What Hebbian rules have in common: a change of weights, made of what came in and of what the units made of it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from localrules import Layer, LayerView, Objective, Operation, Requirements, RuleInfo, UsageError
from localrules.kernels.checks import no_autocast


class Hebbian(Objective):
    """Changes the weights of every matrix and convolution inside a layer by :meth:`change`, without an objective.

    The change ``dW`` is put as the surrogate ``-(dW * W).sum()``, whose gradient is ``-dW``, so that optimizers and
    schedules work as for any rule. A kernel that is folded from several parameters passes it on by the chain rule, to
    matrices and kernels alone. Of a layer's vectors and scalars (biases, norms, the weights of a kernel's sources) a
    Hebbian rule says nothing: they stay as they were.
    """

    info = RuleInfo(
        locality="local",
        requires=Requirements(operations=True),
    )

    def prepare(self, layers: Sequence[Layer], num_classes: int) -> None:
        """Raises UsageError where a layer has nothing that a Hebbian rule could change."""
        for layer in layers:
            if not any(weight.dim() > 1 for weight in layer.parameters()):
                raise UsageError(
                    f"layer {layer.name!r} has no matrix and no convolution",
                    where=f"{type(self).__name__} at layer {layer.name!r}",
                    why="a Hebbian rule changes the weights of linear and conv2d operations",
                    fix=f"let another rule train it: --rule '{layer.name}=RULE,*=...'",
                )

    @abstractmethod
    def change(self, operation: Operation, units: Tensor) -> Tensor:
        """What shall be added to the weight.

        Args:
            operation: What ran; its ``input`` is what came in.
            units: What the weights made of it, without the bias, float32, shape (units, samples); a convolution has a
                sample at every position of every picture.

        Returns:
            Shaped like ``operation.weight``, float32.
        """

    def loss(self, view: LayerView) -> Tensor:
        """The surrogate; its value is minus half the rate at which the squared weights grow, near zero once settled."""
        if not view.operations:
            return view.output.new_zeros(())  # another end of a layer that has been told
        norms = [operation.weight.detach().flatten(1).norm(dim=1).mean() for operation in view.operations]
        view.note("weight_norm", torch.stack(norms).mean())
        with no_autocast(view.output):
            # A scalar that scales a kernel would be told the sum over all of it, and run away.
            learning = [weight for weight in view.layer.parameters() if weight.dim() > 1 and weight.requires_grad]
            met = [operation for operation in view.operations if operation.weight.requires_grad]
            ascent = [self._change(operation) for operation in met]
            told = torch.autograd.grad([operation.weight for operation in met], learning, ascent, allow_unused=True)
            terms = [g.flatten() @ w.flatten() for g, w in zip(told, learning, strict=True) if g is not None]
            return -torch.stack(terms).sum()

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
    output = operation.output.detach().float()
    units = (output.movedim(1, 0) if operation.kind == "conv2d" else output.movedim(-1, 0)).flatten(1)
    return units if operation.bias is None else units - operation.bias.detach().float()[:, None]
