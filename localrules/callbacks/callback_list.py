"""The callbacks of a run as one: every event reaches each of them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from localrules.callbacks.base import Callback, MetricsRow, Plot, RunInfo, Stop
from localrules.errors import describe_exception, warn
from localrules.utils.global_state import GlobalState

if TYPE_CHECKING:
    from localrules.callbacks.results import EpochResults
    from localrules.core.network import Network
    from localrules.core.rule import Rule


class CallbackList(Callback):
    """Passes every event to each callback in turn.

    One that fails and ``may_fail`` is reported once, closed, and left out of later events. An exception of any other
    callback is passed on. Global state of the process that a plugin's callback changes (signal handlers, streams,
    torch's settings) is put back after the event, and reported once.

    Args:
        callbacks: In the order in which they receive events.

    Attributes:
        stop_reason: The reason of the first :class:`~localrules.Stop` that a callback raised, if any.
    """

    def __init__(self, callbacks: Iterable[Callback]) -> None:
        self._callbacks = list(callbacks)
        self._said: set[tuple[int, str]] = set()
        self.stop_reason: str | None = None

    def on_run_start(self, run: RunInfo) -> None:
        self._each("on_run_start", lambda callback: callback.on_run_start(run))

    def on_train_start(self, network: Network, rule: Rule) -> None:
        self._each("on_train_start", lambda callback: callback.on_train_start(network, rule))

    def on_log(self, row: MetricsRow) -> None:
        self._each("on_log", lambda callback: callback.on_log(row))

    def on_evaluate(self, row: MetricsRow) -> None:
        self._each("on_evaluate", lambda callback: callback.on_evaluate(row))

    def on_results(self, results: EpochResults) -> None:
        self._each("on_results", lambda callback: callback.on_results(results))

    def on_checkpoint(self) -> None:
        self._each("on_checkpoint", lambda callback: callback.on_checkpoint())

    def on_run_end(self, summary: Mapping[str, Any], plots: list[Plot]) -> None:
        self._each("on_run_end", lambda callback: callback.on_run_end(summary, plots))

    def close(self) -> None:
        with contextlib.ExitStack() as stack:  # one that fails keeps no other from closing
            for callback in reversed(self._callbacks):
                stack.callback(self._call, callback, "close", lambda callback: callback.close())

    def _each(self, event: str, deliver: Callable[[Callback], None]) -> None:
        for callback in list(self._callbacks):
            self._call(callback, event, deliver)

    def _call(self, callback: Callback, event: str, deliver: Callable[[Callback], None]) -> None:
        state = GlobalState() if callback.of_plugin else None
        try:
            deliver(callback)
        except Stop as stop:
            if self.stop_reason is None:
                self.stop_reason = stop.reason
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # SystemExit, too: a run ends by Stop alone
            if not callback.may_fail:
                raise
            self._callbacks.remove(callback)
            if event != "close":
                with contextlib.suppress(Exception, SystemExit):
                    callback.close()
            warn(
                f"{type(callback).__name__} failed in {event} and is left out of the rest of this run: "
                f"{describe_exception(error)}"
            )
        finally:
            if state is not None:
                self._restore(state, callback, event)

    def _restore(self, state: GlobalState, callback: Callback, event: str) -> None:
        """Put back what a plugin's callback changed; each change is reported once."""
        for change in state.restore():
            if (id(callback), change) not in self._said:
                self._said.add((id(callback), change))
                warn(f"{callback.label} {change} for the whole process in {event}; this was put back")
