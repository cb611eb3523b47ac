"""A run whose plugins, options and settings are all known: what the builder builds from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel

from localrules.config.overrides import Tree
from localrules.config.schema import RunConfig
from localrules.core.base import RuleBase
from localrules.core.locality import LOCALITY_LEVELS, Locality
from localrules.core.windows import Granularity, split_granularity
from localrules.utils.plugin_border import plugin_border


@dataclass(frozen=True)
class Component:
    """A plugin of a run: a model, a data set or a tracker.

    Attributes:
        name: As the settings name it.
        cls: Its class.
        config: Its options, validated by the class's own ``Config``.
    """

    name: str
    cls: Any
    config: BaseModel

    def build(self, *args: Any) -> Any:
        """An instance with these options.

        Raises:
            PluginCodeError: The constructor failed.
        """
        with plugin_border(self.cls, "__init__"):
            return self.cls(self.config, *args)


@dataclass(frozen=True)
class RulePart(Component):
    """A rule of a run, and the layers that it trains.

    Attributes:
        pattern: Of the layers' names; ``*`` for a rule that trains them all.
    """

    pattern: str = "*"


@dataclass(frozen=True)
class ResolvedRun:
    """A run, resolved: nothing is left to look up, to merge or to validate before it is built.

    Attributes:
        config: Its settings, with every option of its plugins written out, as ``config.toml`` stores them.
        rule_parts: Its rule; of a mixture all of them, in the order in which their patterns are tried.
        model: Its network.
        data: Its data set; ``None`` in a run that is resolved for its network alone.
        trackers: Its trackers.
    """

    config: RunConfig
    rule_parts: tuple[RulePart, ...]
    model: Component
    data: Component | None = None
    trackers: tuple[Component, ...] = ()

    @property
    def locality(self) -> Locality:
        """The declared class of locality; of a mixture, the furthest; in windows of layers, ``window`` at least."""
        return declared_locality([part.cls for part in self.rule_parts], self.config.granularity)

    @property
    def window(self) -> int:
        """From how many layers a layer may learn, its own included: by the granularity, and by what rules declare."""
        _, window = split_granularity(self.config.granularity)
        return window + max(part.cls.info.window for part in self.rule_parts) - 1

    def with_settings(self, **settings: Any) -> ResolvedRun:
        """The same run with other settings of its own, e.g. ``seed=1``; the values are taken as they are."""
        return replace(self, config=self.config.model_copy(update=settings))

    def with_tracker_options(self, name: str, **options: Any) -> ResolvedRun:
        """The same run with other options of one of its trackers; the values are taken as they are."""
        trackers = tuple(
            replace(tracker, config=tracker.config.model_copy(update=options)) if tracker.name == name else tracker
            for tracker in self.trackers
        )
        return replace(self.with_settings(trackers=tracker_options(trackers)), trackers=trackers)


def declared_locality(rules: Sequence[type[RuleBase]], granularity: Granularity) -> Locality:
    """The furthest class of locality that rules declare, and ``window`` at least in windows of layers."""
    declared: list[Locality] = [rule.info.locality for rule in rules]
    windows: list[Locality] = ["window"] if split_granularity(granularity)[1] > 1 else []
    return max([*declared, *windows], key=LOCALITY_LEVELS.index)


def tracker_options(trackers: tuple[Component, ...]) -> dict[str, Tree]:
    """The settings of a run's trackers: the options that were given."""
    return {tracker.name: tracker.config.model_dump(mode="json", exclude_unset=True) for tracker in trackers}
