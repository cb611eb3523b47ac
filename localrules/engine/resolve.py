"""From settings to a resolved run: defaults, preset and settings merged once, and validated once into typed objects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from localrules.config.mixture import MIXED, MixturePart, mixture_parts
from localrules.config.overrides import COMPONENTS, Tree
from localrules.config.schema import ComponentConfig, RuleAssignment, RunConfig
from localrules.config.settings import Settings, as_defaults, merge_settings
from localrules.config.validate import check_config_class, validate_config
from localrules.core.base import RuleBase
from localrules.engine.compatibility import check_compatibility, check_precision, check_targets
from localrules.engine.resolved_run import Component, ResolvedRun, RulePart, tracker_options
from localrules.errors import UsageError, suggest_names
from localrules.utils.plugin_border import plugin_border

if TYPE_CHECKING:
    from localrules.registry.registry import Registry


def resolve_run(
    settings: Settings | Mapping[str, Any], registry: Registry, *, network_only: bool = False
) -> ResolvedRun:
    """Resolve a run from the settings that were given.

    Below them lie the preset that they name, and below that the defaults of the rule (of a mixture: the last part's,
    by which all other layers learn).

    Args:
        settings: Nested, e.g. ``{"rule": "hsic", "model": {"name": "mlp"}, "data": "faces", "epochs": 1}``.
        registry: Where names are looked up.
        network_only: Leave data and trackers out; then the plugins that supply them need not be installed.

    Raises:
        UsageError: An unknown name or option, a value that does not fit, or a network that the rule cannot train; it
            names the source of what is wrong.
    """
    given = settings if isinstance(settings, Settings) else Settings.from_tree(settings)
    _check_named(given, "rule")
    parts = mixture_parts(given.tree["rule"], given.source_of("rule", "layers"))
    kinds = [_look_up("rule", part.name, registry, given.sub(*part.location)) for part in parts]
    own = given.without("preset")
    preset = as_defaults(_preset(given, kinds, registry), own)
    defaults = Settings.from_tree(kinds[-1].info.run_defaults, f"default of rule {parts[-1].name}")
    merged = merge_settings(as_defaults(defaults, merge_settings(preset, own)), preset, own)
    _check_named(merged, *COMPONENTS)
    run = _validated(merged, parts, kinds, registry, network_only)
    check_compatibility(run, registry)
    check_precision(run, registry)
    return run


def resolve_config(config: RunConfig, registry: Registry, *, network_only: bool = False) -> ResolvedRun:
    """Resolve a run from its own settings alone, e.g. those of a run folder: nothing lies below them.

    Args:
        config: The settings.
        registry: Where names are looked up.
        network_only: As for :func:`resolve_run`.

    Raises:
        UsageError: As for :func:`resolve_run`, except that the network is not built.
    """
    settings = Settings.from_tree(config.to_dict())
    parts = mixture_parts(settings.tree["rule"])
    kinds = [_look_up("rule", part.name, registry, Settings()) for part in parts]
    return _validated(settings, parts, kinds, registry, network_only)


def resolve_component(kind: str, settings: Settings | Mapping[str, Any], registry: Registry) -> Component:
    """Look up a model or a data set and validate its options.

    Args:
        kind: ``model`` or ``data``.
        settings: Its ``name``, and its options.
        registry: Where it is looked up.

    Raises:
        UsageError: An unknown name or option, or a value that does not fit.
    """
    settings = settings if isinstance(settings, Settings) else Settings(dict(settings))
    name = settings.tree["name"]
    found = _look_up(kind, name, registry, settings)
    value = name.partition(":")[2]
    if value and (argument := registry.find(kind, name).entry.argument):
        settings = merge_settings(settings, Settings.from_tree({argument: value}, settings.source_of("name")))
    return Component(name, found, _with_absolute_paths(validate_config(found.Config, settings.without("name"), kind)))


def spell_out_presets(settings: Settings, rule: str, registry: Registry) -> Settings:
    """Settings with the presets that they name as settings of their own, to be laid over those of a run.

    Args:
        settings: May name a preset of a run (``preset``) and one of a rule (``rule.preset``).
        rule: The name of the rule that they are for, or ``mixed``.
        registry: Where names are looked up.
    """
    kinds = [] if rule == MIXED else [_look_up("rule", rule, registry, settings.sub("rule"))]
    own = settings.without("preset")
    merged = merge_settings(as_defaults(_preset(settings, kinds, registry), own), own)
    preset = merged.get("rule", "preset")
    if not kinds or preset not in kinds[0].info.presets:
        return merged
    return merge_settings(_rule_preset(merged.sub("rule"), rule, kinds[0]).under("rule"), merged)


def _check_named(settings: Settings, *kinds: str) -> None:
    for kind in kinds:
        if settings.get(kind, "name") is None:
            raise UsageError(f"no {kind} is named", where=f"{kind}.name", fix=f"`localrules {_LISTS[kind]}` lists them")


_LISTS = {"rule": "rules", "model": "models", "data": "data"}


def _look_up(kind: str, name: str, registry: Registry, settings: Settings) -> Any:
    try:
        found = registry.resolve(kind, name)
    except UsageError as error:
        error.where = settings.source_of("name") or error.where
        raise
    check_config_class(found)
    return found


def _preset(settings: Settings, kinds: list[type[RuleBase]], registry: Registry) -> Settings:
    """The settings of the preset that is named, if any."""
    name = settings.get("preset")
    if name is None:
        return Settings()
    try:
        preset = registry.resolve("preset", name)
    except UsageError as error:
        error.where = settings.source_of("preset") or error.where
        raise
    found = Settings.from_tree(preset, f"preset {name}")
    own = found.get("rule", "preset")
    # The control of a paper's experiment has the same settings, and no form of its own in that paper.
    if own is not None and not (len(kinds) == 1 and own in kinds[0].info.presets):
        rule = found.sub("rule").without("preset")
        found = merge_settings(found.without("rule"), rule.under("rule"))
    return found


def _rule_preset(options: Settings, name: str, kind: type[RuleBase]) -> Settings:
    """The options of the preset of a rule that its options name, if any."""
    preset = options.get("preset")
    if preset is None:
        return Settings()
    presets = kind.info.presets
    if preset not in presets:
        raise UsageError(
            f"rule {name!r} has no preset {preset!r}",
            where=options.source_of("preset") or "rule.preset",
            fix=suggest_names(preset, list(presets)),
        )
    return _options(presets[preset], f"preset {preset} of rule {name}")


def _options(options: Mapping[str, Any], source: str) -> Settings:
    """The options of one plugin, all of one source."""
    return Settings.from_tree({"options": options}, source).sub("options")


def _validated(
    settings: Settings,
    parts: tuple[MixturePart, ...],
    kinds: list[type[RuleBase]],
    registry: Registry,
    network_only: bool,
) -> ResolvedRun:
    """The run of settings to which nothing is to be added but the rules' presets and their defaults for the model."""
    rules = tuple(_rule_part(part, kind, settings.sub(*part.location)) for part, kind in zip(parts, kinds, strict=True))
    model = resolve_component("model", _with_model_defaults(settings.sub("model"), rules, registry), registry)
    data = None if network_only else resolve_component("data", settings.sub("data"), registry)
    trackers = () if network_only else _trackers(settings.sub("trackers"), registry)
    spelt: Tree = {
        "rule": RuleAssignment(parts=tuple((part.pattern, _spelt_out(part)) for part in rules)),
        "model": _spelt_out(model),
    }
    if data is not None:
        spelt |= {"data": _spelt_out(data), "trackers": tracker_options(trackers)}
    config = validate_config(RunConfig, replace(settings, tree={**settings.tree, **spelt}))
    for part in rules:
        try:
            part.cls.info.requires.check(part.name, config.batch_size)
        except UsageError as error:
            error.where = settings.source_of("batch_size") or error.where
            raise
        check_targets(part.name, part.cls, config.targets, registry)
    return ResolvedRun(config, rules, model, data, trackers)


def _rule_part(part: MixturePart, kind: type[RuleBase], options: Settings) -> RulePart:
    """A rule with its options, the preset that they name applied."""
    pattern = ("layers",) if len(part.location) > 1 else ()  # beside the options of a mixture's part
    own = _over(_rule_preset(options, part.name, kind), options).without("name", "preset", *pattern)
    return RulePart(part.name, kind, _with_absolute_paths(validate_config(kind.Config, own, "rule")), part.pattern)


def _over(*layers: Settings) -> Settings:
    """The options of one plugin laid over each other."""
    return merge_settings(*(layer.under("options") for layer in layers)).sub("options")


def _with_model_defaults(model: Settings, rules: tuple[RulePart, ...], registry: Registry) -> Settings:
    """The model's options over those that suit the rules, where it takes such."""
    config = _look_up("model", model.tree["name"], registry, model).Config
    layers = [
        _options(
            {key: value for key, value in part.cls.info.model_defaults.items() if _accepts(config, key, value)},
            f"default of rule {part.name}",
        )
        for part in rules
    ]
    return _over(*layers, model)


def _accepts(config: type[BaseModel], name: str, value: Any) -> bool:
    """Whether there is such an option, and this is a value for it."""
    try:
        config(**{name: value})
    except ValidationError as error:
        return all(name not in problem["loc"] for problem in error.errors())
    return name in config.model_fields


def _trackers(settings: Settings, registry: Registry) -> tuple[Component, ...]:
    found = []
    for name in settings.tree:
        source = settings.source_of(name)
        cls = _look_up("tracker", name, registry, Settings({"name": name}, {("name",): source}))
        found.append(Component(name, cls, validate_config(cls.Config, settings.sub(name), name)))
    return tuple(found)


def _with_absolute_paths(config: BaseModel) -> BaseModel:
    """Options whose paths are found again from any folder."""
    paths = {name: value.expanduser().absolute() for name, value in config if isinstance(value, Path)}
    return config.model_copy(update=paths) if paths else config


def _spelt_out(component: Component) -> ComponentConfig:
    """A component's options in full, as they are stored."""
    with plugin_border(component.cls, "Config"):
        return ComponentConfig(name=component.name, **component.config.model_dump(mode="json"))
