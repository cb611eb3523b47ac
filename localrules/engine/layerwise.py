"""Makes a rule of objectives: the layer-local training step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from pydantic import BaseModel
from torch import Tensor, nn
from torch.nn import functional
from torch.utils import _pytree as pytree

from localrules.core.divided_batch import DividedBatch
from localrules.core.feature_maps import from_feature_map, to_feature_map
from localrules.core.interception import (
    Forward,
    InplaceGuard,
    detach_tree,
    intercept_layers,
    layer_outputs,
    tensor_leaves,
)
from localrules.core.layer import Layer
from localrules.core.network import Network
from localrules.core.objective import CustomPrediction, InputTransform, LayerVoting, Objective, OutputTransform
from localrules.core.ops import Operation, check_operations, record_ops
from localrules.core.rule import Context, Rule, StepReport, state_key
from localrules.core.view import Batch, LayerView
from localrules.core.windows import layers_in_windows
from localrules.engine.mixture import check_mixable
from localrules.engine.objective_loss import objective_loss
from localrules.engine.rule_values import backward_called
from localrules.errors import LocalRulesError, NotFiniteError, UsageError, error_text
from localrules.utils.plugin_border import code_error, definition, name_of
from localrules.utils.torch_utils import at_least_float32

if TYPE_CHECKING:
    from matplotlib.figure import Figure


PENDING = torch.tensor(float("nan"))


class ObjectiveSpec(NamedTuple):
    """An objective's class and options; an instance is made for each layer."""

    cls: type[Objective]
    config: BaseModel


class LayerwiseRule(Rule):
    """Trains every hidden layer on its own objective, and the readout on cross-entropy, in one forward pass.

    Each layer's inputs come detached. Its objective is computed as soon as its output exists; its backward pass runs
    and frees its graph; its readers get the output detached. So one layer's graph is alive at a time, or, with
    ``parallel_layers``, those of the layers that are training or waiting for a thread.

    Args:
        specs: The objective of every hidden layer, by layer name.

    Attributes:
        objective_classes: The classes among them.

    Raises:
        UsageError: The objectives cannot share one forward pass.
    """

    def __init__(self, specs: Mapping[str, ObjectiveSpec]) -> None:
        super().__init__()
        self._specs = dict(specs)
        distinct = _distinct(self._specs.values())
        classes = [spec.cls for spec in distinct]
        self._only = classes[0] if len(distinct) == 1 else None
        self.trains_readout = all(cls.info.trains_readout for cls in classes)
        self._transforms_outputs = any(issubclass(cls, OutputTransform) for cls in classes)
        self._votes = any(issubclass(cls, LayerVoting) for cls in classes)
        self.objective_classes = list(dict.fromkeys(classes))
        self.objectives = nn.ModuleDict()
        self._checked: set[str] = set()
        self._seen_finite: set[str] = set()
        if self._only is None:
            check_mixable(classes)

    def prepare(self, network: Network, num_classes: int) -> None:
        """Make the objectives, one for each output of each hidden layer."""
        if network.is_readout_changed and self.trains_readout:
            raise UsageError(
                f"the readout {network.readout.name!r} does not give the logits",
                where=f"forward of {type(network.model).__name__}",
                why="forward changes its output (scales, adds, pools), and the readout is trained without that",
                fix="put what follows into the readout's module, or leave the layers out to have the graph traced",
            )
        self._num_classes = num_classes
        # Objectives are float32: under autocast their own modules are cast, but not beside weights in half precision.
        self._is_half = all(weight.dtype in (torch.bfloat16, torch.float16) for weight in network.parameters())
        self._objectives_of: dict[str, list[Objective]] = {}
        seen_as = {layer.name: layer.as_feature_maps() for layer in network.hidden}
        infos = {name: layer.without_module() for name, layer in seen_as.items()}
        windows = {spec.cls.info.window for spec in self._specs.values()}
        reached = {window: layers_in_windows(network.layers, window) for window in windows if window > 1}
        for layer in network.hidden:
            spec = self._specs[layer.name]
            within = reached.get(spec.cls.info.window, {}).get(layer.name, ())
            peers = [name for name in infos if self._specs[name] == spec]
            known = tuple(seen_as[name] if name in within else infos[name] for name in peers)
            seen = replace(seen_as[layer.name], peers=known)
            own = [spec.cls(spec.config, seen.select_output(at), num_classes) for at in range(len(layer.out_shapes))]
            self._objectives_of[layer.name] = own
            for at, objective in enumerate(own):
                self.objectives[state_key(layer, at)] = objective
        self._first_layer = network.hidden[0].name if network.hidden else ""  # a readout alone has no hidden layer

    def parameters_for(self, layer: Layer) -> Iterable[nn.Parameter]:
        """The parameters of the layer's objectives."""
        for objective in self._objectives_of.get(layer.name, ()):
            yield from objective.parameters()

    def auxiliary_serves_others(self, layer: Layer) -> bool:
        """Whether the objectives predict or vote."""
        own = self._objectives_of.get(layer.name, ())
        alone = self._only is not None and issubclass(self._only, CustomPrediction)
        return alone or any(isinstance(each, LayerVoting) and each.is_voting for each in own)

    def trains(self, layer: Layer) -> bool:
        """Whether the parameters of the layer itself are trained."""
        return self.trains_readout if layer.is_readout else self._specs[layer.name].cls.info.trains_layers

    def describe(self, layer: Layer) -> str:
        """The layer's objective class, for error messages."""
        return "the readout's cross-entropy" if layer.is_readout else self._specs[layer.name].cls.__name__

    def plots(self, network: Network) -> dict[str, Figure]:
        """Those of its objectives."""
        found: dict[str, Figure] = {}
        for spec in _distinct(self._specs.values()):
            own = [each for name, made in self._objectives_of.items() if self._specs[name] == spec for each in made]
            found |= spec.cls.plots(own, network)
        return found

    def step(self, network: Network, batch: Batch, context: Context) -> StepReport:
        """One forward pass in which every learning layer is trained."""
        report = StepReport()
        guard = InplaceGuard()
        inputs, divided = self._make_inputs(batch)

        def visit(layer: Layer, forward: Forward, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if not self._is_training(layer, context):
                return guard.detach_and_track(layer, self.output_for_readers(layer, forward(*args, **kwargs)))
            args, kwargs = detach_tree(args), detach_tree(kwargs)
            with torch.enable_grad():
                output, operations = self._run(layer, forward, args, kwargs)
            read = tensor_leaves((args, kwargs))
            report.objectives[layer.name] = PENDING  # keeps forward order, whichever layer is done first

            def train_layer() -> None:
                with torch.enable_grad(), self._checking_first_loss(layer):
                    loss = self._loss(layer, output, read, operations, divided, context.autocast, report)
                with torch.autocast(inputs.device.type, enabled=False):
                    self._backward(layer, loss, context)
                report.objectives[layer.name] = loss.detach()
                context.step_layer(layer)

            if self._transforms_outputs:
                train_layer()  # a transform may depend on what was learned
            else:
                context.submit(layer, train_layer)
            return guard.detach_and_track(layer, self.output_for_readers(layer, detach_tree(output)))

        with torch.no_grad(), context.autocast(), intercept_layers(network.layers, visit):
            logits = network(inputs)
        guard.check()
        if self.trains_readout:
            report.logits, read = divided.of_readout(logits)
            report.labels = read.labels
        return report

    @contextmanager
    def _checking_first_loss(self, layer: Layer) -> Iterator[None]:
        """See in the layer's first step that its objective leaves the backward pass to the engine."""
        if layer.name in self._checked or layer.is_readout:
            yield
            return
        self._checked.add(layer.name)
        learned = [*layer.parameters(), *self.parameters_for(layer)]
        left = any(parameter.grad is not None for parameter in learned)  # by the user's own loop
        yield
        if not left and any(parameter.grad is not None for parameter in learned):
            raise backward_called(self._specs[layer.name].cls)

    def _backward(self, layer: Layer, loss: Tensor, context: Context, *, is_own: bool = True) -> None:
        """The backward pass of a layer's loss; of its own parameters alone, or of those of other layers, too."""
        try:
            context.backward(loss, layer if is_own else None)
        except RuntimeError as error:
            if layer.is_readout:
                raise
            cls = self._specs[layer.name].cls
            if "backward through the graph a second time" in error_text(error):
                raise backward_called(cls) from error
            raise code_error(error, [cls], "forward") from error

    def _make_inputs(self, batch: Batch) -> tuple[Tensor, DividedBatch]:
        """This process's inputs of the network, and the batch that the views show."""
        first = next(iter(self._objectives_of.get(self._first_layer, ())), None)
        if not isinstance(first, InputTransform):
            return batch.images, DividedBatch(batch)
        whole, part = batch.whole(), batch.part
        made = first.make_inputs(whole)
        if isinstance(made, Tensor):
            return part.take(made), DividedBatch(batch, whole, len(made))
        whole = Batch(*made, batch.num_classes)
        own = Batch(part.take(whole.images), part.take(whole.labels), batch.num_classes, part=part)
        return own.images, DividedBatch(own, whole, len(whole.images))

    def _is_training(self, layer: Layer, context: Context) -> bool:
        """Whether anything of the layer is trained: the layer itself, or its objective's modules."""
        if layer.is_readout and not self.trains_readout:
            return False
        if context.is_trainable(layer):
            return True
        return context.is_objective_trainable(layer) and any(own.requires_grad for own in self.parameters_for(layer))

    def predict(self, network: Network, images: Tensor) -> Tensor:
        """The objective's own prediction if it has one, else the readout's logits, combined with voting layers."""
        if self._only is not None and issubclass(self._only, CustomPrediction):
            objectives = [each for own in self._objectives_of.values() for each in own]
            found = self._only.predict(objectives, lambda inputs: self._collect_views(network, inputs), images)
            if found is not None:
                return found
        if not (self._transforms_outputs or self._votes):
            return network(images)
        votes: list[tuple[Tensor, float]] = []

        def collect(objective: Objective, view: LayerView) -> None:
            if not isinstance(objective, LayerVoting):
                return
            logits = objective.layer_logits(view)
            if logits is not None:
                votes.append((at_least_float32(logits).log_softmax(1), objective.voting_weight))

        readout = self._predict_with_views(network, images, collect)
        if not votes:
            return readout
        layers = torch.stack([vote for vote, _ in votes]).mean(0)
        weight = sum(weight for _, weight in votes) / len(votes)
        return (1 - weight) * at_least_float32(readout).log_softmax(1) + weight * layers

    def _collect_views(self, network: Network, images: Tensor) -> list[LayerView]:
        """The view of every objective on unlabelled images."""
        views: list[LayerView] = []
        self._predict_with_views(network, images, lambda _, view: views.append(view))
        return views

    def _predict_with_views(
        self, network: Network, images: Tensor, visit_view: Callable[[Objective, LayerView], None]
    ) -> Tensor:
        """The network's output on unlabelled images; ``visit_view`` gets every objective's view on the way."""
        unlabelled = torch.empty(0, dtype=torch.int64, device=images.device)
        batch = Batch(images, unlabelled, self._num_classes)

        def visit(layer: Layer, forward: Forward, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            output, operations = self._run(layer, forward, args, kwargs)
            if not layer.is_readout:
                read = tensor_leaves((args, kwargs))
                views = self._views(layer, output, read, operations, batch)
                for objective, view in zip(self._objectives_of[layer.name], views, strict=True):
                    visit_view(objective, view)
            return self.output_for_readers(layer, output)

        with intercept_layers(network.layers, visit):
            readout: Tensor = network(images)
        return readout

    def _run(
        self, layer: Layer, forward: Forward, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Any, list[Operation]]:
        """The layer's output, and its operations if the objective requires them."""
        if layer.is_readout or not self._specs[layer.name].cls.info.requires.operations:
            return forward(*args, **kwargs), []
        with record_ops() as operations:
            output = forward(*args, **kwargs)
        check_operations(operations, layer, self.describe(layer))
        return output, operations

    def output_for_readers(self, layer: Layer, output: Any) -> Any:
        """The output that the layer's readers receive."""
        if layer.is_readout or not issubclass(self._specs[layer.name].cls, OutputTransform):
            return output
        objectives = self._objectives_of[layer.name]
        position = {id(each): at for at, each in enumerate(layer_outputs(layer, output))}

        def transform(tensor: Tensor) -> Tensor:
            at = position.get(id(tensor), 0)
            objective = objectives[at]
            assert isinstance(objective, OutputTransform)
            if not layer.has_features_last(at) or tensor.dim() != 1 + len(layer.out_shapes[at]):
                return objective.transform_output(tensor)
            transformed = objective.transform_output(to_feature_map(tensor))
            return from_feature_map(transformed, tuple(tensor.shape[1:]))

        return pytree.tree_map_only(Tensor, transform, output)

    def _views(
        self, layer: Layer, output: Any, inputs: list[Tensor], operations: list[Operation], batch: Batch
    ) -> list[LayerView]:
        """A view for each of the layer's objectives."""
        outputs = layer_outputs(layer, output)
        if self._is_half:
            inputs, outputs = (list(map(at_least_float32, each)) for each in (inputs, outputs))
        return [
            # Operations belong to the layer, not to one output: one objective handles them.
            LayerView(
                objective.layer,
                tuple(inputs),
                to_feature_map(output) if layer.has_features_last(at) else output,
                batch,
                operations if at == 0 else [],
            )
            for at, (objective, output) in enumerate(zip(self._objectives_of[layer.name], outputs, strict=True))
        ]

    def _loss(
        self,
        layer: Layer,
        output: Any,
        inputs: list[Tensor],
        operations: list[Operation],
        batch: DividedBatch,
        autocast: Callable[[], AbstractContextManager[Any]],
        report: StepReport,
    ) -> Tensor:
        if layer.is_readout:
            output, read = batch.of_readout(output)
            loss = functional.cross_entropy(at_least_float32(output), read.targets)
            report.loss = loss.detach()
            return loss
        total: Tensor | None = None
        for objective, view in zip(
            self._objectives_of[layer.name], self._views(layer, output, inputs, operations, batch.own), strict=True
        ):
            loss = objective_loss(objective, view, batch, autocast, report)
            total = loss if total is None else total + loss
        if total is not None and layer.name not in self._seen_finite:
            self._check_finite(layer, output, total)
        if total is None or not total.requires_grad:
            raise LocalRulesError(
                f"the objective of layer {layer.name!r} does not depend on the layer",
                where=definition(self._specs[layer.name].cls, "forward"),
                why="it returned a scalar without gradient",
                fix="compute it from view.output, without detaching or no_grad",
            )
        return total

    def _check_finite(self, layer: Layer, output: Any, loss: Tensor) -> None:
        """See in the layer's first step that the objective of a finite output is finite."""
        self._seen_finite.add(layer.name)
        if not loss.isfinite().all() and all(bool(each.isfinite().all()) for each in tensor_leaves(output)):
            cls = self._specs[layer.name].cls
            raise NotFiniteError(
                f"{name_of(cls)}.forward returned {loss.item()} for layer {layer.name!r}",
                where=definition(cls, "forward"),
                why="it must return a finite number where the layer's output is finite",
                fix="guard divisions, roots and logarithms (clamp, add a small number), or set a min_batch",
            )


def _distinct(specs: Iterable[ObjectiveSpec]) -> list[ObjectiveSpec]:
    found: list[ObjectiveSpec] = []
    for spec in specs:
        if spec not in found:  # options need not be hashable
            found.append(spec)
    return found
