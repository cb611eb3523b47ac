"""From a configuration to live objects: every error names the option at fault."""

from __future__ import annotations

from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from pydantic import BaseModel, ValidationError

from localrules.config.schema import ComponentConfig, RunConfig
from localrules.core.model import Model
from localrules.core.network import Network
from localrules.core.objective import Objective
from localrules.core.rule import Rule
from localrules.data.dataset import Dataset
from localrules.data.splits import split_holdout
from localrules.engine import mixture as mixing
from localrules.engine.layerwise import LayerwiseRule, ObjectiveSpec
from localrules.errors import UsageError, suggest_names

if TYPE_CHECKING:
    from localrules.registry.registry import Registry


def validate_config(config: type[BaseModel], options: dict[str, Any], where: str) -> BaseModel:
    """Fill a ``Config`` from options.

    Raises:
        UsageError: An unknown option or a bad value, named as the user would type it.
    """
    try:
        return config(**options)
    except ValidationError as error:
        first = error.errors()[0]
        # pydantic adds which member of a union it tried; nobody types that.
        parts = takewhile(lambda part: isinstance(part, int) or part.isidentifier(), first["loc"])
        field = ".".join(str(part) for part in parts)
        name = f"{where}.{field}" if where and field else where or field
        if first["type"] == "extra_forbidden":
            *tables, last = field.split(".")
            known = list(_nested(config, tables).model_fields)
            raise UsageError(
                f"there is no option {name!r}",
                where=f"--set {name}=...",
                why=f"options here: {', '.join(known) or 'none'}",
                fix=suggest_names(last, known),
            ) from None
        if not field:
            raise UsageError("these settings do not go together", where=where, why=first["msg"]) from None
        raise UsageError(
            f"option {name!r} has a value that does not fit",
            where=f"--set {name}=...",
            why=f"{first['msg']}; found {first.get('input')!r}",
            fix=_description(config, field),
        ) from None


def _nested(config: type[BaseModel], tables: list[str]) -> type[BaseModel]:
    """The section that dotted names lead to."""
    for table in tables:
        known = config.model_fields.get(table)
        if known is not None and isinstance(known.annotation, type) and issubclass(known.annotation, BaseModel):
            config = known.annotation
    return config


def _description(config: type[BaseModel], field: str) -> str:
    known = config.model_fields.get(field.split(".")[0])
    return (known.description or "") if known else ""


def load_dataset(choice: ComponentConfig, registry: Registry) -> Dataset:
    """The data set that was chosen, in memory."""
    source = registry.resolve("data", choice.name)
    return source(validate_config(source.Config, choice.options, "data")).load()


def load_run_dataset(config: RunConfig, registry: Registry) -> Dataset:
    """The data set of a run, with what it holds out of its training split in the place of the valid split."""
    data = load_dataset(config.data, registry)
    return split_holdout(data, config.holdout_fraction) if config.holdout_fraction else data


def resolve_config(config: RunConfig, registry: Registry) -> RunConfig:
    """The configuration with every option of its rule, model and data set spelt out, presets and defaults applied.

    Raises:
        UsageError: An unknown name, option, preset or value.
    """
    parts = [part for _, part in mixing.mixture_parts(config.rule)]
    kinds = [registry.resolve("rule", part.name) for part in parts]
    suits: dict[str, Any] = {}
    for part, kind in zip(parts, kinds, strict=True):
        kind.info.requires.check(part.name, config.batch_size)
        suits |= kind.info.model_defaults
    rules = [_resolve_rule(part, kind) for part, kind in zip(parts, kinds, strict=True)]
    model = registry.resolve("model", config.model.name)
    known = {name: value for name, value in suits.items() if _accepts(model.Config, name, value)}
    options = validate_config(model.Config, {**known, **config.model.options}, "model")
    data = validate_config(registry.resolve("data", config.data.name).Config, config.data.options, "data")
    return config.model_copy(
        update={
            "rule": mixing.replace_parts(config.rule, rules),
            "model": ComponentConfig(name=config.model.name, **_to_plain_dict(options)),
            "data": ComponentConfig(name=config.data.name, **_to_plain_dict(data)),
        }
    )


def _accepts(config: type[BaseModel], name: str, value: Any) -> bool:
    """Whether there is such an option, and this is a value for it."""
    try:
        config(**{name: value})
    except ValidationError as error:
        return all(name not in problem["loc"] for problem in error.errors())
    return name in config.model_fields


def _resolve_rule(choice: ComponentConfig, kind: type[Objective | Rule]) -> ComponentConfig:
    """A rule's choice with every option, its preset applied."""
    options = choice.options
    preset = options.pop("preset", None)
    if preset is not None:
        if preset not in kind.info.presets:
            raise UsageError(
                f"rule {choice.name!r} has no preset {preset!r}",
                where="rule.preset",
                fix=suggest_names(preset, list(kind.info.presets)),
            )
        options = {**kind.info.presets[preset], **options}
    return ComponentConfig(name=choice.name, **_to_plain_dict(validate_config(kind.Config, options, "rule")))


def _to_plain_dict(options: BaseModel) -> dict[str, Any]:
    """Options as they are stored; a path is found again from any folder."""
    paths = {name: str(value.expanduser().absolute()) for name, value in options if isinstance(value, Path)}
    return options.model_dump(mode="json") | paths


def build_network_and_rule(
    config: RunConfig, registry: Registry, shape: tuple[int, ...], num_classes: int, device: torch.device
) -> tuple[Network, Rule]:
    """The network, initialised from the run's seed and with its layers marked, and the rule prepared for it."""
    network = _build_network(config, registry, shape, num_classes).to(device)
    if config.channels_last:
        network.to(memory_format=torch.channels_last)
    return network, _build_rule(config, registry, network, num_classes).to(device)


def _build_network(config: RunConfig, registry: Registry, shape: tuple[int, ...], num_classes: int) -> Network:
    kind = registry.resolve("model", config.model.name)
    options = validate_config(kind.Config, config.model.options, "model")
    torch.manual_seed(config.seed)
    model: Model = kind(options, shape, num_classes)
    return Network.wrap(model, granularity=config.granularity, example=torch.zeros(2, *shape))


def _build_rule(config: RunConfig, registry: Registry, network: Network, num_classes: int) -> Rule:
    """One rule for the network: a rule itself, or one made of every hidden layer's objective."""
    parts = [_rule_class(choice, registry) for _, choice in mixing.mixture_parts(config.rule)]
    mixing.check_patterns_used(config.rule, [layer.name for layer in network.hidden])
    for (_, choice), part in zip(mixing.mixture_parts(config.rule), parts, strict=True):
        if misfit := part.cls.info.requires.incompatibility(network):
            fix = f"`localrules rules show {choice.name}` lists the models that fit"
            raise incompatible_error(choice.name, config.model.name, misfit, fix)
    rule: Rule
    if len(parts) == 1 and issubclass(parts[0].cls, Rule):
        rule = parts[0].cls(parts[0].config)
    else:
        rule = LayerwiseRule({layer.name: _objective_for(parts, config, layer.name) for layer in network.hidden})
    rule.prepare(network, num_classes)
    return rule


def incompatible_error(rule: str, model: str, why: str, fix: str) -> UsageError:
    """The error for a rule and a network that do not go together."""
    where = f"--rule {rule} --model {model}"
    return UsageError(f"rule {rule!r} cannot train {model!r}", where=where, why=why, fix=fix)


class _Part(NamedTuple):
    """A rule's class and options."""

    cls: type[Objective | Rule]
    config: BaseModel


def _rule_class(choice: ComponentConfig, registry: Registry) -> _Part:
    kind = registry.resolve("rule", choice.name)
    return _Part(kind, validate_config(kind.Config, choice.options, "rule"))


def _objective_for(parts: list[_Part], config: RunConfig, layer: str) -> ObjectiveSpec:
    index = mixing.part_index(config.rule, layer)
    cls, options = parts[index]
    if not issubclass(cls, Objective):
        raise UsageError(
            f"rule {mixing.mixture_parts(config.rule)[index][1].name!r} cannot be mixed with others",
            where="--rule",
            why="it trains the whole network in a step of its own",
            fix="mix rules that are a layer's objective; this one trains all layers or none",
        )
    return ObjectiveSpec(cls, options)
