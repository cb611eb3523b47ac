"""The common base of objectives and rules: a typed configuration and a description of what they need and claim."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict
from torch import nn

from localrules.core.locality import Locality
from localrules.core.requirements import Requirements
from localrules.core.search_space import SearchValues


class RuleConfig(BaseModel):
    """Base of every ``Config``: unknown names and infinite values are rejected, and values are immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


@dataclass(frozen=True, kw_only=True)
class RuleInfo:
    """Claims, needs and recommendations of a rule. Every field is optional.

    Attributes:
        formula: What a layer minimises, or how it changes, in one line of plain text (``localrules rules show``).
        locality: The claimed class of locality, which ``localrules audit`` measures. Unset: ``local-labels`` for an
            objective, ``backprop`` (no claim) for a rule.
        window: How many layers, its own included, a layer may learn from by ``locality="window"``; else 1. Of an
            objective with more than 1, those of ``layer.peers`` that are in its windows have their modules.
        requires: What the rule needs of a run and of a network.
        presets: Named sets of options; by convention ``paper`` is the published form.
        run_defaults: Run settings that suit the rule, e.g. ``{"optimizer": {"lr": 1e-3}}``. User settings take
            precedence.
        model_defaults: Model options that suit the rule, e.g. ``{"norm": False}``, for models that have them. User
            settings take precedence.
        search_space: The options that matter most, the most important first, with the values that a search should try.
            ``reproduce league`` searches the first one, beside the learning rate.
        trains_layers: Whether hidden layers' parameters learn. If not, only the rule's own parameters do.
        trains_readout: Whether the readout is trained: for objectives by cross-entropy beside the layers. If not, an
            objective must derive from :class:`~localrules.CustomPrediction`, and a rule override ``predict``.
        not_compiled: The reason for which layers cannot be compiled under the rule (``compile``); empty: they can be.
        loss_scaling: Of a rule: whether all its backward passes go through ``context.backward``, so that it can be
            trained in fp16. Objectives always can.
        autocast: Objectives only: whether the objective runs under the run's mixed precision and sees tensors in the
            precision in which the layer computed them. Otherwise it runs in float32, outside of autocast.
    """

    formula: str = ""
    locality: Locality = None  # type: ignore[assignment]  # filled in when a class is defined
    window: int = 1
    requires: Requirements = field(default_factory=Requirements)
    presets: dict[str, dict[str, Any]] = field(default_factory=dict)
    run_defaults: dict[str, Any] = field(default_factory=dict)
    model_defaults: dict[str, Any] = field(default_factory=dict)
    search_space: dict[str, SearchValues] = field(default_factory=dict)
    trains_layers: bool = True
    trains_readout: bool = True
    not_compiled: str = ""
    loss_scaling: bool = False
    autocast: bool = False

    def replace(self, **changes: Any) -> RuleInfo:
        """A copy with some fields changed, for a subclass of a rule."""
        return replace(self, **changes)


class RuleBase(nn.Module):
    """Base of :class:`~localrules.Objective` and :class:`~localrules.Rule`.

    Attributes:
        Config: The options, typed, each with a description.
        info: What the rule claims, needs and recommends.
        config: The options of this instance.
    """

    Config: ClassVar[type[BaseModel]] = RuleConfig
    info: ClassVar[RuleInfo] = RuleInfo()
    _default_locality: ClassVar[Locality] = "backprop"

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.info.locality is None:
            cls.info = cls.info.replace(locality=cls._default_locality)

    def __init__(self, config: BaseModel | None = None) -> None:
        super().__init__()
        self.config = config if config is not None else self.Config()
