"""What a predictor reads of a layer whose weights stay as they are."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor

from localrules import Layer, Network
from localrules.core.interception import Forward, intercept_layers, layer_outputs
from localrules.core.nn.pooling import pool_flat


def features_of(network: Network, images: Tensor, read: Callable[[Tensor], Tensor]) -> list[tuple[Layer, list[Tensor]]]:
    """What is read of each hidden layer in one forward pass, one tensor for each end."""
    found: list[tuple[Layer, list[Tensor]]] = []

    def visit(layer: Layer, forward: Forward, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        output = forward(*args, **kwargs)
        found.append((layer, [read(end) for end in layer_outputs(layer, output)]))
        return output

    with intercept_layers(network.hidden, visit):
        network(images)
    return found


def pool_features(output: Tensor, grid: int, most: int) -> Tensor:
    """An output averaged over a raster that is coarse enough, and flattened, float32, (batch, features).

    Args:
        output: Shape (batch, channels, ...).
        grid: The raster's side, if that gives no more features than ``most``.
        most: Features that are wanted at most.
    """
    finest = math.isqrt(most // output.shape[1])
    return pool_flat(output, max(1, min(grid, finest))).float()
