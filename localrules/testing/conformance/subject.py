"""A rule under test, and the small networks and runs that its checks use."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, TypeAlias, get_args, get_type_hints
from unittest import SkipTest

from localrules.config.overrides import merge
from localrules.core.model import Model
from localrules.core.objective import Objective
from localrules.core.rule import Rule
from localrules.data.dataset import Dataset
from localrules.engine.network_cache import NetworkCache
from localrules.engine.session import Session
from localrules.errors import UsageError
from localrules.registry.entries import KitNetwork, ModelEntry
from localrules.registry.registry import Registry
from localrules.testing.conformance.sessions import build_session, toy_dataset

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

RuleClass: TypeAlias = type[Objective] | type[Rule]

NETWORKS: tuple[str, ...] = get_args(get_type_hints(KitNetwork)["kind"])
"""The kinds of networks that the checks use."""

BATCH = 16

_NETWORKS = NetworkCache()

CUTS: dict[str | int, str] = {"layer": "by layer", "block": "by block", 1: "into one layer"}
"""The granularities at which the networks are tried, in words. Of the dense maps as one, that layer has two outputs."""


def abbreviate(names: Iterable[str], most: int = 6) -> str:
    """The first of some names, and how many more there are."""
    listed = list(names)
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more


class NotApplicable(SkipTest):
    """A check does not apply to the rule; the reason is its text. Test runners skip it."""


@dataclass(frozen=True)
class Bounds:
    """Accuracies on scikit-learn's digits that a rule has to reach in the check ``learns_digits``.

    Attributes:
        digits: On the first network that the rule can train.
        maps: On the chain of feature maps, if the first network is fully connected; by default ``digits``.
    """

    digits: float = 0.9
    maps: float | None = None


@dataclass(frozen=True)
class Place:
    """A network of the kit, cut into layers.

    Attributes:
        network: One of :data:`NETWORKS`.
        granularity: One of :data:`CUTS`.
    """

    network: str
    granularity: str | int = "layer"

    def __str__(self) -> str:
        return f"{self.network} cut {CUTS[self.granularity]}"


@dataclass(frozen=True)
class RuleUnderTest:
    """One rule.

    Attributes:
        rule: Its class.
        bounds: Accuracies that it has to reach.
    """

    rule: RuleClass
    bounds: Bounds = Bounds()

    @cached_property
    def networks(self) -> tuple[str, ...]:
        """Which of the small networks it can train: the first two, or the last where it can train neither.

        Raises:
            AssertionError: None of them.
        """
        found: list[str] = []
        why = ""
        for name in NETWORKS:
            if name == "chain of maps" and found:
                break
            reason = self.incompatibility(Place(name))
            if not reason:
                found.append(name)
            why = reason or why
        assert found, f"it can train none of the kit's networks ({', '.join(NETWORKS)}); the last said: {why}"
        return tuple(found)

    @cached_property
    def places(self) -> tuple[Place, ...]:
        """Its networks at each granularity at which it can train them, as long as the layers are others."""
        found: dict[tuple[str, ...], Place] = {}
        for network in self.networks:
            for granularity in CUTS:
                place = Place(network, granularity)
                if not self.incompatibility(place):
                    layers = tuple(layer.name for layer in self.session(place).network.layers)
                    found.setdefault((network, *layers), place)
        return tuple(found.values())

    @property
    def distinct_places(self) -> tuple[Place, ...]:
        """For checks that take long: each network by its layers, and all layers of the last one as one."""
        last = self.places[-1]
        return tuple(place for place in self.places if place.granularity == "layer" or place == last)

    def incompatibility(self, place: Place) -> str:
        """The reason why it cannot train a network; empty if it can."""
        try:
            self.session(place)
        except UsageError as error:
            return f"{error.what}: {error.why}"
        return ""

    @property
    def batch_size(self) -> int:
        """Of the checks' runs."""
        return max(BATCH, self.rule.info.requires.min_batch)

    def session(self, place: Place | None = None, *, data: Dataset | None = None, **settings: Any) -> Session:
        """A fresh run of 6 steps, with the rule's own defaults and nothing done to the images; always the same.

        Args:
            place: By default the first network that the rule can train, by its layers.
            data: By default two batches of small images.
            settings: Of the run.
        """
        place = place or Place(self.networks[0])
        model, kit = kit_network(place.network)
        settings = {"granularity": place.granularity, **settings}
        return self.run(model, kit.options, toy_images(2 * self.batch_size) if data is None else data, settings)

    def run(self, model: str, options: Mapping[str, Any], data: Dataset, settings: Mapping[str, Any]) -> Session:
        """A run on a model of ours, with the rule's own defaults for the run and for the model.

        Args:
            model: Its name.
            options: Its options.
            data: The images.
            settings: Of the run; they win over the rule's defaults.
        """
        kind = model_class(model)
        suits = {
            name: value for name, value in self.rule.info.model_defaults.items() if name in kind.Config.model_fields
        }
        plain = {"batch_size": self.batch_size, "augment": {"flip": False, "shift": 0}, "steps": 6, "epochs": None}
        below = merge(self.rule.info.run_defaults, plain)
        options = {**suits, **options}
        return build_session(self.rule, kind, data, model_options=options, networks=_NETWORKS, **merge(below, settings))


@cache
def toy_images(samples: int) -> Dataset:
    """Small images of four classes."""
    return toy_dataset(samples)


@cache
def kit_network(kind: str) -> tuple[str, KitNetwork]:
    """The name of the first of our own models of a kind, and how the kit uses it."""
    entries = (item.entry for item in Registry.load(allow=[]).entries("model"))
    return next(
        (entry.name, found)
        for entry in entries
        if isinstance(entry, ModelEntry) and (found := entry.kit_network) and found.kind == kind
    )


@cache
def model_class(name: str) -> type[Model]:
    """One of our own models; whatever else is installed does not matter."""
    found: type[Model] = Registry.load(allow=[]).resolve("model", name)
    return found
