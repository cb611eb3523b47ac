"""Batches that are divided among processes: what a run needs for it, and what sees several samples at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from localrules.core.rule import Rule
from localrules.engine.ranks import Ranks
from localrules.engine.resolved_run import ResolvedRun
from localrules.engine.split_attention import ATTENTION, attend_amid_others
from localrules.errors import UsageError
from localrules.utils.torch_utils import at_least_float32

DROPOUTS = {
    functional.dropout,
    functional.dropout1d,
    functional.dropout2d,
    functional.dropout3d,
    functional.alpha_dropout,
    functional.feature_alpha_dropout,
}


class SplitBatch(TorchFunctionMode):
    """Lets functions of a network that see the samples of a batch together see the whole batch.

    Dropout draws for the whole batch, so that what a sample loses does not depend on the number of processes. Batch
    norms, if asked to, normalise by the statistics of the whole batch.

    Args:
        ranks: The processes.
        samples: In this process's part of the batch.
        sync_batchnorm: Whether batch norms are synchronised.
    """

    def __init__(self, ranks: Ranks, samples: int, *, sync_batchnorm: bool) -> None:
        super().__init__()
        self._ranks, self._samples, self._sync = ranks, samples, sync_batchnorm

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if not self._ranks.divides:
            return func(*args, **kwargs)
        if func in DROPOUTS and kwargs.get("training") and len(args[0]) % self._samples == 0:
            return self._draw_for_all(lambda whole: func(whole, **{**kwargs, "inplace": False}), args[0])
        if func is Tensor.bernoulli_ and self._draws_by_sample(args[0]):  # the stochastic depth of other packages
            return args[0].copy_(self._draw_for_all(lambda whole: whole.bernoulli_(*args[1:], **kwargs), args[0]))
        if func in ATTENTION:
            return attend_amid_others(self._ranks, func, args, kwargs)
        if func is functional.batch_norm and self._sync:
            return self._batch_norm(*args, **kwargs)
        return func(*args, **kwargs)

    def _draws_by_sample(self, values: Tensor) -> bool:
        return values.dim() > 1 and len(values) == self._samples == values.numel()

    def _draw_for_all(self, draw: Callable[[Tensor], Tensor], values: Tensor) -> Tensor:
        """The result of ``draw`` for these values amid those of the other processes, in whose place there are zeros."""
        others = torch.zeros_like(values)
        parts = [values if index == self._ranks.index else others for index in range(self._ranks.count)]
        return draw(torch.cat(parts))[self._ranks.bounds(self._ranks.count * len(values))]

    def _batch_norm(
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
        """Replaces ``functional.batch_norm``."""
        if not training or input.is_meta:  # the output of a layer of another stage, without values
            return functional.batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
        wide = at_least_float32(input)
        others = [axis for axis in range(wide.dim()) if axis != 1]
        shape = [1, -1, *[1] * (wide.dim() - 2)]
        own = wide.new_full((1,), wide.numel() / wide.shape[1])
        sums = self._ranks.sum(torch.cat([wide.sum(others), own]))
        count = sums[-1].detach()
        mean = sums[:-1] / count
        centred = wide - mean.view(shape)
        variance = self._ranks.sum(centred.square().sum(others)) / count
        if running_mean is not None and running_var is not None:
            with torch.no_grad():
                running_mean.lerp_(mean.detach().to(running_mean.dtype), momentum)
                unbiased = variance.detach() * (count / (count - 1).clamp_min(1))
                running_var.lerp_(unbiased.to(running_var.dtype), momentum)
        normalized = centred * (variance + eps).rsqrt().view(shape)
        if weight is not None:
            normalized = normalized * weight.view(shape)
        if bias is not None:
            normalized = normalized + bias.view(shape)
        return normalized.to(input.dtype)


def check_parallel(run: ResolvedRun) -> None:
    """Refuse a run whose batches cannot be divided among its processes, or among groups of them.

    Raises:
        UsageError: With the setting that stands against it.
    """
    config, where = run.config, f"--devices {run.config.devices}"
    if config.replicas == 1:
        return
    for part in run.rule_parts:
        if part.cls.info.requires.global_batch and issubclass(part.cls, Rule):
            raise UsageError(
                f"rule {part.name!r} cannot be trained on several processes",
                where=where,
                why="it takes the step of the whole network itself, and needs all samples of a batch for it",
                fix="leave it out, or choose another rule",
            )
    if config.batch_size % config.replicas:
        raise UsageError(
            "the batch cannot be divided evenly",
            where=f"{where}, --batch-size {config.batch_size}",
            why="its parts have equally many samples",
            fix=f"choose a multiple of {config.replicas}",
        )
    stands_against = {
        "parallel_layers": config.parallel_layers > 1,
        "audit": config.audit,
        f"device {config.device}": ":" in config.device,
        "diagnostic angle": "angle" in config.diagnostics,
    }
    for setting, given in stands_against.items():
        if given:
            raise UsageError(
                f"{setting} needs a run in one process",
                where=where,
                why="it watches or orders the steps of one process",
                fix=f"leave out {setting}, or --devices",
            )


def running_statistics(*modules: nn.Module, kind: type[nn.Module] = nn.modules.batchnorm._NormBase) -> Iterator[Tensor]:
    """The running means and variances of batch and instance norms, or of one kind of them."""
    for module in modules:
        for part in module.modules():
            if isinstance(part, kind) and (mean := getattr(part, "running_mean", None)) is not None:
                yield mean
                yield part.running_var  # type: ignore[misc]  # there as well
