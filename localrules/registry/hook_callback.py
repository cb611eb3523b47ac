"""A plugin that watches runs through its hooks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from localrules.callbacks.base import Callback, MetricsRow, Plot, RunInfo
from localrules.registry.entries import PluginError
from localrules.registry.loading import Plugin, format_exception


class HookCallback(Callback):
    """Hands a run's events to one plugin's hooks, and says whose hook it was when one fails."""

    def __init__(self, plugin: Plugin) -> None:
        self._plugin = plugin

    def on_run_start(self, run: RunInfo) -> None:
        self._call("localrules_run_start", run=run)

    def on_log(self, row: MetricsRow) -> None:
        self._call("localrules_run_step", row=dict(row))

    def on_evaluate(self, row: MetricsRow) -> None:
        self._call("localrules_run_epoch", row=dict(row))

    def on_run_end(self, summary: Mapping[str, Any], plots: list[Plot]) -> None:
        self._call("localrules_run_end", summary=dict(summary), plots=list(plots))

    def _call(self, hook: str, **arguments: object) -> None:
        try:
            getattr(self._plugin.hooks, hook)(**arguments)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # SystemExit, too: watching a run gives no power over it
            raise PluginError(f"{hook} of {self._plugin.source.label}: {format_exception(error)}") from error
