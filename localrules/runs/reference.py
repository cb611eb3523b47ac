"""A run that is named in Python: by its folder, by its result, or as a loaded run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from localrules.errors import UsageError
from localrules.registry.registry import Registry
from localrules.runs.result import RunResult

if TYPE_CHECKING:
    from localrules.runs.load import TrainedRun


def locate_run(
    run: str | Path | RunResult | TrainedRun, plugins: Registry | Sequence[str | Path] = ()
) -> tuple[Path, Registry]:
    """The folder of a run, absolute, and the registry in which its names are looked up.

    Args:
        run: The run folder, a result or a loaded run.
        plugins: As for :func:`localrules.train`, with a folder.

    Raises:
        UsageError: Plugins are given with a result or a loaded run, or a plugin file cannot be loaded.
    """
    if isinstance(run, str | Path):
        return Path(run).expanduser().resolve(), Registry.from_plugins(plugins)
    folder, registry = (run.directory if isinstance(run, RunResult) else run.folder), run.registry
    if plugins is not registry and (isinstance(plugins, Registry) or plugins):
        raise UsageError(
            "plugins are given with a run that has its own",
            where="plugins",
            why="a result or a loaded run keeps the plugins that it was made with",
            fix=f"leave plugins out, or name the run by its folder: {str(folder)!r}",
        )
    return folder, registry
