"""A plugin file: back-propagation that logs a metric only from its seventh step on."""

from __future__ import annotations

import torch

from localrules import Network, StepReport
from localrules.core.rule import Context
from localrules.core.view import Batch
from localrules_backprop.backprop import Backprop


class Late(Backprop):
    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        self.register_buffer("steps", torch.zeros(()))

    def step(self, network: Network, batch: Batch, context: Context) -> StepReport:
        report = super().step(network, batch, context)
        self.steps += 1
        if self.steps >= 7:
            report.metrics["late/readout"] = self.steps.clone()
        return report


RULES = {"late": Late}
