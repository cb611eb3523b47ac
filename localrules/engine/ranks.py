"""Devices, precision and ranks: the one file that knows of Lightning Fabric."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from localrules.engine.config import RunConfig
from localrules.errors import UsageError


class Ranks:
    """Where a run computes, and with whom.

    Args:
        config: ``device``, ``precision`` and ``threads`` of the run.

    Raises:
        UsageError: The device is not there.
    """

    def __init__(self, config: RunConfig) -> None:
        accelerator = "cpu" if config.device == "auto" and not torch.cuda.is_available() else config.device
        precision: Any = {"fp32": "32-true", "bf16": "bf16-mixed"}[config.precision]
        logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it announces what the user typed
        try:
            self._fabric = Fabric(accelerator=accelerator, devices=1, precision=precision)
        except Exception as error:
            raise UsageError(
                f"device {config.device!r} cannot be used here",
                where="--device",
                why=str(error).splitlines()[0],
                fix="choose --device cpu, or leave it out",
            ) from error
        if self.device.type == "cpu":
            # Fabric sets this when imported, and then every layer's optimizer, which asks at each of its steps
            # whether there is a GPU, tries to load a GPU's library to find out: some 40 microseconds a layer and step.
            os.environ.pop("PYTORCH_NVML_BASED_CUDA_CHECK", None)
        self._bf16 = config.precision == "bf16"

    @property
    def device(self) -> torch.device:
        """Where tensors live."""
        return self._fabric.device

    def forward_context(self) -> AbstractContextManager[Any]:
        """Autocast around a forward pass, if the run asked for it.

        Autocast's cache of cast weights is off: it would keep every layer's half-precision copy to the end of the pass.
        """
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self._bf16, cache_enabled=False)

    def average(self, parameters: Iterable[nn.Parameter]) -> None:
        """Average gradients over ranks, in place: one flat reduction a layer. Nothing to do for a single rank."""
        if self._fabric.world_size == 1:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        flat = self._fabric.all_reduce(torch.cat([gradient.flatten() for gradient in gradients]), reduce_op="mean")
        assert isinstance(flat, Tensor)  # a tensor goes in; Fabric also takes trees of them
        for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(mean.view_as(gradient))
