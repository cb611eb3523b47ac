"""A plugin that watches runs through its hooks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from localrules.engine.observers import Observer, Picture, Row, RunInfo
from localrules.plugin_kinds import PluginFault
from localrules.plugin_loading import Plugin, describe


class PluginObserver(Observer):
    """Hands a run's events to one plugin's hooks, and says whose hook it was when one fails."""

    def __init__(self, plugin: Plugin) -> None:
        self._plugin = plugin

    def start(self, run: RunInfo) -> None:
        self._call("localrules_run_start", run=run)

    def step(self, row: Row) -> None:
        self._call("localrules_run_step", row=dict(row))

    def epoch(self, row: Row) -> None:
        self._call("localrules_run_epoch", row=dict(row))

    def end(self, summary: Mapping[str, Any], pictures: list[Picture]) -> None:
        self._call("localrules_run_end", summary=dict(summary), pictures=list(pictures))

    def _call(self, hook: str, **arguments: object) -> None:
        try:
            getattr(self._plugin.hooks, hook)(**arguments)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # SystemExit, too: watching a run gives no power over it
            raise PluginFault(f"{hook} of {self._plugin.source.label}: {describe(error)}") from error
