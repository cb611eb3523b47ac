"""Back-propagation in which every weight-bearing operation has feedback weights of its own."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any, ClassVar, Literal

import torch
from pydantic import BaseModel, Field
from torch import Tensor, nn
from torch.nn import functional

from localrules import (
    Batch,
    Context,
    Layer,
    Network,
    Operation,
    Rule,
    RuleConfig,
    RuleInfo,
    StepReport,
    UsageError,
    state_key,
)
from localrules.core.interception import Forward, intercept_layers
from localrules.core.ops import intercept_ops
from localrules_feedback.backward import apply_with_feedback

Init = Literal["xavier", "kaiming"]


def spread(weight: Tensor, init: Init) -> float:
    """The standard deviation of an initialisation for weights of this shape, (units, inputs, ...).

    ``xavier``: 2 / (fan in + fan out) is its square (Glorot & Bengio). ``kaiming``: 1 / (3 fan in) is, as for
    torch's own fully connected layers and convolutions.
    """
    field = weight[0, 0].numel()
    fan_in, fan_out = weight.shape[1] * field, weight.shape[0] * field
    return float((2 / (fan_in + fan_out) if init == "xavier" else 1 / (3 * fan_in)) ** 0.5)


def draw_like(weight: Tensor, init: Init) -> Tensor:
    """Weights of the same shape and memory layout, from the uniform distribution of that spread around zero."""
    bound = 3**0.5 * spread(weight, init)
    return torch.empty_like(weight).uniform_(-bound, bound)


class FeedbackOptions(RuleConfig):
    """Options of every rule with feedback paths."""

    init: Init = Field(
        "xavier",
        description="Spread of the feedback weights: xavier (Sanfiz & Akrout's paper), or kaiming, as torch draws "
        "forward ones.",
    )


class FeedbackPaths(Rule):
    """One global error, sent back through feedback weights; a subclass says which.

    Fully connected layers and convolutions have feedback weights, the readout's too, wherever they stand and whatever
    their weights are derived from. Everything else (activations, norms, pooling, the scales of norms) sends the error
    back by its own derivative, as in back-propagation.
    """

    Config: ClassVar[type[BaseModel]] = FeedbackOptions
    info = RuleInfo(
        locality="feedback",
    )

    def prepare(self, network: Network, num_classes: int) -> None:
        """Draw what :meth:`draw` wants for each operation that an error goes back through.

        Raises:
            UsageError: A layer with weights that no fully connected layer or convolution uses.
        """
        met: set[str] = set()

        def look(layer: Layer, key: str, operation: Operation) -> Tensor:
            met.add(layer.name)
            if operation.input.requires_grad:
                self.draw(key, operation.weight.detach())
            return operation.run()

        like = next(network.parameters())
        shape = getattr(network.model, "shape", network.layers[0].in_shape)
        with _in_eval(network), torch.enable_grad():
            _run(network, like.new_zeros(2, *shape), look)
        for layer in network.layers:
            if layer.name not in met and any(parameter.dim() > 1 for parameter in layer.parameters()):
                raise UsageError(
                    f"layer {layer.name!r} can have no feedback weights",
                    where=f"layer {layer.name!r}, {type(layer.module).__name__}",
                    why="its weights are used by another operation than linear or conv2d",
                    fix="use a rule that needs no feedback weights: backprop, dfa, or a local one",
                )

    @abstractmethod
    def draw(self, key: str, weight: Tensor) -> None:
        """Register the buffers that one operation needs.

        Args:
            key: Names the operation, and may name a buffer.
            weight: As the operation meets it, shape (units, ...).
        """

    @abstractmethod
    def feedback(self, key: str, weight: Tensor) -> Tensor:
        """The weights by which the error goes back in this step, shaped like ``weight``.

        Args:
            key: As in :meth:`draw`.
            weight: As the operation meets it, detached.
        """

    def step(self, network: Network, batch: Batch, context: Context) -> StepReport:
        """Forward, backward by the feedback weights, and every learning layer is ready."""

        def send_back(_: Layer, key: str, operation: Operation) -> Tensor:
            if not operation.input.requires_grad:
                return operation.run()
            return apply_with_feedback(operation, self.feedback(key, operation.weight.detach()))

        with context.autocast():
            logits = _run(network, batch.images, send_back)
            loss = functional.cross_entropy(logits.float(), batch.labels)
        loss.backward()
        for layer in network.layers:
            context.step_layer(layer)
        return StepReport(logits=logits.detach(), loss=loss.detach())


def _run(network: Network, images: Tensor, handle: Callable[[Layer, str, Operation], Tensor]) -> Tensor:
    """The logits, with ``handle`` in place of each operation inside a layer, told its layer and its key."""

    def visit(layer: Layer, forward: Forward, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        places = count()
        with intercept_ops(lambda operation: handle(layer, state_key(layer, next(places)), operation)):
            return forward(*args, **kwargs)

    with intercept_layers(network.layers, visit):
        logits: Tensor = network(images)
    return logits


@contextmanager
def _in_eval(network: nn.Module) -> Iterator[None]:
    """Nothing is drawn or counted by dropout and norms meanwhile."""
    training = [module for module in network.modules() if module.training]
    network.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
