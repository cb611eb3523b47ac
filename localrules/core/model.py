"""A network that a plugin supplies."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel
from torch import nn

from localrules.core.layer_spec import LayerSpec
from localrules.core.objective import RuleConfig


class Model(nn.Module):
    """A plain PyTorch network that says which of its modules are layers. A plugin's ``ModelEntry`` names a subclass.

    Attributes:
        Config: Its options.
        layer_spec: Which of its modules are layers, blocks and readout.
    """

    Config: ClassVar[type[BaseModel]] = RuleConfig
    layer_spec: LayerSpec

    def __init__(self, config: BaseModel, shape: tuple[int, ...], num_classes: int) -> None:
        """
        Args:
            config: Options.
            shape: One image's channels, height, width.
            num_classes: How many logits to give.
        """
        super().__init__()
        self.config = config
        self.shape = shape
        self.num_classes = num_classes
