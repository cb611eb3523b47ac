"""The lowest rung of a rule: a scalar computed from what one layer can see."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from localrules.core.layer import Layer
from localrules.core.view import LayerView
from localrules.errors import UsageError


class Options(BaseModel):
    """Base of every plugin's ``Config``: unknown names are refused, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True)
class Requirements:
    """What a rule needs, checked before any work.

    Attributes:
        min_batch: The smallest batch on which the objective is defined.
        labels: Whether it reads labels.
        global_batch: Whether it must see the batch of all ranks together.
        auxiliary: Whether it has auxiliary modules.
    """

    min_batch: int = 1
    labels: bool = True
    global_batch: bool = False
    auxiliary: bool = False

    def check(self, rule: str, batch_size: int) -> None:
        """Raises UsageError when the batch is too small for the rule."""
        if batch_size < self.min_batch:
            raise UsageError(
                f"rule {rule!r} needs batches of at least {self.min_batch}",
                where="--batch-size",
                why=f"it compares the samples of a batch with each other; the batch has {batch_size}",
                fix=f"choose --batch-size {self.min_batch} or more",
            )


class Objective(nn.Module, ABC):
    """What each layer minimises. About four rules in five are an objective and nothing more.

    The engine runs the forward pass, isolates the layer, calls :meth:`loss` as soon as the layer has its
    output, runs the layer's backward pass, frees its graph, and goes on.

    A subclass may hold buffers or modules: they are moved, saved and restored with the run.

    Attributes:
        Config: Its options, typed, each with a description.
        requires: What it needs of a run.
        presets: Named sets of options; ``preset=paper`` is the form as printed.
        run_defaults: Settings of a run that suit the rule, e.g. ``{"optimizer": {"lr": 1e-3}}``; a user's word wins.
    """

    Config: ClassVar[type[BaseModel]] = Options
    requires: ClassVar[Requirements] = Requirements()
    presets: ClassVar[dict[str, dict[str, Any]]] = {}
    run_defaults: ClassVar[dict[str, Any]] = {}

    def __init__(self, config: BaseModel | None = None) -> None:
        super().__init__()
        self.config = config if config is not None else self.Config()

    def auxiliary(self, layer: Layer, num_classes: int) -> nn.Module | None:
        """A head, decoder or projection for one layer, owned, moved, saved and optimized by the engine.

        Args:
            layer: Where it will stand; ``layer.out_shape`` is the output's shape without the batch.
            num_classes: How many labels there are.
        """
        return None

    @abstractmethod
    def loss(self, view: LayerView) -> Tensor | dict[str, Tensor]:
        """The scalar that this layer minimises, or named scalars whose sum it minimises."""
