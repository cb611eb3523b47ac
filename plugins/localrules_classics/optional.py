"""Packages that are imported only when a model needs them."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from localrules.errors import MissingDependencyError

EXTRAS = {"torchvision": "baselines", "timm": "timm"}


def optional_module(package: str, where: str) -> ModuleType:
    """A package that may not be installed.

    Args:
        package: torchvision or timm.
        where: What asked for it.

    Raises:
        MissingDependencyError: It cannot be imported.
    """
    try:
        return import_module(package)
    except ImportError as error:
        raise MissingDependencyError(
            f"{where.removeprefix('--model ')} needs {package}",
            where=where,
            why=f"it cannot be imported: {error}",
            fix=f'pip install "localrules[{EXTRAS[package]}]"',
        ) from error
