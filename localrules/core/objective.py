"""Objectives: what one layer minimises, computed from what that layer can see."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from pydantic import BaseModel
from torch import Tensor

from localrules.core.base import RuleBase, RuleConfig, RuleInfo
from localrules.core.layer import Layer
from localrules.core.locality import Locality
from localrules.core.requirements import Requirements
from localrules.core.view import Batch, LayerView
from localrules.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from localrules.core.network import Network

__all__ = [
    "CustomPrediction",
    "ExtractViews",
    "InputTransform",
    "LayerVoting",
    "Objective",
    "OutputTransform",
    "Requirements",
    "RuleConfig",
    "RuleInfo",
]

ExtractViews = Callable[[Tensor], list[LayerView]]
"""Runs the network on inputs, shape (samples, ...), and returns a view for each objective, in forward order."""


class Objective(RuleBase, ABC):
    """The objective of one layer: a module per layer, and per output of a layer that has several.

    The engine runs the forward pass, isolates the layer, calls the objective as soon as the layer has its output, runs
    the layer's backward pass, frees its graph, and continues. Submodules, parameters and buffers are moved, saved and
    restored with the run; parameters are optimised together with the layer's.

    Only :meth:`forward` has to be written. The mixins :class:`InputTransform`, :class:`OutputTransform`,
    :class:`LayerVoting` and :class:`CustomPrediction` each change one thing beside.

    Args:
        config: The options.
        layer: The layer that the objective trains, with its shapes.
        num_classes: Number of classes.

    Attributes:
        Config: The options, typed, each with a description.
        info: What the rule claims, needs and recommends.
        config: As passed to the constructor.
        layer: As passed to the constructor.
        num_classes: As passed to the constructor.
    """

    _default_locality: ClassVar[Locality] = "local-labels"

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if not cls.info.trains_readout and not issubclass(cls, CustomPrediction):
            raise UsageError(
                f"{cls.__name__} leaves the readout untrained and has no prediction of its own",
                where=f"{cls.__module__}:{cls.__name__}",
                why="with RuleInfo(trains_readout=False) the network's logits would be those of a random readout",
                fix="derive the class from CustomPrediction too, or leave out trains_readout=False",
            )

    def __init__(self, config: BaseModel, layer: Layer, num_classes: int) -> None:
        super().__init__(config)
        self.layer = layer
        self.num_classes = num_classes
        self._logged: dict[str, Tensor] = {}

    @abstractmethod
    def forward(self, view: LayerView) -> Tensor | dict[str, Tensor]:
        """The scalar that the layer minimises, or named scalars whose sum it minimises.

        Named scalars are logged as ``loss/<name>/<layer>``.
        """

    def log(self, name: str, value: Tensor | float) -> None:
        """Log a value of this layer in this step, as ``<name>/<layer>``.

        Args:
            name: Without slashes.
            value: A scalar; it is detached.
        """
        self._logged[name] = torch.as_tensor(value).detach()

    def pop_logged(self) -> dict[str, Tensor]:
        """The values logged since the last call. Called by the engine."""
        logged, self._logged = self._logged, {}
        return logged

    @classmethod
    def plots(cls, objectives: Sequence[Objective], network: Network) -> dict[str, Figure]:
        """Plots of the rule's own, drawn at the end of a run and kept in the run folder.

        Args:
            objectives: Those of all layers that the rule trained, in forward order.
            network: As trained.

        Returns:
            Matplotlib figures by name; ``weights`` becomes ``weights.png``. By default none.
        """
        return {}


class InputTransform(ABC):
    """Mixin of an objective that trains the network on other inputs than the batch's images.

    All layers share one forward pass, so the objective of the first hidden layer makes the inputs.
    """

    @abstractmethod
    def make_inputs(self, batch: Batch) -> Tensor | tuple[Tensor, Tensor]:
        """The network's inputs in a step.

        Returns:
            Inputs, shape (samples, ...), in any number; every view's output has as many. With labels beside them,
            int64 of shape (samples,), these are the labels of all views, and the readout is trained on them. Without
            labels the views keep those of the batch, and the readout is trained on the first inputs, as many as there
            are labels.
        """


class OutputTransform(ABC):
    """Mixin of an objective that changes what the layer's readers receive, in training and in prediction."""

    @abstractmethod
    def transform_output(self, output: Tensor) -> Tensor:
        """Transform the output that the layer's readers receive.

        Args:
            output: The layer's output, detached, shape (batch, ...).
        """


class LayerVoting(ABC):
    """Mixin of an objective whose layer takes part in the prediction.

    The log-probabilities of all voting layers are averaged, and then combined with the readout's:
    ``voting_weight * layers + (1 - voting_weight) * readout``.

    Attributes:
        voting_weight: The layers' weight together (ours: 0.5).
    """

    voting_weight: float = 0.5

    @property
    def is_voting(self) -> bool:
        """Whether it does; its modules are then trained even if all parameters of the layer itself are frozen."""
        return True

    @abstractmethod
    def layer_logits(self, view: LayerView) -> Tensor | None:
        """Logits of this layer, shape (batch, classes), or ``None`` if it does not vote.

        Args:
            view: In eval mode, without labels.
        """


class CustomPrediction(ABC):
    """Mixin of an objective with a prediction of its own. Used where all hidden layers learn by that objective."""

    @classmethod
    @abstractmethod
    def predict(cls, objectives: Sequence[Any], extract_views: ExtractViews, images: Tensor) -> Tensor | None:
        """Logits, shape (batch, classes), or ``None`` for the network's.

        Args:
            objectives: In forward order, one for each view.
            extract_views: Runs the network, as often as needed, in eval mode and without gradients. Its views have no
                labels.
            images: Shape (batch, ...).
        """
