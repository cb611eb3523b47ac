"""A plugin that watches runs through its hooks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from localrules.callbacks.base import Callback, MetricsRow, Plot, RunInfo, Stop
from localrules.registry.entries import PluginError
from localrules.registry.loading import Plugin, format_exception


class HookCallback(Callback):
    """Passes a run's events to one plugin's hooks, and names the plugin and the hook when one fails."""

    may_fail = True
    of_plugin = True

    def __init__(self, plugin: Plugin) -> None:
        self._plugin = plugin

    @property
    def label(self) -> str:
        return f"a hook of {self._plugin.source.label}"

    def on_run_start(self, run: RunInfo) -> None:
        self._call(self._plugin.hooks.localrules_run_start, run=run)

    def on_log(self, row: MetricsRow) -> None:
        self._call(self._plugin.hooks.localrules_run_step, row=dict(row))

    def on_evaluate(self, row: MetricsRow) -> None:
        self._call(self._plugin.hooks.localrules_run_epoch, row=dict(row))

    def on_run_end(self, summary: Mapping[str, Any], plots: list[Plot]) -> None:
        self._call(self._plugin.hooks.localrules_run_end, summary=dict(summary), plots=list(plots))

    def _call(self, hook: Any, **arguments: object) -> None:
        try:
            hook(**arguments)
        except (KeyboardInterrupt, Stop):
            raise
        except BaseException as error:  # SystemExit, too: a plugin ends a run by Stop alone
            raise PluginError(f"{hook.name} of {self._plugin.source.label}: {format_exception(error)}") from error
