"""A network: any module with its layers marked, and a readout."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from localrules.core.analysis import analyze_layers
from localrules.core.interception import Forward, intercept_layers
from localrules.core.layer import Layer, check_ownership
from localrules.core.layer_spec import LayerSpec, block_indices, layers_from_spec
from localrules.core.onednn_guard import guard, guarding
from localrules.core.ops import Handler, Operation, intercept_ops
from localrules.core.partition import into_parts, partition_graph
from localrules.core.partitioned_module import PartitionedModule
from localrules.core.shared_modules import let_shared_modules_follow
from localrules.core.windows import Granularity, check_window, split_granularity
from localrules.errors import LocalRulesError, UsageError
from localrules.utils.torch_utils import eval_mode


class Network(nn.Module):
    """A module whose layers are marked. Made by :meth:`wrap`.

    Attributes:
        model: The module as it was, with its own names: ``network.model.state_dict()`` loads into the plain module.
        layers: All layers in forward order, the readout last.
        window: How many layers a gradient goes through at most: 1, or K with overlapping windows.
        is_readout_changed: Whether forward makes something else of the readout's output, as far as an example showed.
    """

    body: nn.Module

    def __init__(
        self, model: nn.Module, layers: Sequence[Layer], body: nn.Module | None = None, *, owned: bool = True
    ) -> None:
        super().__init__()
        self.model = model
        self.layers = tuple(layers)
        self.window = 1
        self.is_readout_changed = False
        # Hidden from torch: where the model is cut into parts, the parts hold the model's own modules once more.
        object.__setattr__(self, "body", body if body is not None else model)
        if owned:
            check_ownership(model, self.layers)
            let_shared_modules_follow(self.layers)

    @classmethod
    def wrap(
        cls,
        model: nn.Module,
        layers: Sequence[str] | None = None,
        *,
        readout: str = "",
        granularity: Granularity = "layer",
        example: Tensor | None = None,
    ) -> Network:
        """Mark the layers of any module.

        Args:
            model: The module; its output is the logits, shape (batch, classes).
            layers: Names of modules, or patterns (``"blocks.*"``), that are the layers. Without them the model's own
                ``layer_spec`` is used if it has one; otherwise its graph is traced by ``torch.fx`` and cut behind
                every weight-bearing operation with the norm, activation and pooling that follow it.
            readout: The module on top, trained by cross-entropy. By default the last of the layers.
            granularity: ``"layer"``; ``"block"``, as the model declares them, or else what lies between places where
                one tensor crosses, such as a residual block; or a number of parts of nearly equal MACs (needs
                ``example``), which cuts no residual block as long as that leaves the parts nearly equal. With
                ``"window:K"`` (or ``"window:K:CUT"``, with one of these as CUT, by default layer) the network is cut
                so, and layers learn in overlapping windows of K (needs ``example``). Layers named by hand are cut
                already: of these only windows apply to them.
            example: A batch of inputs, run once to find shapes, MACs and who reads whom.

        Raises:
            UsageError: A name that fits no module, layers inside each other, a parameter that no layer or that two
                layers own, a window of all layers, or a model that cannot be traced.
        """
        spec = getattr(model, "layer_spec", None)
        granularity, window = split_granularity(granularity)
        _check_arguments(model, layers, readout, granularity, example)
        _run_once(model, example)
        if layers is not None:
            network = cls(model, layers_from_spec(model, layers, readout, {}))
        elif isinstance(spec, LayerSpec) and (granularity == "layer" or (granularity == "block" and spec.blocks)):
            patterns = spec.layers if granularity == "layer" else spec.blocks
            single = [pattern for pattern in patterns if isinstance(pattern, str)]
            if len(single) == len(patterns):
                network = cls(model, layers_from_spec(model, single, spec.readout, spec.pool_size))
            else:
                network = cls._wrap_blocks(model, spec)
        else:
            network = cls._wrap_traced(model, spec, granularity, example)
        guard(model)
        if example is not None:
            with guarding(), _naming_example(model, example):
                if network.body is not model:
                    _check_same_function(model, network.body, example)
                network.layers = analyze_layers(network, example)
        if window > 1:
            if example is None:
                raise UsageError("windows of layers need an example batch", fix="pass example=...")
            check_window(network.layers, window, type(model).__name__)
        network.window = window
        return network

    @classmethod
    def _wrap_traced(
        cls, model: nn.Module, spec: LayerSpec | None, granularity: Granularity, example: Tensor | None
    ) -> Network:
        units = _units(model, spec) if spec else []
        if granularity == "block":
            return cls(model, *partition_graph(model, units, lambda names, segments: segments))
        if granularity == "layer":
            return cls(model, *partition_graph(model, units))
        assert isinstance(granularity, int)
        fine = cls(model, *partition_graph(model, units), owned=False)  # parts may hold what its layers share
        if example is None:
            raise UsageError("cutting into equal parts needs an example batch", fix="pass example=...")
        costs = {layer.name: layer.macs for layer in analyze_layers(fine, example)}
        if granularity > len(fine.hidden):
            raise UsageError(
                f"{type(model).__name__} cannot be cut into {granularity} parts",
                where="--granularity",
                why=f"it has {len(fine.hidden)} layers below its readout",
                fix=f"choose a number from 1 to {len(fine.hidden)}",
            )
        return cls(model, *partition_graph(model, units, into_parts(costs, granularity)))

    @classmethod
    def _wrap_blocks(cls, model: nn.Module, spec: LayerSpec) -> Network:
        """Blocks of several modules each."""
        name = type(model).__name__
        return cls(
            model,
            *partition_graph(
                model, _units(model, spec), lambda units, segments: block_indices(units, spec.blocks, name)
            ),
        )

    def _apply(self, fn: Any, recurse: bool = True) -> Network:
        super()._apply(fn, recurse)
        if isinstance(self.body, PartitionedModule):
            self.body.convert(fn)
        return self

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        let_shared_modules_follow(self.layers)  # copies of parts have no hooks

    def train(self, mode: bool = True) -> Network:
        """Set the mode of all modules, those of the parts among them."""
        super().train(mode)
        if self.body is not self.model:
            self.body.train(mode)
        return self

    def forward(self, images: Tensor) -> Any:
        """Logits, shape (batch, classes)."""
        return self.body(images)

    @contextmanager
    def intercept_operations(self, handler: Handler) -> Iterator[None]:
        """Let ``handler`` replace every weight-bearing operation inside a layer within the context.

        Args:
            handler: Called with each operation, whose ``layer`` and ``key`` are set, instead of running it; returns its
                output. ``operation.run()`` is the operation itself.
        """

        def visit(layer: Layer, forward: Forward, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            places = count()

            def handle(operation: Operation) -> Tensor:
                operation.layer, operation.key = layer, f"{layer.name.replace('.', '/')}#{next(places)}"
                return handler(operation)

            with intercept_ops(handle):
                return forward(*args, **kwargs)

        with intercept_layers(self.layers, visit):
            yield

    def operations(self, images: Tensor) -> list[Operation]:
        """The weight-bearing operations of one forward pass in eval mode, in order, with layer, key and weight.

        Whether ``operation.input.requires_grad`` tells whether an error goes back through the operation.

        Args:
            images: Shape (batch, ...).
        """
        found: list[Operation] = []

        def collect(operation: Operation) -> Tensor:
            found.append(operation)
            operation.output = operation.run()
            return operation.output

        with eval_mode(self), torch.enable_grad(), self.intercept_operations(collect):
            self(images)
        return found

    @property
    def hidden(self) -> tuple[Layer, ...]:
        """All layers but the readout."""
        return self.layers[:-1]

    @property
    def readout(self) -> Layer:
        """The layer on top, trained by cross-entropy on features that come detached."""
        return self.layers[-1]


def _check_arguments(
    model: nn.Module, layers: Sequence[str] | None, readout: str, granularity: Granularity, example: Tensor | None
) -> None:
    name = type(model).__name__
    if not isinstance(model, nn.Module):
        raise UsageError(
            "the model is not a module",
            where=f"model={name}",
            why="its layers are found among the modules of an nn.Module",
            fix="pass the module first",
        )
    if isinstance(model, torch.jit.ScriptModule):
        raise UsageError(
            "a module that torch.jit has compiled cannot be cut into layers",
            where=name,
            why="its forward is not Python code any more",
            fix="wrap the module that it was made from",
        )
    if hasattr(model, "_orig_mod"):  # torch's OptimizedModule, whose own module takes seconds to import
        raise UsageError(
            "a module that torch.compile has compiled cannot be cut into layers",
            where=name,
            why="its forward is not the module's own",
            fix="wrap the module itself, and compile layers with the setting compile=true",
        )
    if isinstance(layers, str):
        raise UsageError(
            "the layers are one text",
            where=f"layers={layers!r}",
            why="they are names or patterns, several of them",
            fix=f"layers=[{layers!r}]",
        )
    if isinstance(example, Tensor) and not len(example):
        raise UsageError(
            "the example has no samples",
            where=f"example of shape {tuple(example.shape)}",
            why="the network is run on it once, to find who reads whom",
            fix="give one sample at least",
        )
    if example is not None and not isinstance(example, Tensor):
        raise UsageError(
            "the example is not a tensor",
            where=f"example={type(example).__name__}",
            why="a network is called with one tensor, shape (batch, ...)",
            fix="give some inputs as one tensor; pass a module with several inputs inside one that divides it",
        )
    if readout and layers is None:
        raise UsageError(
            "a readout is named without layers",
            where=f"readout={readout!r}",
            why="without names the model's own layers are taken, or those that tracing finds, with the last on top",
            fix='name the layers, too: layers=["conv1", "blocks.*"]',
        )
    if layers is not None and granularity != "layer":
        raise UsageError(
            "layers that are named are not cut once more",
            where=f"granularity={granularity!r}",
            why="the names say where one layer ends and the next begins",
            fix="leave out granularity or layers; window:K may be given with both",
        )


def _run_once(model: nn.Module, example: Tensor | None) -> None:
    """Run a model with lazy modules on the example, which gives them shapes.

    Raises:
        UsageError: There is no example.
    """
    if not any(isinstance(parameter, UninitializedParameter) for parameter in model.parameters()):
        return
    name = type(model).__name__
    if example is None:
        raise UsageError(
            f"{name} has parameters without a shape",
            where=f"the lazy modules of {name}",
            why="they get their shapes in the first forward pass",
            fix="pass example=..., or run the model once before",
        )
    with torch.no_grad(), eval_mode(model), _naming_example(model, example):
        model(example)


@contextmanager
def _naming_example(model: nn.Module, example: Tensor) -> Iterator[None]:
    """Let an exception from the model's own code say what the model was given."""
    try:
        yield
    except LocalRulesError:
        raise
    except Exception as error:
        kind = f"a tensor of type {str(example.dtype).removeprefix('torch.')} and shape {tuple(example.shape)}"
        error.add_note(f"{type(model).__name__} was called with the example, {kind}: does it fit the model?")
        raise


def _check_same_function(model: nn.Module, body: nn.Module, example: Tensor) -> None:
    """Raises UsageError if the parts that a traced model was cut into compute something else than the model."""
    with torch.no_grad(), eval_mode(model), eval_mode(body), torch.random.fork_rng():
        torch.manual_seed(0)
        expected = model(example)
        torch.manual_seed(0)
        found = body(example)
    if not isinstance(expected, Tensor) or not isinstance(found, Tensor) or expected.is_meta:
        return  # the analysis refuses other logits; without values there is nothing to compare
    if not torch.equal(expected, found) and not torch.allclose(expected, found, equal_nan=True):
        raise UsageError(
            f"the traced graph of {type(model).__name__} computes something else than the module",
            where=f"forward of {type(model).__name__}",
            why="its output on the example differs by up to "
            f"{float((expected - found).abs().max()):.3g}: forward depends on something that tracing cannot see",
            fix='mark the layers by hand: Network.wrap(model, layers=["conv1", "blocks.*", "fc"])',
        )


def _units(model: nn.Module, spec: LayerSpec) -> list[Layer]:
    return layers_from_spec(model, spec.layers, spec.readout, spec.pool_size)
