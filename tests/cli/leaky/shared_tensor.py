"""Every layer's objective passes a matrix that all of them write to."""

from __future__ import annotations

import torch
from torch import Tensor

from localrules import LayerView, Objective


class SharedTensor(Objective):
    """Outputs shall be small as the shared matrix sees them."""

    locality = "local"

    def __init__(self, config: object = None) -> None:
        super().__init__()
        self.register_buffer("shared", torch.eye(4))

    def loss(self, view: LayerView) -> Tensor:
        few = view.output[:, :4]
        with torch.no_grad():
            self.shared += 0.01 * few.T @ few
        return (few @ self.shared).square().mean()


RULES = {"leaky": SharedTensor}
