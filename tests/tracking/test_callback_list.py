"""CallbackList: which failure ends a run, and what a stop does."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from localrules.callbacks.base import Callback, MetricsRow, RunInfo, Stop
from localrules.callbacks.callback_list import CallbackList, check_callbacks
from localrules.errors import UsageError

EVENTS = (
    "on_run_start",
    "on_train_start",
    "on_measure",
    "on_log",
    "on_evaluate",
    "on_checkpoint",
    "on_run_end",
    "close",
)


class Recorder(Callback):
    def __init__(self, fail_at: int | None = None, error: Exception | None = None) -> None:
        self.steps: list[object] = []
        self.closed = 0
        self.fail_at = fail_at
        self.error = error or ConnectionError("no network")

    def on_log(self, row: MetricsRow) -> None:
        self.steps.append(row["step"])
        if row["step"] == self.fail_at:
            raise self.error

    def close(self) -> None:
        self.closed += 1


class Optional(Recorder):
    may_fail = True


class FailsToClose(Callback):
    def close(self) -> None:
        raise OSError("disk full")


class Listener(Callback):
    def __init__(self, name: str, heard: list[tuple[str, str]]) -> None:
        self.name, self.heard = name, heard

    def on_run_start(self, run: RunInfo) -> None:
        self.heard.append((self.name, "on_run_start"))

    def on_train_start(self, network: object, rule: object) -> None:
        self.heard.append((self.name, "on_train_start"))

    def on_measure(self, row: MetricsRow) -> dict[str, float]:
        self.heard.append((self.name, "on_measure"))
        return {}

    def on_log(self, row: MetricsRow) -> None:
        self.heard.append((self.name, "on_log"))

    def on_evaluate(self, row: MetricsRow) -> None:
        self.heard.append((self.name, "on_evaluate"))

    def on_checkpoint(self) -> None:
        self.heard.append((self.name, "on_checkpoint"))

    def on_run_end(self, summary: object, plots: object) -> None:
        self.heard.append((self.name, "on_run_end"))

    def close(self) -> None:
        self.heard.append((self.name, "close"))


def test_a_callback_that_may_fail_is_reported_once_closed_and_left_out_while_others_go_on() -> None:
    failing, healthy = Optional(fail_at=1), Optional()
    callbacks = CallbackList([failing, healthy])
    callbacks.on_log({"step": 0})
    with pytest.warns(UserWarning, match=r"Optional failed in on_log .*no network"):
        callbacks.on_log({"step": 1})
    callbacks.on_log({"step": 2})  # a second warning would be an error here
    callbacks.close()
    assert failing.steps == [0, 1]
    assert healthy.steps == [0, 1, 2]
    assert (failing.closed, healthy.closed) == (1, 1)


def test_an_exception_of_any_other_callback_is_passed_on() -> None:
    callbacks = CallbackList([Recorder(fail_at=0)])
    with pytest.raises(ConnectionError):
        callbacks.on_log({"step": 0})


def test_one_that_fails_to_close_keeps_no_other_from_closing() -> None:
    first, last = Recorder(), Recorder()
    with pytest.raises(OSError, match="disk full"):
        CallbackList([first, FailsToClose(), last]).close()
    assert (first.closed, last.closed) == (1, 1)


@pytest.mark.parametrize("kind", [Recorder, Optional])
def test_a_stop_is_not_a_failure_and_the_first_reason_stays(kind: type[Recorder]) -> None:
    stopping, later, healthy = kind(1, Stop("pruned")), kind(1, Stop("too slow")), kind()
    callbacks = CallbackList([stopping, later, healthy])
    callbacks.on_log({"step": 0})
    assert callbacks.stop_reason is None
    callbacks.on_log({"step": 1})
    assert callbacks.stop_reason == "pruned"
    callbacks.on_log({"step": 2})  # nobody was left out
    assert stopping.steps == later.steps == healthy.steps == [0, 1, 2]


def test_every_event_reaches_every_callback_in_order() -> None:
    heard: list[tuple[str, str]] = []
    callbacks = CallbackList([Listener("a", heard), Listener("b", heard)])
    callbacks.on_run_start(SimpleNamespace(columns=()))  # type: ignore[arg-type]
    callbacks.on_train_start(None, None)  # type: ignore[arg-type]
    callbacks.on_measure({})
    callbacks.on_log({})
    callbacks.on_evaluate({})
    callbacks.on_checkpoint()
    callbacks.on_run_end({}, [])
    callbacks.close()
    assert heard == [(name, event) for event in EVENTS for name in ("a", "b")]


def test_what_a_callback_does_to_its_row_reaches_no_other() -> None:
    class Greedy(Callback):
        """Takes a metric away, and adds one."""

        def on_log(self, row: MetricsRow) -> None:
            del row["loss"]
            row["own"] = 1.0

    kept = Recorder()
    kept.on_log = lambda row: kept.steps.append(dict(row))  # type: ignore[method-assign]
    given = {"step": 1, "loss": 2.0}
    CallbackList([Greedy(), kept]).on_log(given)
    assert kept.steps == [{"step": 1, "loss": 2.0}] == [given]


@pytest.mark.parametrize(
    ("callbacks", "what"),
    [([Recorder], "Recorder is not a callback"), ([print], "is not a callback"), (Recorder(), "are not a list")],
)
def test_what_is_not_a_callback_is_refused(callbacks: object, what: str) -> None:
    with pytest.raises(UsageError, match=what):
        check_callbacks(callbacks)


class Measures(Callback):
    def __init__(self, found: Any) -> None:
        self.found = found

    def on_measure(self, row: MetricsRow) -> Any:
        row["loss"] = 0.0  # of a row of its own
        return self.found


def test_what_callbacks_measure_is_one_row_of_numbers() -> None:
    callbacks = CallbackList(
        [Measures({"gap": 1}), Callback(), Measures({"norm/stem": torch.tensor([2.5], requires_grad=True)})]
    )
    row: MetricsRow = {"step": 1, "loss": 0.5}
    assert callbacks.on_measure(row) == {"gap": 1.0, "norm/stem": 2.5}
    assert row == {"step": 1, "loss": 0.5}


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (None, "it is of type NoneType"),
        ({"loss": 1.0}, "the name 'loss' is taken"),
        ({"gap": 1.0}, "the name 'gap' is taken"),
        ({3: 1.0}, "the name 3 is not text"),
        ({"norm": "large"}, "'norm' is not one number, but of type str"),
        ({"norm": torch.zeros(2)}, "'norm' is not one number, but of type Tensor"),
    ],
)
def test_what_cannot_be_logged_is_refused(found: Any, why: str) -> None:
    with pytest.raises(UsageError) as caught:
        CallbackList([Measures({"gap": 0.0}), Measures(found)]).on_measure({"step": 1, "loss": 0.5})
    assert (caught.value.where, caught.value.why) == ("Measures.on_measure", why)
