"""Units of a layer in groups: how strongly each group is active, and activity divided by it.

Pogodin & Latham 2020, https://arxiv.org/abs/2006.07123: what a layer is compared by is the variance within groups of
units, as of the many alike cells of a cortical column.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from localrules.kernels.checks import full_precision


@dataclass(frozen=True)
class Grouping:
    """Units in groups of equal size, in their order.

    In a map the units of a group are all positions of neighbouring channels, as in the paper's code. Where ``groups``
    does not divide the channels, or would leave groups of one unit, the largest smaller number that does is taken
    (ours; the paper's code fails).

    Attributes:
        groups: How many there are, at most.
        delta: Added to the sum of squares within a group: the smoothing of the variance.
    """

    groups: int
    delta: float

    def count(self, shape: tuple[int, ...]) -> int:
        """How many groups a layer of this shape, (units,) or (channels, height, width), falls into."""
        most = shape[0] if shape[1:] and max(shape[1:]) > 1 else shape[0] // 2
        return next(number for number in range(max(1, min(self.groups, most)), 0, -1) if shape[0] % number == 0)

    def variances(self, output: Tensor) -> Tensor:
        """``v = (sum of (z - mean)^2 + delta) / n`` in each group of n units.

        Args:
            output: (batch, units) or (batch, channels, height, width).

        Returns:
            (batch, groups), above 0 where ``delta`` is.
        """
        return _variances(_centered(self._split(output)), self.delta)

    def normalized(self, output: Tensor, power: float) -> Tensor:
        """Divisive normalisation: ``(z - mean) / v^power`` within each group.

        Args:
            output: (batch, units) or (batch, channels, height, width).
            power: Of the variance.

        Returns:
            Of the same shape and precision.
        """
        centered = _centered(self._split(output))
        scale = _variances(centered, self.delta) ** -power
        scaled = centered * scale.view(*scale.shape, *(1,) * (centered.dim() - 2))
        return scaled.flatten(1, 2).to(output.dtype)

    def _split(self, output: Tensor) -> Tensor:
        return output.unflatten(1, (self.count(tuple(output.shape[1:])), -1))


@full_precision
def _centered(grouped: Tensor) -> Tensor:
    # A sum of squared differences has slope 0 in its mean, so the mean needs no gradient.
    return grouped - grouped.detach().mean(tuple(range(2, grouped.dim())), keepdim=True)


@full_precision
def _variances(centered: Tensor, delta: float) -> Tensor:
    units = centered[0, 0].numel()
    return (centered.square().flatten(2).sum(2) + delta) / units
