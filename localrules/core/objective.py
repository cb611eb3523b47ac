"""The lowest rung of a rule: a scalar computed from what one layer can see."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar

from torch import Tensor, nn

from localrules.core.base import RuleBase, RuleConfig
from localrules.core.layer import Layer, Locality
from localrules.core.requirements import Requirements
from localrules.core.view import Batch, LayerView

__all__ = ["Look", "Objective", "Requirements", "RuleConfig"]

Look = Callable[[Tensor], list[LayerView]]
"""Runs the network on pictures, shape (batch, ...), and returns what each hidden layer sees, in forward order."""


class Objective(RuleBase, ABC):
    """What each layer minimises. About four rules in five are an objective and little more.

    The engine runs the forward pass, isolates the layer, calls :meth:`loss` as soon as the layer has its
    output, runs the layer's backward pass, frees its graph, and goes on.

    A subclass may hold buffers or modules: they are moved, saved and restored with the run.

    Only :meth:`loss` must be written. The other methods each change one thing: what the network is fed
    (:meth:`stream`), what a layer's readers are given (:meth:`hand_on`), how a picture is classified (:meth:`vote`,
    :meth:`predict`).

    Attributes:
        Config: Its options, typed, each with a description.
        requires: What it needs of a run and of a network.
        locality: The class that it claims. Without a word: ``local-labels``.
        presets: Named sets of options; ``preset=paper`` is the form as printed.
        run_defaults: Settings of a run that suit it, e.g. ``{"optimizer": {"lr": 1e-3}}``; a user's word wins.
        model_defaults: Options of the model that suit it, where it has them; a user's word wins.
        trains_readout: Whether the network's readout learns by cross-entropy beside the layers. Must be false where
            :meth:`stream` feeds something else than the batch; then :meth:`predict` has to be written.
    """

    locality: ClassVar[Locality] = "local-labels"
    trains_readout: ClassVar[bool] = True

    def prepare(self, layers: Sequence[Layer], num_classes: int) -> None:
        """Called once, before any auxiliary module is made.

        Args:
            layers: The hidden layers that learn by this objective, in forward order, with their shapes.
            num_classes: How many labels there are.
        """

    def auxiliary(self, layer: Layer, num_classes: int) -> nn.Module | None:
        """A head, decoder or projection for one layer, owned, moved, saved and optimized by the engine.

        Args:
            layer: Where it will stand; ``layer.out_shape`` is the output's shape without the batch.
            num_classes: How many labels there are.
        """
        return None

    def stream(self, batch: Batch) -> Tensor:
        """What the network is fed in a step: by default the batch's pictures.

        Returns:
            Pictures, shape (rows, ...), in any number of rows; every view's output has as many.
        """
        return batch.images

    @abstractmethod
    def loss(self, view: LayerView) -> Tensor | dict[str, Tensor]:
        """The scalar that this layer minimises, or named scalars whose sum it minimises."""

    def hand_on(self, layer: Layer, output: Tensor) -> Tensor:
        """What the layer's readers are given, in training and in prediction: by default its output as it is.

        Args:
            layer: Which.
            output: Detached, shape (batch, ...).
        """
        return output

    def vote(self, view: LayerView) -> Tensor | None:
        """What this layer takes each picture for: logits, (batch, classes); by default ``None``, and it has no say.

        Where layers have a say, half of the network's answer is theirs and half its readout's: logarithms of
        probabilities are averaged over the layers, and then over the two.

        Args:
            view: In eval mode, without labels.
        """
        return None

    def predict(self, look: Look, images: Tensor, num_classes: int) -> Tensor | None:
        """The rule's own answer: logits, shape (batch, classes); by default ``None``, and the readout's are taken.

        Asked only where all hidden layers learn by this objective.

        Args:
            look: Runs the network, as often as needed, in eval mode and without gradients. Its views know no labels.
            images: Shape (batch, ...).
            num_classes: How many labels there are.
        """
        return None
