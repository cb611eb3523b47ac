"""Features of untrained layers, as predictors read them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor

from localrules import Layer, Network
from localrules.core.feature_maps import to_feature_map
from localrules.core.interception import Forward, InplaceGuard, intercept_layers, layer_outputs
from localrules.core.nn.pooling import pool_flat
from localrules.utils.torch_utils import at_least_float32


def extract_features(
    network: Network, images: Tensor, read: Callable[[Tensor], Tensor]
) -> list[tuple[Layer, list[Tensor]]]:
    """The features of each hidden layer in one forward pass, ``read`` of each of its outputs; of tokens, as maps."""
    found: list[tuple[Layer, list[Tensor]]] = []
    guard = InplaceGuard()

    def visit(layer: Layer, forward: Forward, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        output = forward(*args, **kwargs)
        outputs = enumerate(layer_outputs(layer, output))
        maps = [to_feature_map(tensor) if layer.has_features_last(index) else tensor for index, tensor in outputs]
        found.append((layer, [read(tensor) for tensor in maps]))
        return guard.detach_and_track(layer, output)

    with intercept_layers(network.hidden, visit):
        network(images)
    guard.check()
    return found


def pool_features(output: Tensor, grid: int, max_features: int) -> Tensor:
    """An output averaged over a grid that is coarse enough, and flattened, float32, (batch, features).

    Args:
        output: Shape (batch, channels, ...).
        grid: Positions per side, if that leaves no more features than ``max_features``.
        max_features: Upper bound of the number of features.
    """
    finest = math.isqrt(max_features // output.shape[1])
    return at_least_float32(pool_flat(output, max(1, min(grid, finest))))
