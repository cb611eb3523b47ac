"""What a rule needs of a run and of a network, checked before any work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import nn

from localrules.errors import UsageError

if TYPE_CHECKING:
    from localrules.core.network import Network


@dataclass(frozen=True)
class Requirements:
    """What a rule needs, checked before any work.

    Attributes:
        min_batch: The smallest batch on which the objective is defined.
        labels: Whether it reads labels.
        global_batch: Whether it must see the batch of all ranks together.
        auxiliary: Whether it has auxiliary modules.
        operations: Whether it reads the weight-bearing operations inside a layer (``view.operations``).
        forwards: How often each layer runs in a step; ``None`` if that depends on options.
        chain: Whether each layer must read exactly the one before it.
        maps: Whether hidden layers must give maps, (channels, height, width).
        norms: Whether hidden layers may hold batch norms and their like.
        single: Whether each hidden layer must have its weights in one operation.
    """

    min_batch: int = 1
    labels: bool = True
    global_batch: bool = False
    auxiliary: bool = False
    operations: bool = False
    forwards: int | None = 1
    chain: bool = False
    maps: bool = False
    norms: bool = True
    single: bool = False

    def check(self, rule: str, batch_size: int) -> None:
        """Raises UsageError when the batch is too small for the rule."""
        if batch_size < self.min_batch:
            raise UsageError(
                f"rule {rule!r} needs batches of at least {self.min_batch}",
                where="--batch-size",
                why=f"it compares the samples of a batch with each other; the batch has {batch_size}",
                fix=f"choose --batch-size {self.min_batch} or more",
            )

    @property
    def of_networks(self) -> bool:
        """Whether anything is needed of a network: whether :meth:`misfit` can find anything."""
        return self.chain or self.maps or self.single or not self.norms

    def misfit(self, network: Network) -> str:
        """Why the rule cannot train this network (shapes and readers known); empty if it can."""
        hidden = network.hidden
        if self.chain:
            for before, layer in zip((None, *hidden), network.layers, strict=False):
                if layer.reads != (() if before is None else (before.name,)):
                    reads = ", ".join(layer.reads) or "the input"
                    return f"it needs a chain of layers, each reading the one before; {layer.name!r} reads {reads}"
        if self.maps:
            for layer in hidden:
                if any(len(shape) != 3 for shape in layer.out_shapes):
                    return f"it needs layers that give maps; {layer.name!r} gives {list(layer.out_shape)}"
        if not self.norms:
            for layer in hidden:
                for module in layer.module.modules():
                    if isinstance(module, _NORMS):
                        return f"it needs layers without norms; {layer.name!r} holds {type(module).__name__}"
        if self.single:
            for layer in hidden:
                weighted = [module for module in layer.module.modules() if [*module.parameters(recurse=False)]]
                if len(weighted) > 1:
                    return f"it needs layers of one weight-bearing operation each; {layer.name!r} has {len(weighted)}"
        return ""


_NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.LocalResponseNorm)
