"""Requirements of a rule on run and network, checked before any work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from localrules.data.targets import TARGET_KINDS, TargetKind
from localrules.errors import UsageError
from localrules.utils.torch_utils import NORMS

if TYPE_CHECKING:
    from torch import Tensor

    from localrules.core.network import Network


@dataclass(frozen=True)
class Requirements:
    """Requirements of a rule, checked before any work.

    Attributes:
        min_batch: The smallest batch on which the objective is defined and every layer has something to learn.
        operations: Whether it reads the weight-bearing operations inside a layer (``view.operations``).
        forward_passes: How often each layer runs in a step; ``None`` if that depends on options.
        sequential: Whether each layer must read exactly the one before it.
        spatial_outputs: Whether hidden layers must have feature maps, (channels, height, width), or tokens as outputs.
        allows_norm: Whether hidden layers may contain normalisation layers.
        samples_first: Whether the outputs of hidden layers must have the samples as first dimension, as those must that
            are paired with labels or with each other.
        one_op_per_layer: Whether each hidden layer must have its weights in one operation.
        float_inputs: Whether the network's input must be floating-point numbers, not tokens.
        targets: What the rule can learn from: ``"labels"``, also class ``"probabilities"`` (label smoothing, mixup;
            it reads ``view.targets``), or also ``"weighted"`` ones (class weights).
        global_batch: Whether it needs the samples of a batch together: because it compares them with each other,
            draws for each of them, or keeps statistics of them. In a run with several processes an objective is then
            given those of all processes. A :class:`~localrules.Rule` gathers them by ``batch.part``; one that
            declares this instead cannot be trained on several processes.
    """

    min_batch: int = 1
    operations: bool = False
    forward_passes: int | None = 1
    sequential: bool = False
    spatial_outputs: bool = False
    allows_norm: bool = True
    samples_first: bool = True
    one_op_per_layer: bool = False
    float_inputs: bool = False
    targets: TargetKind = "labels"
    global_batch: bool = False

    def check(self, rule: str, batch_size: int, where: str = "--batch-size") -> None:
        """Raises UsageError when the batch is too small for the rule."""
        if batch_size < self.min_batch:
            option = where if where.startswith("--") else "batches of"
            raise UsageError(
                f"rule {rule!r} needs batches of at least {self.min_batch}",
                where=where,
                why=f"it compares the samples of a batch with each other; the batch has {batch_size}",
                fix=f"choose {option} {self.min_batch} or more",
            )

    def admits(self, targets: TargetKind) -> bool:
        """Whether the rule can learn from targets of a kind."""
        return TARGET_KINDS.index(targets) <= TARGET_KINDS.index(self.targets)

    def check_inputs(self, rule: str, inputs: Tensor) -> None:
        """Raises UsageError when the rule needs floating-point inputs and these are not."""
        if self.float_inputs and not inputs.is_floating_point():
            raise UsageError(
                f"{rule} needs floating-point inputs",
                where=f"inputs of type {str(inputs.dtype).removeprefix('torch.')}",
                why="it compares, changes or reconstructs the values of the input; those of tokens are only names",
                fix="choose a rule that leaves the inputs alone, such as local-ce or hsic-projected, or pass the "
                "output of an embedding that is not trained",
            )

    @property
    def constrains_network(self) -> bool:
        """Whether anything is needed of a network beside samples that come first."""
        return self.sequential or self.spatial_outputs or self.one_op_per_layer or not self.allows_norm

    def incompatibility(self, network: Network) -> str:
        """The reason why the rule cannot train this network (shapes and readers known); empty if it can."""
        hidden = network.hidden
        if self.samples_first:
            for layer in hidden:
                if not layer.samples_first:
                    return (
                        f"it needs the samples as the first dimension of what layers return; {layer.name!r} returns "
                        "another (batch_first=True keeps it in torch's recurrent modules and transformers)"
                    )
        if self.sequential:
            for before, layer in zip((None, *hidden), network.layers, strict=False):
                if layer.input_layers != (() if before is None else (before.name,)):
                    reads = ", ".join(layer.input_layers) or "the input"
                    return f"it needs sequential layers, each reading the one before; {layer.name!r} reads {reads}"
        if self.spatial_outputs:
            for layer in hidden:
                if any(len(shape) != 3 for shape in layer.as_feature_maps().out_shapes):
                    found = list(layer.out_shape)
                    return f"it needs layers with feature maps as outputs; the output of {layer.name!r} is {found}"
        if not self.allows_norm:
            for layer in hidden:
                for module in layer.module.modules():
                    if isinstance(module, NORMS):
                        return f"it needs layers without normalisation; {layer.name!r} contains {type(module).__name__}"
        if self.one_op_per_layer:
            for layer in hidden:
                weighted = [module for module in layer.module.modules() if [*module.parameters(recurse=False)]]
                if len(weighted) > 1:
                    return f"it needs layers of one weight-bearing operation each; {layer.name!r} has {len(weighted)}"
        return ""
