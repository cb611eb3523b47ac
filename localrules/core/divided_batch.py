"""Batches that are divided among processes, and views of a layer with the samples of all of them."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

from torch import Tensor

from localrules.core.ops import Operation
from localrules.core.view import Batch, LayerView


class DividedBatch:
    """The batch of a step, of which this process holds a part, maybe all.

    Args:
        own: This process's part.
        whole: The whole batch, if it is known; else it is gathered when an objective needs it.
        samples: Of the whole batch in a layer: as many as the network has inputs.

    Attributes:
        own: As passed to the constructor.
        samples: As passed to the constructor.
    """

    def __init__(self, own: Batch, whole: Batch | None = None, samples: int | None = None) -> None:
        self.own, self._known = own, whole
        self.samples = own.part.count * len(own.images) if samples is None else samples

    @cached_property
    def whole(self) -> Batch:
        """The samples of all processes."""
        return self.own.whole() if self._known is None else self._known

    def of_readout(self, output: Tensor) -> tuple[Tensor, Batch]:
        """The samples that the readout is trained on: its outputs for the samples of a batch, and that batch.

        Made inputs may be more than the batch has labels. The first of them are its samples, wherever these are.
        """
        if self._known is None:
            return output, self.own
        return self.own.part.gather(output, self.samples)[: len(self.whole.labels)], self.whole

    def view(self, local: LayerView) -> LayerView:
        """The view of a layer with the samples of all processes."""
        return local if self.own.part.count == 1 else WholeBatchView(local, self)


class WholeBatchView(LayerView):
    """The view of a layer with the samples of all parts of the batch, gathered when they are read.

    Args:
        local: The view of this part.
        divided: The batch.
    """

    def __init__(self, local: LayerView, divided: DividedBatch) -> None:
        self.layer, self.batch = local.layer, divided.whole
        self._local, self._divided = local, divided

    @cached_property
    def inputs(self) -> tuple[Tensor, ...]:  # type: ignore[override]
        """The inputs of the layer, detached."""
        return tuple(self._gather(tensor) for tensor in self._local.inputs)

    @cached_property
    def output(self) -> Tensor:  # type: ignore[override]
        """The output of the layer, with the graph of this layer alone."""
        return self._gather(self._local.output)

    @cached_property
    def operations(self) -> list[Operation]:  # type: ignore[override]
        """The operations inside the layer; their inputs and outputs without gradient."""
        return [
            replace(
                operation,
                input=self._gather(operation.input.detach()),
                output=None if operation.output is None else self._gather(operation.output.detach()),
            )
            for operation in self._local.operations
        ]

    def pooled(self, size: int | None, *, inputs: bool = False) -> Tensor:
        return self._gather(self._local.pooled(size, inputs=inputs))

    def _gather(self, values: Tensor) -> Tensor:
        return self._divided.own.part.gather(values, self._divided.samples)
