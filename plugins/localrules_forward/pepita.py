"""PEPITA: the error is added to the image, and each layer learns from the change of its activity."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from localrules import (
    Batch,
    Context,
    Layer,
    Network,
    Operation,
    Requirements,
    Rule,
    RuleConfig,
    RuleInfo,
    SearchRange,
    StepReport,
    record_ops,
)
from localrules.core.interception import (
    Forward,
    InplaceGuard,
    detach_tree,
    intercept_layers,
    layer_outputs,
    tensor_leaves,
)
from localrules.core.layer import require_sample_shape
from localrules.core.nn.losses import cross_entropy_error
from localrules.core.ops import check_operations
from localrules.kernels.checks import no_autocast
from localrules.utils.torch_utils import at_least_float32, freeze_batchnorm_stats


class Pepita(Rule):
    """Present the error to perturb the input to modulate activity: two forward passes, and no backward pass.

    The first pass gives activities ``h_l`` and the error ``e = softmax(o) - y``. The second sees ``x' = x + F e`` with
    a fixed random ``F`` and gives ``h'_l``. A linear weight moves by ``-(h_l - h'_l) h'_{l-1}^T``, with ``h'_0 = x'``,
    averaged over the batch; a convolution's kernel likewise, averaged over positions too. The readout moves by
    ``-(o' - y) h'^T``, the gradient of the second pass's cross-entropy within the readout.

    ``h_l`` is the layer's output where that has the shape of the output of its linear or convolution, as in the paper;
    where pooling or another such operation follows inside the layer, it is the operation's own output. Hidden biases
    and norms are not trained, as in the paper's code. Both passes drop the same units (as there), and batch norms use
    the first pass's statistics in both (ours), so that activities differ by the error alone. Both run in float32
    whatever the run's precision: once the error is small, half precision would round the difference away.

    References:
        Dellaferrera & Kreiman 2022, Error-driven input modulation, https://arxiv.org/abs/2201.11665;
        https://github.com/GiorgiaD/PEPITA.
    """

    class Config(RuleConfig):
        """Options of rule pepita."""

        scale: float = Field(
            0.05,
            gt=0,
            description="F is uniform within +-scale * sqrt(6 / inputs), inputs the number of values (the paper's).",
        )

    info = RuleInfo(
        search_space={"scale": SearchRange(0.005, 0.5, log=True)},
        formula="dW_l = -(h_l - h'_l) h'_{l-1}', h' from a second pass on x + F e, e the error at the output",
        locality="broadcast-error",
        requires=Requirements(operations=True, forward_passes=2, float_inputs=True, targets="probabilities"),
        run_defaults={"optimizer": {"name": "sgd", "lr": 0.03}},
    )

    config: Pepita.Config
    feedback: Tensor

    def prepare(self, network: Network, num_classes: int) -> None:
        """Draw F, shape (values of an image, classes)."""
        values = torch.Size(network.layers[0].sample_shape).numel()
        bound = self.config.scale * (6 / values) ** 0.5
        self.register_buffer("feedback", torch.empty(values, num_classes).uniform_(-bound, bound))

    def step(self, network: Network, batch: Batch, context: Context) -> StepReport:
        """Two passes; each layer is stepped as soon as the second has reached it."""
        require_sample_shape("pepita", network.layers[0], batch.images)
        logits, activities, norms = self._first_pass(network, batch.images)
        error = cross_entropy_error(logits, batch.targets)
        report = StepReport(logits=logits, loss=functional.cross_entropy(at_least_float32(logits), batch.targets))

        def visit(layer: Layer, forward: Forward, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if not context.is_trainable(layer):
                return forward(*args, **kwargs)
            with torch.enable_grad(), record_ops() as operations:
                output = forward(*detach_tree(args), **detach_tree(kwargs))
            with torch.enable_grad():
                if layer.is_readout:
                    functional.cross_entropy(at_least_float32(output), batch.targets).backward()
                else:
                    check_operations(operations, layer, "Pepita")
                    report.objectives[layer.name] = update_weights(layer, operations, output, activities[layer.name])
            context.step_layer(layer)
            return detach_tree(output)

        perturbed = batch.images + self._project_error(error, batch.images)
        # The norms do not count the batch a second time.
        with (
            torch.no_grad(),
            no_autocast(batch.images),
            norms,
            freeze_batchnorm_stats(network),
            intercept_layers(network.layers, visit),
        ):
            network(perturbed)
        return report

    def _first_pass(self, network: Network, images: Tensor) -> tuple[Tensor, dict[str, list[Tensor]], SharedNormStats]:
        """The first pass: logits, activities by layer and operation, and norms that repeat its statistics."""
        activities: dict[str, list[Tensor]] = {}
        guard = InplaceGuard()

        def visit(layer: Layer, forward: Forward, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            with record_ops() as operations:
                output = forward(*args, **kwargs)
            activities[layer.name] = activities_of(layer, operations, output)
            return guard.detach_and_track(layer, output)

        devices = [images.device] if images.device.type == "cuda" else []
        # The generators are restored afterwards: the second pass drops the same units.
        with (
            torch.random.fork_rng(devices),
            torch.no_grad(),
            no_autocast(images),
            SharedNormStats() as norms,
            intercept_layers(network.layers, visit),
        ):
            logits = network(images)
        guard.check()
        return logits, activities, SharedNormStats(norms.recorded)

    def _project_error(self, error: Tensor, images: Tensor) -> Tensor:
        """``F e``, shaped like the images."""
        return (error.to(self.feedback) @ self.feedback.T).view(images.shape).to(images)


def activities_of(layer: Layer, operations: list[Operation], output: Any) -> list[Tensor]:
    """The activity of each operation: the layer's output for the last one if the shapes agree, else its own output."""
    outputs = layer_outputs(layer, output)
    found = []
    for index, operation in enumerate(operations):
        assert operation.output is not None
        last = index == len(operations) - 1 and outputs[-1].shape == operation.output.shape
        found.append((outputs[-1] if last else operation.output).detach())
    return found


def update_weights(layer: Layer, operations: list[Operation], output: Any, before: list[Tensor]) -> Tensor:
    """Write the gradients, which the optimizer subtracts, to ``.grad``.

    Returns:
        The mean square by which the error changed the activity of the layer's last operation.
    """
    surrogate, moved = torch.zeros((), device=tensor_leaves(output)[0].device), torch.zeros(())
    for operation, first, second in zip(operations, before, activities_of(layer, operations, output), strict=True):
        change = at_least_float32(first) - at_least_float32(second)
        units = len(operation.weight)
        direction = operation.weight_gradient(change) * (units / change.numel())  # a mean over batch and positions
        # Its gradient reaches the parameters from which the weight is derived, such as those of a folded kernel.
        surrogate = surrogate + (direction * at_least_float32(operation.weight)).sum()
        moved = change.square().mean()
    if surrogate.requires_grad:  # not so in a layer without such operations
        surrogate.backward()
    return moved


class SharedNormStats(TorchFunctionMode):
    """Records the batch statistics of every batch norm, in the order of the calls, or applies recorded ones.

    Args:
        recorded: Means and variances to apply; by default each norm uses the batch's own, which are recorded.
    """

    def __init__(self, recorded: list[tuple[Tensor, Tensor]] | None = None) -> None:
        super().__init__()
        self.recorded: list[tuple[Tensor, Tensor]] = []
        self._applied = None if recorded is None else iter(recorded)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        return self._normalize(*args, **kwargs) if func is functional.batch_norm else func(*args, **kwargs)

    def _normalize(
        self,
        input: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        """Replaces ``functional.batch_norm``; norms that use their running statistics are left alone."""
        if training and self._applied is not None:
            mean, variance = (each.to(input.dtype if weight is None else weight.dtype) for each in next(self._applied))
            return functional.batch_norm(input, mean, variance, weight, bias, False, momentum, eps)
        if training:
            with torch.no_grad():
                exact = at_least_float32(input).transpose(0, 1).flatten(1)
                self.recorded.append((exact.mean(1), exact.var(1, unbiased=False)))
        return functional.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)
