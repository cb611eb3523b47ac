"""Groups of the processes of a run: what they average, gather and agree upon."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from localrules.data.batch_part import BatchPart

CPU = torch.device("cpu")
Key = TypeVar("Key", str, tuple[str, str])


class Ranks(BatchPart):
    """A group of the processes of a run: those that divide every batch, say, or all. Mostly there is one process.

    Every process of the group calls the same methods in the same order.

    Args:
        index: This process's number in the group.
        count: Number of processes.
        device: Where this process computes.
        group: The group; ``None`` for all processes.

    Attributes:
        divides: Whether what is computed now is computed from a part of the batch.
    """

    def __init__(
        self, index: int = 0, count: int = 1, device: torch.device = CPU, group: dist.ProcessGroup | None = None
    ) -> None:
        self.index, self.count, self._device, self._group = index, count, device, group
        self.divides = count > 1

    @property
    def is_main(self) -> bool:
        """Whether this process is the first of the group; that of all processes writes the run folder and reports."""
        return self.index == 0

    @property
    def _first(self) -> int:
        """The first process of the group, by its number among all."""
        return 0 if self._group is None else dist.get_global_rank(self._group, 0)

    def divide(self, parts: Sequence[Sequence[int]], timeout: float) -> Ranks:
        """Divide all processes into groups of equal size.

        Args:
            parts: The numbers of the processes of each group.
            timeout: Seconds for which processes of a group wait for each other.

        Returns:
            The group that this process is in.
        """
        (own,) = (part for part in parts if self.index in part)
        if len(own) == 1:
            return Ranks(device=self._device)
        if len(own) == self.count:
            return self
        group, _ = dist.new_subgroups_by_enumeration([list(part) for part in parts], timedelta(seconds=timeout))
        assert isinstance(group, dist.ProcessGroup)
        return Ranks(own.index(self.index), len(own), self._device, group)

    def gather(self, values: Tensor, total: int | None = None) -> Tensor:
        if self.count == 1:
            return values
        gathered: Tensor = _Gather.apply(values, self, self.sizes(self.count * len(values) if total is None else total))
        return gathered

    def average(self, statistic: Tensor) -> Tensor:
        if self.count == 1:
            return statistic
        found = statistic.detach().clone()
        self.average_([found])
        return found

    def average_(self, tensors: Iterable[Tensor]) -> None:
        """Average tensors over the processes, in place, in one reduction."""
        averaged = list(tensors)
        if self.count == 1 or not averaged:
            return
        flat = torch.cat([tensor.detach().flatten() for tensor in averaged])
        dist.all_reduce(flat, group=self._group)
        flat /= self.count
        for tensor, mean in zip(averaged, flat.split([each.numel() for each in averaged]), strict=True):
            tensor.detach().copy_(mean.view_as(tensor))

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Average gradients over the processes, in place, in one reduction."""
        if self.count > 1:
            self.average_(parameter.grad for parameter in parameters if parameter.grad is not None)

    def average_scalars(self, scalars: Mapping[Key, Tensor]) -> dict[Key, Tensor]:
        """The mean of each scalar over the processes, in one reduction."""
        if self.count == 1 or not scalars:
            return dict(scalars)
        names = sorted(scalars)
        stacked = torch.stack([scalars[name].detach().reshape(()).to(self._device, torch.float32) for name in names])
        self.average_([stacked])
        found = dict(zip(names, stacked.unbind(), strict=True))
        return {name: found[name] for name in scalars}

    @contextmanager
    def undivided(self) -> Iterator[None]:
        before, self.divides = self.divides, False
        try:
            yield
        finally:
            self.divides = before

    def sum(self, values: Tensor) -> Tensor:
        """The sum over the processes, with gradients."""
        summed: Tensor = _Sum.apply(values, self._group)
        return summed

    def any(self, *flags: bool) -> list[bool]:
        """Whether each flag is set in any process."""
        if self.count == 1:
            return list(flags)
        found = torch.tensor(flags, dtype=torch.int32)
        dist.all_reduce(found, dist.ReduceOp.MAX, group=self._group)
        return [bool(flag) for flag in found.tolist()]

    def from_main(self, value: Any) -> Any:
        """A value of the first process, which the others' own gives way to."""
        if self.count == 1:
            return value
        held = [value]
        dist.broadcast_object_list(held, src=self._first, group=self._group, device=CPU)
        return held[0]

    def gather_objects(self, value: Any, *, everywhere: bool = False) -> list[Any]:
        """A value of each process, in the first process or everywhere; elsewhere none."""
        if self.count == 1:
            return [value]
        held: list[Any] = [None] * self.count
        if everywhere:
            dist.all_gather_object(held, value, group=self._group)
            return held
        dist.gather_object(value, held if self.is_main else None, dst=self._first, group=self._group)
        return held if self.is_main else []

    def all_gather(self, values: Tensor, sizes: Sequence[int]) -> Tensor:
        """The values of all processes, shape (sum of sizes, ...), without gradient and in the same memory layout."""
        last = values.dim() == 4 and values.is_contiguous(memory_format=torch.channels_last)
        own = values.detach().permute(0, 2, 3, 1) if last else values.detach()
        padded = own.new_zeros(max(sizes), *own.shape[1:])
        padded[: len(own)] = own
        sent = padded.view(-1).view(torch.uint8)  # whatever its type: nothing is computed
        received = [torch.empty_like(sent) for _ in range(self.count)]
        dist.all_gather(received, sent, group=self._group)
        whole = torch.cat(
            [each.view(padded.dtype).view_as(padded)[:size] for each, size in zip(received, sizes, strict=True)]
        )
        return whole.permute(0, 3, 1, 2) if last else whole


class _Gather(torch.autograd.Function):
    """Gathers samples. Every process computes the same of them, and the mean of what they find is taken afterwards: so
    a sample's gradient, which its own process alone passes on, counts as often as there are processes."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, ranks: Ranks, sizes: list[int]) -> Tensor:
        ctx.ranks, ctx.total = ranks, sum(sizes)
        return ranks.all_gather(values, sizes)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return grad[ctx.ranks.bounds(ctx.total)] * ctx.ranks.count, None, None


class _Sum(torch.autograd.Function):
    """A sum over processes; what each process makes of it has its own gradient, and these add up.

    So its backward pass is a sum as well, which can be differentiated again: some rules learn from gradients.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor, group: dist.ProcessGroup | None) -> Tensor:
        ctx.group = group
        summed = values.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(summed, group=group)
        return summed

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return _Sum.apply(grad, ctx.group), None


def set_timeout(seconds: float) -> None:
    """Let the processes wait for each other for so long."""
    set_it = getattr(dist, "set_timeout", None) or dist.distributed_c10d._set_pg_timeout  # in torch before 2.13
    set_it(timedelta(seconds=seconds))
