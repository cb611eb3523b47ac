"""Decoupled layers that learn from predicted gradients."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from localrules import (
    Batch,
    Context,
    Layer,
    Network,
    Requirements,
    Rule,
    RuleConfig,
    RuleInfo,
    SearchChoice,
    StepReport,
    isolated_forward,
    state_key,
)
from localrules.core.isolated_forward import LayerTrace
from localrules.kernels.labels import class_codes
from localrules.utils.torch_utils import at_least_float32


class SyntheticGradients(Rule):
    """Each hidden layer learns from a prediction ``M_l(h_l, y)`` of the gradient at its output: decoupled interfaces.

    A layer is updated as soon as its output is known, by the predicted gradient, which then follows the chain rule
    inside it. The prediction is trained towards what the layer above sends down: ``J^T M_{l+1}(h_{l+1}, y)``, the
    gradient at ``h_l`` if the prediction above were right; the topmost hidden layer's is the gradient of the readout's
    cross-entropy. So the true error comes down one layer per step, through predictions of it.

    Predictions start at zero, and are a linear map of the output and the label (``hidden=0``), or have a hidden layer.
    Feature maps get a linear map by channel, the same at all positions (a 1 x 1 convolution).

    What differs: all layers are updated in one step; gradients are those of a sample's own loss; the loss of a
    prediction is its squared error over the target's mean square; outputs enter divided by their number of channels.

    References:
        Jaderberg et al. 2017, Decoupled neural interfaces using synthetic gradients, https://arxiv.org/abs/1608.05343.
    """

    class Config(RuleConfig):
        """Options of rule synthetic-gradients."""

        hidden: int = Field(
            0,
            ge=0,
            description="Units of a hidden layer, with batch norm and ReLU, in the predictions; 0: linear (both are "
            "the paper's; default ours).",
        )
        labels: bool = Field(
            True, description="Whether predictions also read the label (the paper's cDNI; default ours)."
        )

    info = RuleInfo(
        search_space={"hidden": SearchChoice((0, 128, 512))},
        formula="delta_l = M_l(h_l, y) phi'; M_l learns J' M_(l+1)(h_(l+1), y), at the top the gradient of the loss",
        locality="backprop",
        requires=Requirements(min_batch=2, targets="weighted"),
    )

    config: SyntheticGradients.Config

    def prepare(self, network: Network, num_classes: int) -> None:
        """A prediction for each tensor that the readers of each hidden layer get from it."""
        self.predictions = nn.ModuleDict()
        for layer in network.hidden:
            for index, shape in enumerate(layer.all_out_shapes):
                classes = num_classes if self.config.labels else 0
                self.predictions[state_key(layer, index)] = GradientPrediction(shape, classes, self.config.hidden)

    def parameters_for(self, layer: Layer) -> Iterable[nn.Parameter]:
        """Those of the layer's predictions."""
        return [parameter for own in self._own(layer) for parameter in own.parameters()]

    def auxiliary_serves_others(self, layer: Layer) -> bool:
        """The predictions of the layer below learn from this layer's."""
        return not layer.is_readout

    def step(self, network: Network, batch: Batch, context: Context) -> StepReport:
        """One forward pass, predictions everywhere, and a backward pass through one layer for each."""
        traces = isolated_forward(network, batch.images, connected=True, precision=context.autocast())
        *hidden, readout = traces
        loss = functional.cross_entropy(at_least_float32(readout.output), batch.targets)
        report = StepReport(logits=readout.output.detach(), loss=loss.detach())
        predicted = {trace.layer.name: self._predict(trace, batch) for trace in hidden}
        targets = self._targets(traces, predicted, loss * len(batch.labels))
        for trace in traces:
            if trace.layer.is_readout:
                if context.is_trainable(trace.layer):
                    loss.backward(inputs=[p for p in trace.layer.parameters() if p.requires_grad])
                    context.step_layer(trace.layer)
            elif context.is_objective_trainable(trace.layer):
                self._train(trace, predicted[trace.layer.name], targets[trace.layer.name], batch, report, context)
        return report

    def _train(
        self,
        trace: LayerTrace,
        predicted: list[Tensor],
        targets: list[Tensor],
        batch: Batch,
        report: StepReport,
        context: Context,
    ) -> None:
        """Gradients of a layer by its predictions, and of the predictions by their targets."""
        layer = trace.layer
        weights = [p for p in layer.parameters() if p.requires_grad]
        if weights:
            samples = len(trace.output)
            trace.backward([each.detach() / samples for each in predicted], weights)
        errors = [
            (each - target).square().mean() / batch.part.average(target.square().mean()).clamp(min=1e-30)
            for each, target in zip(predicted, targets, strict=True)
        ]
        error = torch.stack(errors).sum()
        error.backward()
        report.objectives[layer.name] = error.detach()
        context.step_layer(layer)

    def _predict(self, trace: LayerTrace, batch: Batch) -> list[Tensor]:
        """The predicted gradient at each of a layer's outputs, with the prediction's graph."""
        with torch.autocast(batch.images.device.type, enabled=False):
            own = self._own(trace.layer)
            return [
                own[at](output.detach(), batch.targets)
                for at, output in zip(trace.positions, trace.outputs, strict=True)
            ]

    def _targets(
        self, traces: list[LayerTrace], predicted: dict[str, list[Tensor]], loss: Tensor
    ) -> dict[str, list[Tensor]]:
        """The gradients that come down to hidden layers' outputs from their readers; zeros where nothing reads them."""
        *hidden, _ = traces
        outputs = [output for trace in hidden for output in trace.outputs if output.requires_grad]
        signals = [
            signal.detach().to(output.dtype)
            for trace in hidden
            for output, signal in zip(trace.outputs, predicted[trace.layer.name], strict=True)
            if output.requires_grad
        ]
        values = [value for trace in hidden for value in trace.values]
        if not values:
            return {}
        found = iter(
            torch.autograd.grad(
                [*outputs, loss], values, [*signals, torch.ones_like(loss)], retain_graph=True, allow_unused=True
            )
        )
        return {
            trace.layer.name: [
                torch.zeros_like(value) if one is None else one for value in trace.values for one in (next(found),)
            ]
            for trace in hidden
        }

    def _own(self, layer: Layer) -> list[GradientPrediction]:
        keys = [state_key(layer, index) for index in range(len(layer.all_out_shapes))]
        return [self.predictions[key] for key in keys if key in self.predictions]  # type: ignore[misc]


class GradientPrediction(nn.Module):
    """Predicts the gradient at an output from the output and, if ``num_classes``, the label.

    The output enters divided by its number of channels: gradients are tiny numbers, and if a step of the optimizer
    changed a prediction by a sum over thousands of channels, it would overshoot, and the label would count for nothing.

    Args:
        shape: Of the output, without the batch.
        num_classes: Of the labels; 0: they are not read.
        hidden: Units of a hidden layer; 0: none.
    """

    def __init__(self, shape: tuple[int, ...], num_classes: int, hidden: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        channels, maps = shape[0], len(shape) == 3
        self.flat = len(shape) not in (1, 3)
        if self.flat:
            channels = torch.Size(shape).numel()
        parts: list[nn.Module] = []
        inputs = channels + num_classes
        if hidden:
            norm = nn.BatchNorm2d(hidden) if maps else nn.BatchNorm1d(hidden)
            parts = [_linear(inputs, hidden, maps, bias=False), norm, nn.ReLU()]
            inputs = hidden
        last = _linear(inputs, channels, maps)
        for parameter in last.parameters():
            nn.init.zeros_(parameter)
        self.map = nn.Sequential(*parts, last)

    def forward(self, output: Tensor, targets: Tensor) -> Tensor:
        """The predicted gradient, shaped like the output."""
        wide = output.to(next(self.parameters()).dtype)
        features = wide.flatten(1) if self.flat else wide
        features = features / features.shape[1]
        if self.num_classes:
            known = class_codes(targets, self.num_classes, features.dtype)
            known = known.view(*known.shape, *[1] * (features.dim() - 2)).expand(-1, -1, *features.shape[2:])
            features = torch.cat([features, known], 1)
        found: Tensor = self.map(features)
        return found.view(output.shape)


def _linear(inputs: int, outputs: int, maps: bool, *, bias: bool = True) -> nn.Module:
    return nn.Conv2d(inputs, outputs, 1, bias=bias) if maps else nn.Linear(inputs, outputs, bias=bias)
