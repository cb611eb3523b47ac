"""Small sessions to measure on: a rule and a model in hand, and a few made-up images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch

from localrules.config.schema import RunConfig
from localrules.config.settings import Settings
from localrules.config.validate import validate_config
from localrules.data.dataset import Dataset, Split
from localrules.engine.network_cache import NetworkCache
from localrules.engine.resolve import resolve_config
from localrules.engine.session import Session

if TYPE_CHECKING:
    from collections.abc import Mapping

    from localrules.core.model import Model
    from localrules.core.objective import Objective
    from localrules.core.rule import Rule
    from localrules.registry.registry import Registry


def toy_dataset(
    samples: int = 32, classes: int = 4, shape: tuple[int, int, int] = (1, 16, 16), seed: int = 0
) -> Dataset:
    """Noisy images, each with its class's own pattern in it, the classes in turn.

    Args:
        samples: Images in each split.
        classes: How many classes.
        shape: One image's channels, height, width.
        seed: Of patterns and noise.
    """
    draws = torch.Generator().manual_seed(seed)
    patterns = torch.randint(0, 128, (classes, *shape), generator=draws)
    splits = {}
    for name in ("train", "valid"):
        labels = torch.arange(samples) % classes
        noise = torch.randint(0, 128, (samples, *shape), generator=draws)
        splits[name] = Split((patterns[labels] + noise).to(torch.uint8), labels)
    names = tuple(f"class {index}" for index in range(classes))
    return Dataset("tiny", names, splits, "made up", f"tiny {samples} {classes} {shape} {seed}", redistributable=True)


class StaticRegistry:
    """Looks up classes that are in hand already, where a run looks them up among plugins."""

    def __init__(self, rule: type[Objective | Rule], model: type[Model]) -> None:
        self._classes: dict[str, Any] = {"rule": rule, "model": model}

    def resolve(self, kind: str, name: str) -> Any:
        """The class of that kind, whatever the name."""
        return self._classes[kind]


def build_session(
    rule: type[Objective | Rule],
    model: type[Model],
    data: Dataset,
    *,
    rule_options: Mapping[str, Any] | None = None,
    model_options: Mapping[str, Any] | None = None,
    networks: NetworkCache | None = None,
    **settings: Any,
) -> Session:
    """A session for a few steps on one thread of a CPU; building it again gives the same bits.

    Args:
        rule: The rule's class.
        model: The model's class.
        data: For instance :func:`toy_dataset`.
        rule_options, model_options: Their options; ``preset`` is one of the rule's.
        networks: Networks of other sessions, to begin with a copy of one of them.
        settings: Settings of the run, as in its configuration. By default 6 steps of 16 images at a constant
            learning rate.

    Raises:
        UsageError: As for a run.
    """
    registry = cast("Registry", StaticRegistry(rule, model))
    tree = {
        "rule": {"name": rule.__name__, **(rule_options or {})},
        "model": {"name": model.__name__, **(model_options or {})},
        "data": {"name": data.name},
        "steps": 6,
        "epochs": None,
        "batch_size": 16,
        "device": "cpu",
        "schedule": {"name": "constant"},
        **settings,
    }
    config = validate_config(RunConfig, Settings.from_tree(tree))
    return Session.build(resolve_config(config, registry, network_only=True), data, networks=networks)
