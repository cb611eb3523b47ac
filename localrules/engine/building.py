"""From a configuration to live objects: every error names the option at fault."""

from __future__ import annotations

from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from pydantic import BaseModel, ValidationError

from localrules.core.model import Model
from localrules.core.network import Network
from localrules.core.objective import Objective
from localrules.core.rule import Rule
from localrules.data.dataset import DataSet
from localrules.data.holding_out import hold_out
from localrules.engine import mixing
from localrules.engine.config import Choice, RunConfig
from localrules.engine.layerwise import Layerwise
from localrules.errors import UsageError, nearest

if TYPE_CHECKING:
    from localrules.plugins import Registry


def options_of(config: type[BaseModel], options: dict[str, Any], where: str) -> BaseModel:
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
                fix=nearest(last, known),
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


def load_data(choice: Choice, registry: Registry) -> DataSet:
    """The data set that was chosen, in memory."""
    source = registry.resolve("data", choice.name)
    return source(options_of(source.Config, choice.options, "data")).load()


def run_data(config: RunConfig, registry: Registry) -> DataSet:
    """The data set of a run, with what it holds out of its training split in the place of the valid split."""
    data = load_data(config.data, registry)
    return hold_out(data, config.hold_out) if config.hold_out else data


def resolve(config: RunConfig, registry: Registry) -> RunConfig:
    """The configuration with every option of its rule, model and data set spelt out, presets and defaults applied.

    Raises:
        UsageError: An unknown name, option, preset or value.
    """
    parts = [part for _, part in mixing.choices(config.rule)]
    kinds = [registry.resolve("rule", part.name) for part in parts]
    suits: dict[str, Any] = {}
    for part, kind in zip(parts, kinds, strict=True):
        kind.requires.check(part.name, config.batch_size)
        suits |= kind.model_defaults
    rules = [_spelt_out(part, kind) for part, kind in zip(parts, kinds, strict=True)]
    model = registry.resolve("model", config.model.name)
    known = {name: value for name, value in suits.items() if _takes(model.Config, name, value)}
    options = options_of(model.Config, {**known, **config.model.options}, "model")
    data = options_of(registry.resolve("data", config.data.name).Config, config.data.options, "data")
    return config.model_copy(
        update={
            "rule": mixing.remade(config.rule, rules),
            "model": Choice(name=config.model.name, **_plain(options)),
            "data": Choice(name=config.data.name, **_plain(data)),
        }
    )


def _takes(config: type[BaseModel], name: str, value: Any) -> bool:
    """Whether there is such an option, and this is a value for it."""
    try:
        config(**{name: value})
    except ValidationError as error:
        return all(name not in problem["loc"] for problem in error.errors())
    return name in config.model_fields


def _spelt_out(choice: Choice, kind: type[Objective | Rule]) -> Choice:
    """A rule's choice with every option, its preset applied."""
    options = choice.options
    preset = options.pop("preset", None)
    if preset is not None:
        if preset not in kind.presets:
            raise UsageError(
                f"rule {choice.name!r} has no preset {preset!r}",
                where="rule.preset",
                fix=nearest(preset, list(kind.presets)),
            )
        options = {**kind.presets[preset], **options}
    return Choice(name=choice.name, **_plain(options_of(kind.Config, options, "rule")))


def _plain(options: BaseModel) -> dict[str, Any]:
    """Options as they are stored; a path is found again from any folder."""
    paths = {name: str(value.expanduser().absolute()) for name, value in options if isinstance(value, Path)}
    return options.model_dump(mode="json") | paths


def build_learner(
    config: RunConfig, registry: Registry, shape: tuple[int, ...], num_classes: int, device: torch.device
) -> tuple[Network, Rule]:
    """The network, initialised from the run's seed and with its layers marked, and the rule prepared for it."""
    network = _build_network(config, registry, shape, num_classes).to(device)
    if config.channels_last:
        network.to(memory_format=torch.channels_last)
    return network, _build_rule(config, registry, network, num_classes).to(device)


def _build_network(config: RunConfig, registry: Registry, shape: tuple[int, ...], num_classes: int) -> Network:
    kind = registry.resolve("model", config.model.name)
    options = options_of(kind.Config, config.model.options, "model")
    torch.manual_seed(config.seed)
    model: Model = kind(options, shape, num_classes)
    return Network.wrap(model, granularity=config.granularity, example=torch.zeros(2, *shape))


def _build_rule(config: RunConfig, registry: Registry, network: Network, num_classes: int) -> Rule:
    """An objective becomes a rule that trains each layer on it; several become one that mixes them."""
    made = [_made(choice, registry) for _, choice in mixing.choices(config.rule)]
    mixing.refuse_idle(config.rule, [layer.name for layer in network.hidden])
    for (_, choice), part in zip(mixing.choices(config.rule), made, strict=True):
        if misfit := part.requires.misfit(network):
            fix = f"`localrules rules show {choice.name}` lists the models that fit"
            raise cannot_train(choice.name, config.model.name, misfit, fix)
    if len(made) == 1 and isinstance(made[0], Rule):
        rule = made[0]
    else:
        rule = Layerwise({layer.name: _one_of(made, config, layer.name) for layer in network.hidden})
    rule.prepare(network, num_classes)
    return rule


def cannot_train(rule: str, model: str, why: str, fix: str) -> UsageError:
    """The error for a rule and a network that do not go together."""
    where = f"--rule {rule} --model {model}"
    return UsageError(f"rule {rule!r} cannot train {model!r}", where=where, why=why, fix=fix)


def _made(choice: Choice, registry: Registry) -> Objective | Rule:
    kind = registry.resolve("rule", choice.name)
    made = kind(options_of(kind.Config, choice.options, "rule"))
    if not isinstance(made, Objective | Rule):
        raise UsageError(
            f"{choice.name!r} is no rule",
            where=f"{kind.__module__}:{kind.__name__}",
            why="it is neither an Objective nor a Rule",
        )
    return made


def _one_of(made: list[Objective | Rule], config: RunConfig, layer: str) -> Objective:
    index = mixing.part_for(config.rule, layer)
    part = made[index]
    if not isinstance(part, Objective):
        raise UsageError(
            f"rule {mixing.choices(config.rule)[index][1].name!r} cannot be mixed with others",
            where="--rule",
            why="it takes the step of the whole network into its own hands",
            fix="mix rules that are a layer's objective; this one trains all layers or none",
        )
    return part
