"""Checks of what a rule says of itself."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from importlib.metadata import entry_points
from typing import Any

from localrules.core.locality import LOCALITY_LEVELS
from localrules.testing.conformance.subject import NotApplicable, RuleUnderTest

_HEAVY = ("torch", "numpy", "pandas", "pydantic", "matplotlib", "wandb")


def options_are_documented(subject: RuleUnderTest) -> None:
    """Every option has a description, the rule a docstring and a class, and its search space only valid values."""
    rule = subject.rule
    silent = [name for name, field in rule.Config.model_fields.items() if not field.description]
    assert not silent, f"options without a description: {', '.join(silent)}"
    for option, values in rule.info.search_space.items():
        assert option in rule.Config.model_fields, f"search_space names {option!r}, which Config does not have"
        for value in values.ends:
            rule.Config(**{option: value})
    assert rule.__doc__, f"{rule.__name__} has no docstring"
    assert rule.info.locality in LOCALITY_LEVELS, (
        f"locality is {rule.info.locality!r}, and is one of {', '.join(LOCALITY_LEVELS)}"
    )


def options_survive_json(subject: RuleUnderTest) -> None:
    """Options and presets survive a round trip through JSON, and an unknown option is an error."""
    kind = subject.rule.Config
    forms: dict[str, dict[str, Any]] = {"the defaults": {}, **subject.rule.info.presets}
    for name, values in forms.items():
        options = kind(**values)
        again = kind.model_validate_json(options.model_dump_json())
        assert again == options, f"{name}: {options!r} came back as {again!r}"
    assert kind.model_config.get("extra") == "forbid", "a misspelt option is accepted: derive Config from RuleConfig"


def entry_module_is_light(subject: RuleUnderTest) -> None:
    """The plugin's entry-point module, which every listing imports, imports nothing heavy."""
    home = subject.rule.__module__
    modules = [entry.module for entry in entry_points(group="localrules")]
    mine = [module for module in modules if home == module or home.startswith(f"{module}.")]
    if not mine:
        raise NotApplicable("the rule is of no installed plugin")
    heavy = _imports(mine[0])
    assert not heavy, f"importing {mine[0]} imports {', '.join(heavy)}: name classes by target, import none"


@cache
def _imports(module: str) -> tuple[str, ...]:
    """Which heavy packages a fresh Python has imported after that module."""
    line = f"import sys, {module}; print(*[name for name in {_HEAVY} if name in sys.modules])"
    paths = [path for path in sys.path if path]
    line = f"import sys; sys.path[:] = {paths!r}; {line}"
    done = subprocess.run([sys.executable, "-c", line], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{module} cannot be imported: {done.stderr.strip().splitlines()[-1]}"
    return tuple(done.stdout.split())
