"""Which networks a rule can train, found out by building them."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch

from localrules.config.validate import validate_config
from localrules.core.network import Granularity, Network
from localrules.core.objective import Objective
from localrules.core.windows import split_granularity
from localrules.data.targets import TargetsConfig
from localrules.engine.builder import incompatible_error
from localrules.engine.resolved_run import Component, ResolvedRun
from localrules.engine.windows import check_windows, window_incompatibility
from localrules.errors import LocalRulesError, PluginCodeError, UsageError, describe_exception

if TYPE_CHECKING:
    from localrules.core.base import RuleBase
    from localrules.core.model import Model
    from localrules.registry.registry import Registry

SHAPE, CLASSES = (1, 48, 48), 7  # the size of the project's faces


def compatible_models(rule: type[RuleBase], registry: Registry) -> list[dict[str, Any]]:
    """Try a rule's requirements on every installed network, with the options of the network that suit the rule.

    A rule that requires nothing of a network trains all of them. For the others networks are built for grey images
    of 48 x 48, without memory for their weights where they allow it. Entries that stand for many networks, as
    ``timm:NAME`` does, are left out.

    Args:
        rule: The rule's class.
        registry: Where networks are looked up.

    Returns:
        ``name, fits, why`` for each; ``why`` says what stands against it, or that it could not be tried.
    """
    found = []
    for item in registry.entries("model"):
        if item.entry.argument:  # a whole package of networks
            continue
        try:
            why = _incompatibility(rule, item.entry.name, registry) if rule.info.requires.constrains_network else ""
        except LocalRulesError as error:
            why = error.what
        except Exception as error:  # of a plugin's network: it stands against that network alone
            why = f"it cannot be tried: {describe_exception(error)}"
        found.append({"name": item.entry.name, "fits": not why, "why": why})
    return found


def check_compatibility(run: ResolvedRun, registry: Registry) -> None:
    """Say that a rule cannot train the run's network before its data are read or drawn.

    The network is tried on images of another size than the run's. Where it cannot be built for those, nothing is
    said: it is built again, and looked at again, when the data are there.

    Raises:
        UsageError: It cannot, with the reason, and with the networks that fit.
    """
    windows = run.config.granularity != split_granularity(run.config.granularity)[0]
    for part in run.rule_parts:
        if windows and window_incompatibility(part.cls):
            able = _rules_that(lambda cls: not window_incompatibility(cls), registry)
            check_windows(part.name, part.cls, ", ".join(able))
        requires = part.cls.info.requires
        if not requires.constrains_network:
            continue
        try:
            network = _build(run.model, run.config.granularity)
        except Exception:  # whatever a model may raise: with the run's own images it is said, or does not happen
            return
        if why := requires.incompatibility(network):
            raise incompatible_error(part.name, run.model.name, why, _suggest_models(part.name, part.cls, registry))


def _rules_that(fits: Callable[[type[RuleBase]], bool], registry: Registry) -> list[str]:
    names = []
    for item in registry.entries("rule"):
        with suppress(LocalRulesError):  # of a broken plugin
            if fits(registry.resolve("rule", item.entry.name)):
                names.append(item.entry.name)
    return names


def check_precision(run: ResolvedRun, registry: Registry) -> None:
    """Refuse fp16 for a rule whose losses the engine cannot scale.

    Raises:
        UsageError: With the rules that can be trained in fp16.
    """
    if run.config.precision != "fp16":
        return
    for part in run.rule_parts:
        if not scales_losses(part.cls):
            able = _rules_that(scales_losses, registry)
            raise UsageError(
                f"rule {part.name!r} cannot be trained in fp16",
                where="--precision fp16",
                why="small gradients become zero there unless losses are scaled, and this rule computes gradients by "
                "itself, so that the engine cannot scale them",
                fix=f"choose --precision bf16 or fp32, or one of these rules: {', '.join(able)}",
            )


def scales_losses(cls: type[RuleBase]) -> bool:
    """Whether a rule leaves its backward passes to the engine, so that losses can be scaled."""
    return issubclass(cls, Objective) or cls.info.loss_scaling


def check_targets(rule: str, kind: type[RuleBase], config: TargetsConfig, registry: Registry) -> None:
    """Say that a rule cannot learn from the run's targets.

    Args:
        rule: Its name.
        kind: Its class.
        config: The targets.
        registry: Where rules that can are looked up.

    Raises:
        UsageError: It cannot, with the rules that can.
    """
    if kind.info.requires.admits(config.kind):
        return
    asked = [name for name in TargetsConfig.model_fields if getattr(config, name)]
    wanted = "class weights" if config.class_weights is not None else "probabilities of classes"
    able = _rules_that(lambda cls: cls.info.requires.admits(config.kind), registry)
    raise UsageError(
        f"rule {rule!r} cannot learn from {wanted}",
        where=", ".join(f"targets.{name}" for name in asked),
        why="it compares samples by their labels, or has another use for these than a loss that could be weighted",
        fix=f"leave it out, or choose one of these rules: {', '.join(able) or 'none is installed'}",
    )


def _suggest_models(name: str, rule: type[RuleBase], registry: Registry) -> str:
    fits = [model["name"] for model in compatible_models(rule, registry) if model["fits"]]
    if not fits:
        return f"no installed network fits; `localrules rules show {name}` says what stands against each"
    return f"these fit, cut by layer and with the options that the rule brings: --model {' or '.join(fits)}"


def _incompatibility(rule: type[RuleBase], name: str, registry: Registry) -> str:
    kind, info = registry.resolve("model", name), rule.info
    suits = {key: value for key, value in info.model_defaults.items() if key in kind.Config.model_fields}
    return info.requires.incompatibility(_built_with(kind, name, json.dumps(suits, sort_keys=True)))


@lru_cache(maxsize=64)  # rule after rule asks for the same networks
def _built_with(kind: type[Model], name: str, options: str) -> Network:
    """A network with these options, as JSON."""
    return _build(Component(name, kind, validate_config(kind.Config, json.loads(options), "model")))


def _build(model: Component, granularity: Granularity = "layer") -> Network:
    """A network for images of the usual size, without memory for its weights where it allows that."""

    def built(device: str) -> Network:
        with torch.device(device):
            example = torch.zeros(2, *SHAPE)
            return Network.wrap(model.build(SHAPE, CLASSES), granularity=granularity, example=example)

    try:
        return built("meta")
    except (
        RuntimeError,
        NotImplementedError,
        PluginCodeError,
    ):  # it asks for values, which tensors without memory do not have
        return built("cpu")
