"""What an objective and a rule have in common: options, needs, and settings that suit them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict
from torch import nn

from localrules.core.layer import Locality
from localrules.core.requirements import Requirements

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from localrules.core.network import Network


class RuleConfig(BaseModel):
    """Base of every plugin's ``Config``: unknown names are refused, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class RuleBase(nn.Module):
    """A module with options, that says what it needs and claims. Base of ``Objective`` and ``Rule``.

    Attributes:
        Config: Its options, typed, each with a description.
        formula: What a layer minimises, or how it changes, in a line of plain text, for ``localrules rules show``.
        requires: What it needs of a run and of a network.
        locality: The class of locality that it claims; ``localrules audit`` measures whether that holds.
        presets: Named sets of options; ``preset=paper`` is the form as printed.
        run_defaults: Settings of a run that suit it, e.g. ``{"optimizer": {"lr": 1e-3}}``; a user's word wins.
        model_defaults: Options of the model that suit it, e.g. ``{"norm": False}``, where the model takes such; a
            user's word wins.
        metrics: Names of what it measures of each layer beside the objective; they become columns ``<name>/<layer>``.
        digits_bound: The accuracy on scikit-learn's digits that it reaches in the conformance kit's short run.
        maps_bound: The same where a small convolutional network learns them; ``None``: as ``digits_bound``.
        expected_failures: Checks of the conformance kit that it is known to fail, each with the reason.
    """

    Config: ClassVar[type[BaseModel]] = RuleConfig
    formula: ClassVar[str] = ""
    requires: ClassVar[Requirements] = Requirements()
    locality: ClassVar[Locality]
    presets: ClassVar[dict[str, dict[str, Any]]] = {}
    run_defaults: ClassVar[dict[str, Any]] = {}
    model_defaults: ClassVar[dict[str, Any]] = {}

    digits_bound: ClassVar[float] = 0.9
    maps_bound: ClassVar[float | None] = None
    expected_failures: ClassVar[dict[str, str]] = {}

    metrics: tuple[str, ...] = ()

    def __init__(self, config: BaseModel | None = None) -> None:
        super().__init__()
        self.config = config if config is not None else self.Config()

    def figures(self, network: Network) -> dict[str, Figure]:
        """Pictures of its own, drawn at the end of a run and kept in the run folder.

        Args:
            network: As it was trained.

        Returns:
            Matplotlib figures by name; ``weights`` becomes ``weights.png``. By default none.
        """
        return {}
