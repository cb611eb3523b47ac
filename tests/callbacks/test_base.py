"""CallbackList: essential ones stop a run that cannot be recorded, others never do."""

from __future__ import annotations

import pytest

from localrules.callbacks.base import Callback, CallbackList, MetricsRow


class Recorder(Callback):
    def __init__(self, fail_at: int | None = None) -> None:
        self.steps: list[object] = []
        self.closed = 0
        self.fail_at = fail_at

    def on_log(self, row: MetricsRow) -> None:
        self.steps.append(row["step"])
        if row["step"] == self.fail_at:
            raise ConnectionError("no network")

    def close(self) -> None:
        self.closed += 1


def test_an_observer_that_fails_is_reported_once_closed_and_left_out_while_others_go_on() -> None:
    failing, healthy = Recorder(fail_at=1), Recorder()
    observers = CallbackList([failing, healthy])
    observers.on_log({"step": 0})
    with pytest.warns(UserWarning, match="Recorder failed at 'on_log'.*no network"):
        observers.on_log({"step": 1})
    observers.on_log({"step": 2})  # a second warning would be an error here
    observers.close()
    assert failing.steps == [0, 1]
    assert healthy.steps == [0, 1, 2]
    assert (failing.closed, healthy.closed) == (1, 1)


def test_an_essential_observer_that_fails_stops_the_run() -> None:
    observers = CallbackList([], essential=[Recorder(fail_at=0)])
    with pytest.raises(ConnectionError):
        observers.on_log({"step": 0})
