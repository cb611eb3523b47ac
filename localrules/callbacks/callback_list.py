"""The callbacks of a run as one: every event reaches each of them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

from localrules.callbacks.base import Callback, MetricsRow, Plot, RunInfo, Stop
from localrules.errors import UsageError, describe_exception, warn
from localrules.utils.global_state import GlobalState

if TYPE_CHECKING:
    from localrules.callbacks.results import EpochResults
    from localrules.core.network import Network
    from localrules.core.rule import Rule


def check_callbacks(callbacks: Any) -> None:
    """Refuse what is not a callback, before anything is made for a run.

    Raises:
        UsageError: A class, a function, or one callback in the place of a list.
    """
    if isinstance(callbacks, Callback) or not isinstance(callbacks, Collection):
        raise UsageError(
            "the callbacks are not a list",
            where="callbacks=...",
            why=f"found {type(callbacks).__name__}",
            fix="put the callback into a list: callbacks=[...]",
        )
    for callback in callbacks:
        if not isinstance(callback, Callback):
            name = callback.__name__ if isinstance(callback, type) else f"a {type(callback).__name__}"
            raise UsageError(
                f"{name} is not a callback",
                where="callbacks=[...]",
                why="a callback is an object of a class that derives from localrules.Callback",
                fix=f"make one: {name}()" if isinstance(callback, type) else "derive a class from localrules.Callback",
            )


class CallbackList(Callback):
    """Passes every event to each callback in turn, and a row of metrics to each as a copy of its own.

    One that fails and ``may_fail`` is reported once, closed, and left out of later events. An exception of any other
    callback is passed on. Global state of the process that a plugin's callback changes (signal handlers, streams,
    torch's settings) is put back after the event, and reported once.

    Args:
        callbacks: In the order in which they receive events.

    Attributes:
        stop_reason: The reason of the first :class:`~localrules.Stop` that a callback raised, if any.
    """

    def __init__(self, callbacks: Collection[Callback]) -> None:
        self._callbacks = list(callbacks)
        self._said: set[tuple[int, str]] = set()
        self._columns: tuple[str, ...] = ()
        self.stop_reason: str | None = None

    def on_run_start(self, run: RunInfo) -> None:
        self._columns = run.columns
        self._each("on_run_start", lambda callback: callback.on_run_start(run))

    def on_train_start(self, network: Network, rule: Rule) -> None:
        self._each("on_train_start", lambda callback: callback.on_train_start(network, rule))

    def on_measure(self, row: MetricsRow) -> dict[str, float]:
        measured: dict[str, float] = {}

        def deliver(callback: Callback) -> None:
            measured.update(check_measured(callback, callback.on_measure(dict(row)), {*self._columns, *row, *measured}))

        self._each("on_measure", deliver)
        return measured

    def on_log(self, row: MetricsRow) -> None:
        self._each("on_log", lambda callback: callback.on_log(dict(row)))

    def on_evaluate(self, row: MetricsRow) -> None:
        self._each("on_evaluate", lambda callback: callback.on_evaluate(dict(row)))

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


def check_measured(callback: Callback, found: Any, taken: Collection[str]) -> dict[str, float]:
    """The measurements of a callback as numbers.

    Raises:
        UsageError: No mapping, a name that is taken, or a value that is not one number.
    """
    if not isinstance(found, Mapping):
        raise _measured_wrong(callback, f"it is of type {type(found).__name__}")
    numbers = {}
    for name, value in found.items():
        if not isinstance(name, str) or name in taken:
            raise _measured_wrong(callback, f"the name {name!r} is {'taken' if name in taken else 'not text'}")
        try:
            numbers[name] = float(value.detach() if hasattr(value, "detach") else value)
        except (TypeError, ValueError, RuntimeError):  # of torch: of several numbers
            raise _measured_wrong(callback, f"{name!r} is not one number, but of type {type(value).__name__}") from None
    return numbers


def _measured_wrong(callback: Callback, why: str) -> UsageError:
    return UsageError(
        f"what {callback.label} measured cannot be logged",
        where=f"{type(callback).__name__}.on_measure",
        why=why,
        fix="return a dict of numbers by names that no other metric has",
    )
