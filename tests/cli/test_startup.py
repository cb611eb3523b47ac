"""The command line and the package start quickly: what is heavy is imported when it is used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from helpers.tiny_runs import TINY

import localrules

HEAVY = ("torch", "numpy", "pandas", "wandb", "matplotlib", "pydantic")

REPORT = f"""
import atexit, sys
atexit.register(lambda: print("HEAVY", [name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr))
"""


def heavy_after(code: str, *arguments: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-c", REPORT + code, *arguments], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout, done.stderr.rpartition("HEAVY ")[2].strip()


@pytest.mark.slow
@pytest.mark.parametrize(
    "line",
    [
        "--help",
        "--version",
        "",
        "run --help",
        "eval --help",
        "rules",
        "rules --json",
        "rules --help",
        "models",
        "data",
        "plugins",
        "--json plugins",
    ],
)
def test_help_and_lists_import_nothing_heavy(line: str) -> None:
    code, out, heavy = heavy_after("from localrules.cli import main; sys.exit(main())", *line.split())
    assert (code, heavy) == (0, "[]")
    assert out


@pytest.mark.parametrize(
    "module",
    [
        "localrules",
        "localrules.errors",
        "localrules.registry.hookspecs",
        "localrules.registry.registry",
        "localrules.registry.entries",
        "localrules_backprop",
        "localrules_classics",
        "localrules_fer",
        "localrules_hsic",
        "localrules_supervised",
        "localrules_tensorboard",
        "localrules_wandb",
    ],
)
def test_light_modules_import_nothing_heavy(module: str) -> None:
    code, _, heavy = heavy_after(f"import {module}")
    assert (code, heavy) == (0, "[]")


@pytest.mark.exhaustive
def test_a_run_imports_what_draws_plots_only_where_it_draws_them(tmp_path: Path) -> None:
    words = ["run", "--rule", "local-ce", *TINY, "--set", "plots=false", "--out", str(tmp_path)]
    code, _, heavy = heavy_after("from localrules.cli import main; sys.exit(main())", *words)
    assert (code, heavy) == (0, "['torch', 'numpy', 'pydantic']")


def test_the_package_alone_imports_not_even_pluggy() -> None:
    code, out, _ = heavy_after("import localrules; print([name for name in sys.modules if 'pluggy' in name])")
    assert (code, out) == (0, "[]\n")


@pytest.mark.parametrize("name", localrules.__all__)
def test_every_public_name_can_be_imported(name: str) -> None:
    assert getattr(localrules, name) is not None
    assert name in dir(localrules)


def test_an_unknown_public_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Objektive'"):
        _ = localrules.Objektive


def test_the_command_without_words_shows_the_help_and_every_command() -> None:
    shown = subprocess.run([sys.executable, "-m", "localrules"], capture_output=True, text=True, check=True).stdout
    for word in ("run", "eval", "rules", "models", "data", "plugins", "--version", "localrules run --rule hsic"):
        assert word in shown


def test_version_and_module_are_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "localrules", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"localrules {localrules.__version__}\n"
