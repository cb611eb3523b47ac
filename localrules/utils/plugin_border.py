"""The border between us and code of a plugin: whatever fails there becomes one error that names the plugin."""

from __future__ import annotations

import inspect
import sys
import traceback
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any

from localrules.errors import LocalRulesError, PluginCodeError, describe_exception
from localrules.utils.global_state import GlobalState
from localrules.utils.memory_errors import size_error

_OWN = "localrules"
_FIX = "correct it there; LOCALRULES_DEBUG=1 shows the traceback"
_FIX_OWN = "set LOCALRULES_DEBUG=1 for the traceback, and report it"


class plugin_border:  # a context manager, named as those of contextlib
    """A context in which code of a plugin runs.

    An exception, SystemExit included, becomes a :class:`~localrules.errors.PluginCodeError` with the plugin's class,
    distribution, file and line. Errors of ours pass, and so does Ctrl-C. Global state that was changed (torch's default
    dtype and device, gradients, the standard streams) is put back, and is an error, too.

    Args:
        owners: The classes or functions of plugins that run; the one from whose file the exception came is named,
            else the first.
        method: The method of the first owner that is called; empty if that is a function.
        passing: Other exceptions to let pass, such as :class:`~localrules.Stop`.
    """

    __slots__ = ("_method", "_owners", "_passing", "_state")

    def __init__(self, owners: Any, method: str, passing: tuple[type[BaseException], ...] = ()) -> None:
        self._owners: Sequence[Any] = owners if isinstance(owners, list | tuple) else (owners,)
        self._method = method
        self._passing = passing

    def __enter__(self) -> None:
        self._state = GlobalState()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        changed = self._state.restore()
        if error is None:
            if changed:
                raise state_error(self._owners[0], self._method, changed)
            return
        if isinstance(error, (KeyboardInterrupt, GeneratorExit, LocalRulesError, *self._passing)):
            return
        raise code_error(error, self._owners, self._method) from error


def code_error(error: BaseException, owners: Sequence[Any], method: str) -> LocalRulesError:
    """The error for an exception that code of a plugin raised.

    Args:
        error: The exception, with its traceback.
        owners: As for :class:`plugin_border`.
        method: The method of the first owner that was called.
    """
    found = _failing_place(error, owners) or _torchs_own(error, owners)
    owner, where = found or (owners[0], definition(owners[0], method))
    too_large = size_error(error, f"{name_of(owner)}: {where}")
    if too_large is not None:
        return too_large
    return PluginCodeError(f"{name_of(owner)} failed", where=where, why=describe_exception(error), fix=_fix(owner))


def state_error(owner: Any, method: str, changed: Sequence[str]) -> PluginCodeError:
    """The error for a plugin that changed global state, which was put back."""
    return PluginCodeError(
        f"{name_of(owner)} changed the state of the whole process",
        where=definition(owner, method),
        why=f"it {' and '.join(changed)}, which was put back",
        fix="change it for the code inside a context alone (torch.no_grad(), contextlib.redirect_stdout, ...), "
        "or not at all",
    )


def wrong_result(owner: Any, method: str, expected: str, found: str) -> PluginCodeError:
    """The error for a method of a plugin that returned what cannot be used.

    Args:
        owner: The class.
        method: Its method; empty if the owner is a function.
        expected: What it must return.
        found: What it returned.
    """
    return PluginCodeError(
        f"{name_of(owner)}{'.' * bool(method)}{method} returned {found}",
        where=definition(owner, method),
        why=f"it must return {expected}",
        fix="correct what it returns",
    )


def name_of(owner: Any) -> str:
    """The class, or function, and the distribution that it is from."""
    name, distribution = _name(owner), _distribution(owner)
    return f"{name} of {distribution}" if distribution else name


def _name(owner: Any) -> str:
    name: str = getattr(owner, "__qualname__", type(owner).__qualname__)
    return name.rpartition("<locals>.")[2]


def definition(owner: Any, method: str = "") -> str:
    """File and line at which a method, else its class, is defined: ``"rule.py, line 12 (Mine.forward)"``."""
    defined = getattr(owner, method, None) if method else None
    code = getattr(inspect.unwrap(defined or owner), "__code__", None)
    if code is not None and not _is_foreign(code.co_filename, owner):
        return f"{code.co_filename}, line {code.co_firstlineno} ({'.'.join(filter(None, (_name(owner), method)))})"
    try:
        return f"{inspect.getsourcefile(owner)}, line {inspect.getsourcelines(owner)[1]} ({_name(owner)})"
    except (OSError, TypeError):  # defined in an interpreter's prompt
        return f"{getattr(owner, '__module__', '')}:{_name(owner)}"


def _failing_place(error: BaseException, owners: Sequence[Any]) -> tuple[Any, str] | None:
    """The owner from whose file an exception came, and the innermost line there."""
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        for owner in owners:
            if not _is_of_torch(owner) and not _is_foreign(frame.f_code.co_filename, owner):
                name = frame.f_code.co_qualname.rpartition("<locals>.")[2]
                return owner, f"{frame.f_code.co_filename}, line {line} (in {name})"
    return None


def _torchs_own(error: BaseException, owners: Sequence[Any]) -> tuple[Any, str] | None:
    """The network, the last owner, where the exception came from code that is torch's, or generated from its forward.

    That is so in a network that was traced, and in a class of torch, such as ``nn.Sequential``.
    """
    files = [frame.f_code.co_filename for frame, _ in traceback.walk_tb(error.__traceback__)]
    # torch.fx drops the frames of the code that it generates from some exceptions, not its own.
    generated = any(file.startswith("<eval_with_key>") or Path(file).name == "graph_module.py" for file in files)
    of_modules = any(Path(file).parent.name == "modules" and Path(file).name != "module.py" for file in files)
    if _is_of_torch(owners[-1]):
        return (owners[-1], f"forward of {_name(owners[-1])}") if generated or of_modules else None
    return (owners[-1], definition(owners[-1], "forward")) if generated else None


def _is_of_torch(owner: Any) -> bool:
    return (getattr(owner, "__module__", "") or "").partition(".")[0] == "torch"


def _is_foreign(file: str, owner: Any) -> bool:
    """Whether a file is not of the package, or the module, that defines a class."""
    module = getattr(owner, "__module__", "") or ""
    top = sys.modules.get(module.partition(".")[0])
    place = getattr(top, "__file__", None) or getattr(sys.modules.get(module), "__file__", None)
    if place is None:
        return not file.startswith("<")  # a prompt or a notebook
    path = Path(place)
    return path.parent not in Path(file).parents if path.name == "__init__.py" else Path(file) != path


def _fix(owner: Any) -> str:
    if _is_of_torch(owner):
        return "check that its inputs, and its layers among each other, fit; LOCALRULES_DEBUG=1 shows the traceback"
    distribution = _distribution(owner)
    return _FIX_OWN if distribution.partition(" ")[0] == _OWN else _FIX


def _distribution(owner: Any) -> str:
    """Name and version of the installed plugin that a class is from; empty for a file or a script."""
    top = (getattr(owner, "__module__", "") or "").partition(".")[0]
    for distribution in metadata.distributions():
        try:
            if any(
                point.group == _OWN and point.value.partition(":")[0].partition(".")[0] == top
                for point in distribution.entry_points
            ):
                return f"{distribution.metadata['Name']} {distribution.version}"
        except Exception:  # a damaged installation of something else
            continue
    return ""
