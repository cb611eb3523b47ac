"""A layer's view from given tensors, to test the formula of an objective without a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from torch import Tensor, nn

from localrules.core.layer import Layer
from localrules.core.objective import Objective
from localrules.core.view import Batch, LayerView

T = TypeVar("T", bound=Objective)


def make_view(
    objective: type[T],
    output: Tensor,
    labels: Tensor,
    *,
    inputs: Sequence[Tensor] = (),
    images: Tensor | None = None,
    num_classes: int | None = None,
    config: Mapping[str, Any] | None = None,
) -> tuple[T, LayerView]:
    """An objective for a made-up layer, and the view of one step.

    Args:
        objective: The class.
        output: What the layer computed, shape (batch, ...).
        labels: int64, shape (batch,).
        inputs: What the layer read; by default the images.
        images: The network's input; by default the output, detached.
        num_classes: By default one more than the largest label.
        config: Options; by default the defaults.

    Returns:
        The objective, and the view to call it with.
    """
    images = output.detach() if images is None else images
    inputs = tuple(inputs) or (images,)
    classes = int(labels.max()) + 1 if num_classes is None else num_classes
    layer = Layer(
        "layer",
        nn.Identity(),
        index=0,
        depth=1,
        in_shape=tuple(inputs[0].shape[1:]),
        sample_shape=tuple(images.shape[1:]),
        out_shapes=(tuple(output.shape[1:]),),
    )
    layer = replace(layer, peers=(layer.without_module(),))
    made = objective(objective.Config(**(config or {})), layer, classes)
    return made, LayerView(layer, inputs, output, Batch(images, labels, classes))
