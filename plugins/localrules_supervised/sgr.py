"""Local losses whose gradients agree at the borders between layers: successive gradient reconciliation."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils import _pytree as pytree

from localrules import (
    Batch,
    Context,
    Layer,
    LayerParallel,
    Network,
    Requirements,
    Rule,
    RuleConfig,
    RuleInfo,
    SearchRange,
    StepReport,
    state_key,
    zero_init_classifier,
)
from localrules.core.feature_maps import to_feature_map
from localrules.core.interception import Forward, detach_tree, intercept_layers, layer_outputs
from localrules.core.isolated_forward import naming_changed_outputs
from localrules.core.nn.pooling import pool_flat
from localrules.kernels.checks import require_batch
from localrules.utils.torch_utils import at_least_float32


class SGR(LayerParallel, Rule):
    """``CE(head_l(h_l), y) + weight |dL_l / dh_{l-1} - g_{l-1}|^2``: successive gradient reconciliation.

    A layer's loss has a gradient ``dL_l / dh_{l-1}`` at what the layer reads, which it does not send down; the layer
    below has a gradient ``g_{l-1} = dL_{l-1} / dh_{l-1}`` at the same place, by its own head alone, which it passes up
    with its output, detached. The layer minimises its loss and the distance between the two gradients. Gradients are
    those of each sample's loss, and the squared distance is a mean over samples. The first layer has no such term; the
    readout learns by cross-entropy alone (ours).

    A layer that reads several others has a term for each of them. The term's gradient goes twice through the layer.

    What differs: a linear head on averages over a grid, where the paper's has a hidden layer; ``weight`` is ours.

    References:
        Yang, Li, Alfarra, Hammoud, Bibi, Torr & Ghanem 2024, Towards interpretable deep local learning with successive
        gradient reconciliation, https://arxiv.org/abs/2406.05222.
    """

    class Config(RuleConfig):
        """Options of rule sgr."""

        weight: float = Field(1.0, ge=0, description="Weight of the reconciliation (ours).")
        grid: int = Field(
            4,
            ge=1,
            description="Positions per side to which feature maps are averaged, unless the model sets it (ours).",
        )
        hidden: int = Field(0, ge=0, description="Units of a hidden layer in the heads; 0: none (ours).")

    info = RuleInfo(
        search_space={"weight": SearchRange(0.1, 10, log=True)},
        formula="L_l + weight |dL_l/dh_(l-1) - g_(l-1)|^2, L_l = CE(head(h_l), y), g_(l-1) = dL_(l-1)/dh_(l-1) fixed",
        requires=Requirements(targets="weighted"),
        locality="local-labels",
        not_compiled="it differentiates gradients, which compiled layers do not allow",
    )

    config: SGR.Config

    def prepare(self, network: Network, num_classes: int) -> None:
        """A head for each output of each hidden layer."""
        self.heads = nn.ModuleDict()
        # By layer: what its readers were given, and the gradients of its own loss there.
        self._below: dict[str, list[tuple[Tensor, Tensor]]] = {}
        self._grids: dict[str, int] = {}
        for layer in network.hidden:
            for index in range(len(layer.out_shapes)):
                own = layer.select_output(index).as_feature_maps()
                key = state_key(layer, index)
                self._grids[key] = own.pool_size or self.config.grid
                features = own.pooled_features(self._grids[key])
                self.heads[key] = zero_init_classifier(features, self.config.hidden, num_classes)

    def parameters_for(self, layer: Layer) -> Iterable[nn.Parameter]:
        """Those of the layer's heads."""
        return [
            parameter
            for index in range(len(layer.out_shapes))
            if (key := state_key(layer, index)) in self.heads
            for parameter in self.heads[key].parameters()
        ]

    def auxiliary_serves_others(self, layer: Layer) -> bool:
        """The layer above follows the gradient of this layer's loss."""
        return not layer.is_readout

    def step(self, network: Network, batch: Batch, context: Context) -> StepReport:
        """One forward pass; each layer is trained as soon as its output is known, and its graph is freed."""
        if self.config.hidden:
            require_batch(len(batch.images), "a batch norm in sgr's heads")
        report = StepReport()
        self._below.clear()

        def visit(layer: Layer, forward: Forward, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if layer.is_readout:
                args, kwargs = detach_tree(args), detach_tree(kwargs)
            with torch.enable_grad():
                output = forward(*args, **kwargs)
            if layer.is_readout:
                report.logits, report.loss = self._train_readout(layer, output, batch, context)
                return output.detach()
            known = [pair for pairs in self._below.values() for pair in pairs]
            outputs = layer_outputs(layer, output)
            # That of a frozen first layer has no graph, and its readers need the gradient there all the same.
            found = [each if each.requires_grad else each.detach().requires_grad_() for each in outputs]
            pairs = []
            with torch.enable_grad(), torch.autocast(batch.images.device.type, enabled=False):
                losses = [self._loss(layer, index, each, batch) for index, each in enumerate(found)]
                total = torch.stack([each.mean() for each in losses]).sum()
                for loss, each in zip(losses, found, strict=True):
                    (gradient,) = torch.autograd.grad(loss.sum(), each, retain_graph=True)
                    pairs.append((each.detach().requires_grad_(), gradient))
                self._below[layer.name] = pairs
                if context.is_objective_trainable(layer):
                    if self.config.weight and known:
                        distance = self._distance(torch.stack([each.sum() for each in losses]).sum(), known)
                        if distance is not None:
                            report.metrics[f"reconciliation/{layer.name}"] = distance.detach()
                            total = total + self.config.weight * distance
                    report.objectives[layer.name] = total.detach()
                    learned = [p for p in (*layer.parameters(), *self.parameters_for(layer)) if p.requires_grad]
                    total.backward(inputs=learned)
                    context.step_layer(layer)
            return _replaced(output, outputs, [value for value, _ in pairs])

        # Of torch's kernels for attention this one alone can be differentiated twice.
        exact = sdpa_kernel(SDPBackend.MATH)
        with (
            naming_changed_outputs(network, batch.images),
            torch.enable_grad(),
            context.autocast(),
            exact,
            intercept_layers(network.layers, visit),
        ):
            network(batch.images)
        self._below.clear()  # and with it the step's activations
        return report

    def sent_with(self, layer: Layer) -> list[Tensor]:
        """The gradients of the layer's own loss at its outputs."""
        return [gradient for _, gradient in self._below.get(layer.name, ())]

    def receive(self, layer: Layer, output: Any, beside: list[Tensor]) -> Any:
        """The output with leaves of the graph in it, at which these are the gradients."""
        outputs = layer_outputs(layer, output)
        pairs = [(each.detach().requires_grad_(), known) for each, known in zip(outputs, beside, strict=True)]
        self._below[layer.name] = pairs
        return _replaced(output, outputs, [value for value, _ in pairs])

    def _train_readout(self, layer: Layer, output: Tensor, batch: Batch, context: Context) -> tuple[Tensor, Tensor]:
        with torch.enable_grad(), torch.autocast(output.device.type, enabled=False):
            loss = functional.cross_entropy(at_least_float32(output), batch.targets)
            if context.is_trainable(layer):
                loss.backward()
                context.step_layer(layer)
        return output.detach(), loss.detach()

    def _loss(self, layer: Layer, index: int, output: Tensor, batch: Batch) -> Tensor:
        """Each sample's cross-entropy by the head of one output, shape (batch,)."""
        key = state_key(layer, index)
        exact = at_least_float32(output)
        exact = to_feature_map(exact) if layer.has_features_last(index) else exact
        return functional.cross_entropy(
            self.heads[key](pool_flat(exact, self._grids[key])), batch.targets, reduction="none"
        )

    def _distance(self, loss: Tensor, below: list[tuple[Tensor, Tensor]]) -> Tensor | None:
        """The squared distance between the gradients of this loss and the stored ones, a mean over samples."""
        values = [value for value, _ in below]
        found = torch.autograd.grad(loss, values, create_graph=True, allow_unused=True)
        pairs = [(wanted, known) for wanted, (_, known) in zip(found, below, strict=True) if wanted is not None]
        if not pairs:
            return None
        squares = [(wanted - known).square().flatten(1).sum(1) for wanted, known in pairs]
        return torch.stack(squares).sum(0).mean()


def _replaced(output: Any, outputs: list[Tensor], values: list[Tensor]) -> Any:
    """A layer's output with other values in place of some tensors, and the rest detached."""
    given = {id(each): value for each, value in zip(outputs, values, strict=True)}
    return pytree.tree_map_only(Tensor, lambda tensor: given.get(id(tensor), tensor.detach()), output)
