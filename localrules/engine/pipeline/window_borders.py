"""Windows of layers across stages: gradients that come down across the borders between stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from localrules.engine.pipeline.links import Receiver, Sender
from localrules.engine.pipeline.messages import Header, MessageFormat
from localrules.engine.pipeline.stages import Stage
from localrules.engine.windows import Arrival, Crossing
from localrules.errors import LocalRulesError


class WindowBorders:
    """The two borders of a stage, as :class:`~localrules.engine.windows.WindowedRule` uses them.

    Behind its forward pass a stage waits for the gradients that the next one sends down as soon as its first layers
    have run. So stages do not only wait for what they read: a step takes the time of the slowest stage and of the
    layers of the next one whose objectives reach it.

    Args:
        stage: The stage.
        names: The network's layers, in forward order.
        measured: The gradients of a step in which one process trained all layers, for their layouts.
        rank: Of this process; those of the next stage and of the one before are one less and one more.
        steps: Number of steps that will be taken at most.
        timeout: Seconds for which another process may let this one wait.
    """

    def __init__(
        self,
        stage: Stage,
        names: Sequence[str],
        measured: Mapping[Arrival, Crossing],
        *,
        rank: int,
        steps: int,
        timeout: float,
    ) -> None:
        position = {name: at for at, name in enumerate(names)}
        ways = sorted(measured, key=lambda way: (position[way.objective], way.borders, position[way.layer], way.output))

        def across(end: int) -> list[Arrival]:
            return [way for way in ways if position[way.layer] < end <= measured[way].sender]

        self._down, self._up = across(stage.first), across(stage.last + 1)
        self._layouts = {way: measured[way].gradient for way in (*self._down, *self._up)}
        last = max((position[way.objective] for way in self._down), default=None)
        self._last = names[last] if last is not None and last <= stage.last else ""
        self._step = 0
        self._sender: Sender | None = None
        self._receiver: Receiver | None = None
        if self._down:
            self._down_format = MessageFormat([self._layouts[way] for way in self._down])
            self._sender = Sender(rank + 1, self._down_format.size, steps, timeout)
        if self._up:
            self._up_format = MessageFormat([self._layouts[way] for way in self._up])
            self._receiver = Receiver(rank - 1, self._up_format.size, steps, timeout)

    @property
    def links(self) -> list[Sender | Receiver]:
        """The queues to the neighbours, where gradients cross the border."""
        return [link for link in (self._sender, self._receiver) if link is not None]

    def begin(self, step: int) -> None:
        """A step begins."""
        self._step = step

    def is_ready(self, objective: str) -> bool:
        """Whether all that goes down is known behind a layer; behind the empty name, what came from above is, too."""
        return objective == self._last

    def send(self, gradients: Mapping[Arrival, Tensor]) -> None:
        """Let the stage before have the gradients at outputs of earlier layers.

        Raises:
            LocalRulesError: They are not those of the steps that were measured.
        """
        for way in gradients.keys() - set(self._down):
            raise _other_gradients("a gradient that it did not send", way)
        if self._sender is not None:
            tensors = [self._laid_out(way, gradients.get(way)) for way in self._down]
            self._sender.send(self._down_format.pack(Header(self._step, False), tensors))

    def receive(self) -> dict[Arrival, Tensor]:
        """The gradients that the next stage has sent in this step."""
        if self._receiver is None:
            return {}
        header, tensors = self._up_format.unpack(self._receiver.receive())
        if header.step != self._step:
            raise LocalRulesError(f"gradients of step {header.step} have come down in step {self._step}")
        return dict(zip(self._up, tensors, strict=True))

    def _laid_out(self, way: Arrival, gradient: Tensor | None) -> Tensor:
        """A gradient in the memory layout of the measured one, which may differ where several stages add to it."""
        if gradient is None:
            raise _other_gradients("no gradient, as it did", way)
        layout = self._layouts[way]
        if gradient.stride() == layout.stride():
            return gradient
        return torch.empty_strided(layout.shape, layout.stride(), dtype=layout.dtype).copy_(gradient)


def _other_gradients(what: str, way: Arrival) -> LocalRulesError:
    return LocalRulesError(
        f"the objective of layer {way.objective!r} sends layer {way.layer!r} {what} in the steps before",
        why="stages send each other the same in every step",
        fix="leave out --parallel layers",
    )
