"""One Python file as a plugin: ``--plugin path/to/rule.py``.

The file says what it supplies in a table of names and classes; hooks work in it, too, and are not needed::

    from localrules import Objective

    class Mine(Objective):
        \"\"\"One line that lists show.\"\"\"

        def loss(self, view):
            return view.output.square().mean()

    RULES = {"mine": Mine}

Likewise ``MODELS``, ``DATA`` and ``TRACKERS``.
"""

from __future__ import annotations

import hashlib
import re
import sys
import traceback
from functools import partial
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

from localrules.core.entries import Entry
from localrules.errors import UsageError
from localrules.plugin_kinds import KINDS, PluginFault
from localrules.plugin_sources import Source

_FIX = "give the path of one .py file; installed packages are found without --plugin"


def files(paths: list[Path]) -> list[Source]:
    """One source for each file; a path given twice counts once."""
    unique = {path.resolve(): path for path in paths}.values()
    return [Source(str(path), str(path), "", partial(_import, path), is_file=True) for path in unique]


def table(module: ModuleType) -> list[tuple[str, Entry]]:
    """What a file's tables supply, as (kind, entry).

    Raises:
        PluginFault: A table is no dict from names to classes.
    """
    entries = []
    for word, kind in KINDS.items():
        name = kind.plural.upper()
        if not kind.bases or not hasattr(module, name):
            continue
        classes = getattr(module, name)
        if not isinstance(classes, dict) or not all(isinstance(target, type) for target in classes.values()):
            raise PluginFault(f'{name} must be a dict from names to classes, like {name} = {{"mine": Mine}}')
        for key, target in classes.items():
            summary = (target.__doc__ or "").strip().partition("\n")[0] or f"{target.__name__}, without a docstring"
            entry = kind.entry(name=key, target=f"{target.__module__}:{target.__qualname__}", summary=summary)
            entries.append((word, entry))
    return entries


def _import(path: Path) -> ModuleType:
    """Import a file under a name of its own, so that ``module:Name`` finds its classes again."""
    where = f"--plugin {path}"
    if path.is_dir():
        raise UsageError("a folder was given as plugin file", where=where, why="one file is expected", fix=_FIX)
    if not path.is_file():
        raise UsageError("the plugin file does not exist", where=where, why=f"there is no {path.resolve()}", fix=_FIX)
    digest = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]
    name = f"localrules_file_{re.sub(r'[^0-9A-Za-z]', '_', path.stem)}_{digest}"
    if name in sys.modules:
        return sys.modules[name]
    spec = spec_from_loader(name, SourceFileLoader(name, str(path.resolve())))
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def line_at_fault(path: str, error: BaseException) -> str:
    """The option, with the line of the file from which the error came, where it came from one."""
    file = str(Path(path).resolve())
    if isinstance(error, SyntaxError) and error.filename == file:
        return f"--plugin {path}, line {error.lineno}"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return f"--plugin {path}, line {lines[-1]}" if lines else f"--plugin {path}"
