"""The convolution of a densely connected block: it weighs each of its sources, and the weights cost nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

Activation = Literal["relu", "tanh", "elu"]
ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh, "elu": nn.ELU}


class WeightedConv(nn.Module):
    """Convolution, norm, activation over several maps, each with a learned weight of its own.

    The weight of a source multiplies its slice of the kernel, ``conv(cat(z_j), W[:, j] * w_j)``, which equals
    scaling the maps, ``conv(cat(w_j * z_j), W)``. Scaling the maps would need their gradient to learn ``w_j``, and a
    local step would then cost as much as back-propagation.

    Args:
        sources: Channels of each map it reads.
        channels: Channels that it gives.
        kernel_size: Side of the kernel; the padding keeps the size up to the stride, which rounds up.
        stride: 2 halves height and width, rounding up.
        activation: ``relu``, ``tanh`` or ``elu``.
    """

    source_of_channel: Tensor

    def __init__(
        self, sources: Sequence[int], channels: int, kernel_size: int, stride: int = 1, activation: Activation = "relu"
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels, sum(sources), kernel_size, kernel_size))
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")
        self.source_weight = nn.Parameter(torch.ones(len(sources)))
        each = [torch.full((count,), index) for index, count in enumerate(sources)]
        self.register_buffer("source_of_channel", torch.cat(each))
        self.norm = nn.BatchNorm2d(channels)
        self.activation = ACTIVATIONS[activation]()
        self._stride, self._padding = stride, kernel_size // 2

    def forward(self, maps: Tensor | list[Tensor]) -> Tensor:
        """Maps of one size, as a list or already concatenated by channel, to (batch, channels, height, width)."""
        joined = maps if isinstance(maps, Tensor) else maps[0] if len(maps) == 1 else torch.cat(maps, 1)
        kernel = self.weight * self.source_weight[self.source_of_channel].view(1, -1, 1, 1)
        return self.activation(self.norm(functional.conv2d(joined, kernel, None, self._stride, self._padding)))


class DenseBlock(nn.Module):
    """Convolutions at one size, each of which reads the block's input and all earlier outputs.

    Its output is the concatenation of its input and all its convolutions' outputs; ``sources`` tells their channels.
    """

    def __init__(self, channels: int, growth: int, convolutions: int, activation: Activation) -> None:
        super().__init__()
        self.convs = nn.ModuleList()
        self.sources = [channels]
        for _ in range(convolutions):
            self.convs.append(WeightedConv(self.sources, growth, 3, activation=activation))
            self.sources = [*self.sources, growth]

    def forward(self, maps: Tensor) -> Tensor:
        """(batch, channels, height, width) to (batch, sum(sources), height, width)."""
        known = [maps]
        for conv in self.convs:
            known.append(conv(known))
        return torch.cat(known, 1)
