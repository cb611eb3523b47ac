"""Validation of settings: every error names the setting and the source of its value."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticUndefinedAnnotation, PydanticUserError
from pydantic.json_schema import PydanticJsonSchemaWarning

from localrules.config.settings import Settings
from localrules.errors import PluginCodeError, UsageError, error_text, shorten, suggest_names
from localrules.utils.plugin_border import definition, name_of, plugin_border
from localrules.utils.text import has_surrogates

ConfigT = TypeVar("ConfigT", bound=BaseModel)


def validate_config(config: type[ConfigT], settings: Settings | Mapping[str, Any], name: str = "") -> ConfigT:
    """Fill a ``Config`` from settings.

    Args:
        config: The class.
        settings: Its options.
        name: The table that holds them, e.g. ``rule``; empty for the settings of the run.

    Raises:
        UsageError: An unknown option or a bad value, with its source.
    """
    settings = settings if isinstance(settings, Settings) else Settings(dict(settings))
    _check_text(settings, name)
    with plugin_border(config, "__init__"):
        try:
            made = config(**settings.tree)
        except ValidationError as error:
            raise _error(config, settings, name, error) from None
    _check_booleans(made, settings.tree, settings, (name,) if name else ())
    return made


def _check_booleans(made: BaseModel, tree: Mapping[str, Any], settings: Settings, location: tuple[str, ...]) -> None:
    """Refuse ``true`` for a number, which pydantic takes for 1.

    Raises:
        UsageError: A number was given as a boolean.
    """
    for key, value in tree.items():
        found = getattr(made, key, None)
        if isinstance(value, Mapping) and isinstance(found, BaseModel):
            _check_booleans(found, value, settings, (*location, key))
        elif isinstance(value, bool) and isinstance(found, int | float) and not isinstance(found, bool):
            option = ".".join((*location, key))
            raise UsageError(
                f"option {option!r} has a value that does not fit",
                where=settings.source_of(*location, key) or f"--set {option}=...",
                why=f"it is a number; found {_shown(value)}",
                fix=_description(type(made), (key,)),
            )


def _check_text(settings: Settings, name: str) -> None:
    """Refuse text that config.toml, which is UTF-8, cannot hold.

    Raises:
        UsageError: A name or a value with bytes that are not UTF-8, as names of files may have.
    """
    for location, text in settings.texts():
        if has_surrogates(text):
            option = ".".join(str(part) for part in ((name, *location) if name else location))
            raise UsageError(
                f"option {option!r} is not UTF-8",
                where=settings.source_of(*location),
                why="a run writes its settings into config.toml, which is UTF-8",
                fix="rename the file, or link to it under another name: ln -s",
            )


def check_config_class(cls: type) -> None:
    """See that a plugin's class has options that can be filled and stored.

    Raises:
        PluginCodeError: Its ``Config`` is not a pydantic model, or has a field that ``config.toml`` cannot hold.
    """
    config = getattr(cls, "Config", None)
    if not (isinstance(config, type) and issubclass(config, BaseModel)):
        raise PluginCodeError(
            f"the Config of {name_of(cls)} is not a class of options",
            where=definition(cls),
            why=f"it is {_shown_class(config)}",
            fix="class Config(RuleConfig): with a typed field for each option (of a model or data set: pydantic's "
            "BaseModel)",
        )
    try:
        _check_schema(config)
    except PydanticUndefinedAnnotation as error:
        raise _undefined_error(cls, error) from error
    except PydanticInvalidForJsonSchema as error:
        raise PluginCodeError(
            f"the Config of {name_of(cls)} has an option that config.toml cannot hold",
            where=definition(cls),
            why=error_text(error).partition(" For further information")[0],
            fix="make it a number, a text, a list or a path, and compute the tensor in the constructor",
        ) from error
    except PydanticUserError as error:  # one that pydantic could not define
        raise _undefined_error(cls, error) from error


@cache
def _check_schema(config: type[BaseModel]) -> None:
    """Make the JSON schema of options, which takes 5 ms, and fails for what cannot be stored."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PydanticJsonSchemaWarning)  # a default that has no JSON is met when stored
        config.model_json_schema()


def _undefined_error(cls: type, error: Exception) -> PluginCodeError:
    return PluginCodeError(
        f"the Config of {name_of(cls)} is not whole",
        where=definition(cls),
        why=error_text(error).partition(" For further information")[0],
        fix="import the type that an option names in the module of the class, not under TYPE_CHECKING alone",
    )


def _shown_class(config: object) -> str:
    if isinstance(config, type):
        return f"the class {config.__name__}, which is not derived from localrules.RuleConfig"
    return f"an object of type {type(config).__name__}"


def _error(config: type[BaseModel], settings: Settings, name: str, error: ValidationError) -> UsageError:
    first = error.errors()[0]
    # pydantic adds which member of a union it tried; nobody types that.
    location = first["loc"] if first["type"] == "extra_forbidden" else _typed_location(first["loc"], settings)
    option = ".".join(str(part) for part in ((name, *location) if name else location))
    where = settings.source_of(*location) or (f"--set {option}=..." if location else name)
    if first["type"] == "extra_forbidden":
        known = list(_section(config, location[:-1]).model_fields)
        return UsageError(
            f"there is no option {option!r}",
            where=where,
            why=f"options here: {', '.join(known) or 'none'}",
            fix=suggest_names(str(location[-1]).replace("-", "_"), known),
        )
    why, found = first["msg"].removeprefix("Value error, "), first.get("input")
    if not location or (first["type"] == "value_error" and isinstance(found, Mapping)):  # of a section as a whole
        given = found if isinstance(found, Mapping) else settings.tree
        fields = _section(config, location).model_fields
        named = [field for field in fields if re.search(rf"\b{field}\b", why) and field in given]
        places = [settings.source_of(*location, field) for field in named]
        fix = "change one of them" if len(named) > 1 else ""
        where = "; ".join(dict.fromkeys(filter(None, places))) or where
        return UsageError("these settings do not go together", where=where, why=why, fix=fix)
    return UsageError(
        f"option {option!r} has a value that does not fit",
        where=where,
        why=f"{why}; found {_shown(found)}",
        fix=_description(config, location),
    )


def _typed_location(location: tuple[str | int, ...], settings: Settings) -> tuple[str | int, ...]:
    """A location without the members of unions that pydantic tried, which nobody has typed."""
    found: tuple[str | int, ...] = ()
    value: Any = settings.tree
    for part in location:
        if isinstance(part, str) and not part.isidentifier() and not (isinstance(value, Mapping) and part in value):
            break
        found = (*found, part)
        value = value.get(part) if isinstance(value, Mapping) else None
    return found


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()  # as it is typed
    try:
        return shorten(repr(value))
    except ValueError:  # a number of thousands of digits
        return "a number of thousands of digits"


def _section(config: type[BaseModel], location: tuple[str | int, ...]) -> type[BaseModel]:
    """The section that a location leads to."""
    for key in location:
        known = config.model_fields.get(str(key))
        if known is not None and isinstance(known.annotation, type) and issubclass(known.annotation, BaseModel):
            config = known.annotation
    return config


def _description(config: type[BaseModel], location: tuple[str | int, ...]) -> str:
    """The description of the innermost option on the way to a location."""
    found = ""
    for depth in range(len(location)):
        known = _section(config, location[:depth]).model_fields.get(str(location[depth]))
        found = (known.description if known else None) or found
    return found
