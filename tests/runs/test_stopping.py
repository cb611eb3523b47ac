"""A callback ends a run before its last step: which event, what is left, and what a resumption does."""

from __future__ import annotations

import json
import math
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers.exhaustive import few
from helpers.kill_process import STOP_WITHIN_EPOCH_MOMENTS, die_when, die_when_stopped
from helpers.tiny_runs import (
    FACES,
    MLP,
    PER_EPOCH,
    STEPS,
    TINY,
    localrules,
    metrics,
    only_run,
    resume,
    start_process,
    tiny_csv,
    train,
)

import localrules as api
from localrules import Callback, EarlyStopping, MetricsRow, RunInfo, Stop
from localrules.callbacks.results import EpochResults
from localrules.core.phase import Phase
from localrules.errors import UsageError
from localrules.utils.progress import Advance, show_progress

pytestmark = pytest.mark.slow

TINY_RUN: dict[str, Any] = {
    "plots": False,
    "model": {"name": "mlp", "hidden": [12, 8]},
    "data": {"name": "faces", "train": 140, "valid": 70, "test": 70},
    "batch_size": 32,
    "threads": 1,
    "steps": STEPS,
    "log_every": 2,
}
# Stops at the second evaluation, since nothing improves by more than 1; without the state of the first one, it would
# not.
STOPS = ["--set", "early_stopping.min_delta=1", "--set", "early_stopping.patience=1"]
WORDS = ["run", "--rule", "hsic", *TINY, "--checkpoint-every", "3", *STOPS]
STOPPED_AT = 2 * PER_EPOCH


class StopIn(Callback):
    """Stops a run in an event, the first time that it comes at or after a step, and remembers all events."""

    def __init__(self, event: str = "", step: int = 0) -> None:
        self.event, self.step, self.now = event, step, 0
        self.heard: list[str] = []

    def _hear(self, event: str) -> None:
        self.heard.append(event)
        if event == self.event and self.now >= self.step:
            raise Stop("pruned")

    def on_run_start(self, run: RunInfo) -> None:
        self._hear("on_run_start")

    def on_train_start(self, network: Any, rule: Any) -> None:
        assert sum(weight.numel() for weight in network.model.parameters()) > 0
        self._hear("on_train_start")

    def on_log(self, row: MetricsRow) -> None:
        self.now = int(row["step"] or 0)
        self._hear("on_log")

    def on_evaluate(self, row: MetricsRow) -> None:
        assert "valid_accuracy" in row
        self._hear("on_evaluate")

    def on_checkpoint(self) -> None:
        self._hear("on_checkpoint")

    def on_run_end(self, summary: Any, plots: Any) -> None:
        self._hear("on_run_end")

    def close(self) -> None:
        self._hear("close")


def test_the_events_of_a_run_come_in_order(tmp_path: Path) -> None:
    callback = StopIn()
    api.train(rule="hsic", **TINY_RUN | {"steps": 6}, out=tmp_path, callbacks=[callback])
    epoch = ["on_log", "on_log", "on_evaluate", "on_checkpoint"]
    last = ["on_log", "on_evaluate", "on_checkpoint"]
    assert callback.heard == ["on_run_start", "on_train_start", "on_log", *epoch, *last, "on_run_end", "close"]


@pytest.mark.parametrize("stopped", [False, True])
def test_the_last_weights_predict_the_valid_split_once(stopped: bool, tmp_path: Path) -> None:
    predicted: list[int] = []

    @contextmanager
    def count(text: str, total: int) -> Iterator[Advance]:
        predicted.append(total)
        yield lambda done: None

    settings = TINY_RUN if stopped else TINY_RUN | {"steps": 6}
    with show_progress(count):
        callbacks = [StopIn("on_log", 6)] if stopped else []
        result = api.train(rule="hsic", **settings, out=tmp_path, callbacks=callbacks)
    train, valid = TINY_RUN["data"]["train"], TINY_RUN["data"]["valid"]
    # Untrained, after the first epoch, after step 6, and for the summary.
    assert predicted == [valid, valid, valid, train]
    assert result.valid_accuracy == list(result.metrics()["valid_accuracy"])[-1]


def test_a_run_that_is_stopped_within_an_epoch_closes_it_with_its_last_step(tmp_path: Path) -> None:
    callback = StopIn("on_log", 6)
    result = api.train(rule="hsic", **TINY_RUN, out=tmp_path, callbacks=[callback, StopIn("on_evaluate", 5)])
    assert (result.stop_reason, result.summary["steps"]) == ("pruned", 6)
    epoch = ["on_log", "on_log", "on_evaluate", "on_checkpoint"]
    stop = ["on_log", "on_log", "on_evaluate", "on_checkpoint"]
    assert callback.heard == ["on_run_start", "on_train_start", "on_log", *epoch, *stop, "on_run_end", "close"]
    rows = result.metrics()
    assert list(rows["step"]) == [0, 2, 4, 6]
    last = rows.iloc[-1]
    assert last["valid_accuracy"] == result.valid_accuracy
    whole = api.train(rule="hsic", **TINY_RUN, out=tmp_path / "whole").metrics()
    (of_batch,) = whole[whole["step"] == 6].to_dict("records")
    assert (last["loss"], last["objective/readout"]) == (of_batch["loss"], of_batch["objective/readout"])


def test_a_stop_at_a_checkpoint_logs_the_step_that_was_not(tmp_path: Path) -> None:
    callback, settings = StopIn("on_checkpoint"), TINY_RUN | {"checkpoint_every": 3}
    result = api.train(rule="hsic", **settings, out=tmp_path, callbacks=[callback])
    rows = result.metrics()
    assert list(rows["step"]) == [0, 2, 3]
    assert rows["valid_accuracy"].iloc[-1] == result.valid_accuracy
    assert not math.isnan(rows["loss"].iloc[-1])
    assert callback.heard[4:] == ["on_checkpoint", "on_log", "on_evaluate", "on_checkpoint", "on_run_end", "close"]
    assert api.resume(result.directory).summary == result.summary


def test_the_results_of_a_run_that_is_stopped_within_an_epoch_are_of_its_last_step(tmp_path: Path) -> None:
    class Charts(StopIn):
        def on_results(self, results: EpochResults) -> None:
            self.results = results

    charts, settings = Charts("on_log", 6), TINY_RUN | {"diagnostics": ["histograms"]}
    result = api.train(rule="hsic", **settings, out=tmp_path, callbacks=[charts])
    assert (charts.results.step, charts.results.epoch) == (6, 6 / PER_EPOCH)
    assert charts.results.logits is not None
    assert charts.results.labels is not None
    hits = charts.results.logits.argmax(1) == charts.results.labels
    assert float(hits.float().mean()) == pytest.approx(result.valid_accuracy)
    kinds = {name.partition("/")[0] for name in charts.results.histograms}
    assert kinds == {"weights", "activations"}  # gradients are those of the last step of an epoch


PRUNER = """
from localrules import Stop, hookimpl

@hookimpl
def localrules_run_step(row):
    if row["step"] == 6:
        raise Stop("pruned")
"""


@pytest.mark.parametrize("moment", few(STOP_WITHIN_EPOCH_MOMENTS, {"before the row of the evaluation"}))
def test_a_run_that_is_killed_as_it_is_stopped_within_an_epoch_ends_as_an_unbroken_one(
    moment: str, tmp_path: Path
) -> None:
    plugin = tmp_path / "pruner.py"
    plugin.write_text(PRUNER)
    words = ["--rule", "hsic", "--checkpoint-every", "3", "--plugin", str(plugin)]
    unbroken = train(tmp_path / "unbroken", *words)
    process = start_process(die_when_stopped, moment, ["run", *TINY, *words, "--out", str(tmp_path / "killed")])
    process.join()
    assert process.exitcode == -signal.SIGKILL
    folder = only_run(tmp_path / "killed")
    summary = resume(folder, "--plugin", plugin)
    for key in ("steps", "stop_reason", "status", "weights_sha256", "valid_accuracy", "train_accuracy"):
        assert summary[key] == unbroken[key], key
    assert metrics(folder) == metrics(unbroken["run_dir"])
    assert metrics(folder)[-1]["valid_accuracy"]


@pytest.mark.parametrize(
    ("event", "step", "steps"),
    [
        ("on_run_start", 0, 0),
        ("on_train_start", 0, 0),
        ("on_log", 2, 2),
        ("on_log", 4, 4),
        ("on_evaluate", 0, 4),
        ("on_checkpoint", 0, 4),
    ],
)
def test_a_stop_ends_the_run_after_the_step_with_a_checkpoint_and_a_whole_summary(
    event: str, step: int, steps: int, tmp_path: Path
) -> None:
    callback = StopIn(event, step)
    result = api.train(rule="hsic", **TINY_RUN, out=tmp_path, callbacks=[callback])
    assert (result.status, result.stop_reason, result.summary["steps"]) == ("done", "pruned", steps)
    assert result.valid_accuracy is not None
    assert callback.heard[-2:] == ["on_run_end", "close"]
    again = api.resume(result.directory)
    assert again.summary == result.summary
    assert api.evaluate(result)["top1"] == result.valid_accuracy  # of the weights in the checkpoint


def test_a_stop_in_the_last_step_is_none(tmp_path: Path) -> None:
    result = api.train(rule="hsic", **TINY_RUN, out=tmp_path, callbacks=[StopIn("on_log", STEPS)])
    assert (result.stop_reason, result.summary["steps"]) == (None, STEPS)


def test_an_exception_of_a_callback_ends_the_run_and_closes_it(tmp_path: Path) -> None:
    class Broken(StopIn):
        def on_log(self, row: MetricsRow) -> None:
            raise RuntimeError("a bug of mine")

    callback = Broken()
    with pytest.raises(RuntimeError, match="a bug of mine"):
        api.train(rule="hsic", **TINY_RUN, out=tmp_path, callbacks=[callback])
    assert callback.heard == ["on_run_start", "on_train_start", "close"]


def test_a_tracker_of_a_plugin_stops_a_run_and_the_command_succeeds(tmp_path: Path) -> None:
    file = tmp_path / "pruner.py"
    file.write_text(
        "from localrules import Stop, Tracker\n"
        "class Pruner(Tracker):\n"
        "    def on_log(self, row):\n"
        "        if row['step']:\n"
        "            raise Stop('pruned')\n"
        "TRACKERS = {'pruner': Pruner}\n"
    )
    words = ["--plugin", file, "--track", "pruner"]
    done = train(tmp_path / "runs", "--rule", "hsic", *words)
    assert (done["status"], done["stop_reason"], done["steps"]) == ("done", "pruned", 2)
    said = localrules("run", "--resume", done["run_dir"], "--json", *words[:2])
    assert said.code == 0
    assert said.document == done
    assert "This run was stopped after step 2 and is finished: pruned." in said.err


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return train(tmp_path_factory.mktemp("unbroken"), *WORDS[1:], setting=[])


def test_early_stopping_is_off_unless_one_of_its_options_is_set(unbroken: dict[str, Any], tmp_path: Path) -> None:
    plain = train(tmp_path, "--rule", "hsic")
    assert (plain["steps"], plain["stop_reason"]) == (STEPS, None)
    assert "early_stopping" not in (Path(plain["run_dir"]) / "config.toml").read_text()
    assert unbroken["steps"] == STOPPED_AT
    assert unbroken["stop_reason"].startswith("valid_accuracy has not improved on ")
    assert unbroken["valid_accuracy"] == float(metrics(unbroken["run_dir"])[-1]["valid_accuracy"])


@pytest.mark.parametrize(
    ("moment", "resumed_from"),
    [
        pytest.param("before step 8", 6, marks=pytest.mark.exhaustive),
        ("after step 8", 6),
        pytest.param("after the checkpoint of step 8", STOPPED_AT, marks=pytest.mark.exhaustive),
        ("before the summary", STOPPED_AT),
    ],
)
def test_a_run_that_is_killed_stops_early_where_an_unbroken_one_does(
    moment: str, resumed_from: int, unbroken: dict[str, Any], tmp_path: Path
) -> None:
    process = start_process(die_when, moment, [*WORDS, "--out", str(tmp_path)])
    process.join()
    assert process.exitcode == -signal.SIGKILL
    folder = only_run(tmp_path)
    summary = resume(folder)
    assert summary["resumed_from_step"] == resumed_from
    for key in ("steps", "stop_reason", "status", "weights_sha256", "valid_accuracy", "train_accuracy"):
        assert summary[key] == unbroken[key], key
    assert metrics(folder) == metrics(unbroken["run_dir"])


def test_early_stopping_by_a_split_that_is_not_there_is_refused_before_training(tmp_path: Path) -> None:
    file = tiny_csv(tmp_path / "faces.csv", train=140, test=70)
    words = ["--data", "fer2013", "--data-path", file, "--model", "mlp", "--steps", "3", "--out", tmp_path / "runs"]
    said = localrules("run", "--rule", "hsic", *words, *STOPS, "--json")
    assert said.code == 2
    assert "no valid split" in said.error["why"]
    assert not (tmp_path / "runs").exists()


def test_the_options_of_early_stopping_must_agree_on_resumption(unbroken: dict[str, Any]) -> None:
    said = localrules("run", "--resume", unbroken["run_dir"], "--set", "early_stopping.patience=2", "--json")
    assert said.code == 2
    assert "early_stopping.patience: 1 in the run, 2 now" in said.error["why"]


REPORTS = """
import torch
from torch.nn import functional
from localrules import Rule, StepReport

class Energetic(Rule):
    "Back-propagation that reports a metric of no layer."
    def step(self, network, batch, context):
        logits = network(batch.images)
        loss = functional.cross_entropy(logits, batch.targets)
        loss.backward()
        for layer in network.layers:
            context.step_layer(layer)
        return StepReport(logits=logits.detach(), metrics={"energy": torch.tensor(1.0)})

RULES = {"energetic": Energetic}
"""


def info(**state: Any) -> RunInfo:
    return RunInfo(
        directory=Path("run"),
        rule="hsic",
        model="mlp",
        data="faces",
        config={},
        layers=[],
        classes=(),
        redistributable=True,
        total_steps=9,
        steps_per_epoch=1,
        resumed_from_step=0,
        columns=(),
        phases=(),
        state=state,
    )


def stopped_at(stopping: EarlyStopping, values: list[float], run: RunInfo | None = None) -> int | None:
    """The evaluation, counted from 1, at which it stops."""
    stopping.on_run_start(run or info())
    for number, value in enumerate(values, 1):
        try:
            stopping.on_evaluate({"step": number, stopping.metric: value})
        except Stop:
            return number
    return None


@pytest.mark.parametrize(
    ("options", "values", "stop"),
    [
        ({"patience": 2}, [0.5, 0.6, 0.6, 0.55, 0.7], 4),
        ({"patience": 2}, [0.5, 0.6, 0.55, 0.61, 0.6, 0.62], None),
        ({"patience": 1, "min_delta": 0.1}, [0.5, 0.55], 2),
        ({"patience": 1, "min_delta": 0.1}, [0.5, 0.65], None),
        ({"patience": 1, "metric": "valid_loss"}, [2.0, 1.0, 1.5], 3),
        ({"patience": 1, "metric": "valid_loss", "mode": "max"}, [2.0, 1.0], 2),
        ({"patience": 1}, [0.5, float("nan")], 2),
        ({"patience": 2}, [float("nan")] * 3, 2),
        ({"patience": 3}, [float("nan"), float("nan"), 0.2, float("nan"), 0.3, 0.1, 0.1], None),
    ],
)
def test_when_early_stopping_stops(options: dict[str, Any], values: list[float], stop: int | None) -> None:
    stopping = EarlyStopping(**options)
    assert stopped_at(stopping, values) == stop
    assert stopped_at(stopping, values) == stop  # one object, another run


def test_early_stopping_continues_from_the_state_of_a_checkpoint() -> None:
    first, run = EarlyStopping(patience=2), info()
    stopped_at(first, [0.5, 0.4], run)
    first.on_checkpoint()
    assert json.loads(json.dumps(run.state)) == run.state
    assert stopped_at(EarlyStopping(patience=2), [0.45], info(**run.state)) == 1
    assert stopped_at(EarlyStopping(patience=2), [0.45]) is None


def test_two_early_stoppings_of_one_metric_keep_their_states_apart() -> None:
    run = info()
    growing, shrinking = EarlyStopping(mode="max", patience=2), EarlyStopping(mode="min", patience=2)
    assert stopped_at(growing, [0.4, 0.5], run) is None
    assert stopped_at(shrinking, [0.4, 0.5], run) is None
    growing.on_checkpoint()
    shrinking.on_checkpoint()
    growing.on_run_start(run)
    shrinking.on_run_start(run)
    assert (growing.best, growing.waited) == (0.5, 0)
    assert (shrinking.best, shrinking.waited) == (0.4, 1)


def test_early_stopping_goes_without_a_metric_that_is_no_longer_measured() -> None:
    stopping = EarlyStopping("gap", patience=1)
    stopping.on_run_start(info())
    stopping.on_evaluate({"step": 1, "gap": 0.5})
    with pytest.warns(UserWarning, match="gap is no longer measured: early stopping does not stop this run"):
        stopping.on_evaluate({"step": 2})
    stopping.on_evaluate({"step": 3})  # a second warning would be an error here


def test_early_stopping_by_what_a_rule_reports_under_a_name_of_its_own(tmp_path: Path) -> None:
    plugin = tmp_path / "energetic.py"
    plugin.write_text(REPORTS)
    words = [*FACES, *MLP, "--steps", "4", "--plugin", plugin, "--set", "early_stopping.metric=energy"]
    assert localrules("run", "--rule", "energetic", *words, "--out", tmp_path / "runs", "--json").code == 0


def test_early_stopping_names_the_metrics_that_there_are() -> None:
    stopping = EarlyStopping("objective/stem")
    stopping.on_run_start(info())
    with pytest.raises(UsageError, match="objective/stem") as caught:
        stopping.on_evaluate({"step": 1, "loss": 0.5})
    assert caught.value.fix == "choose one of loss"


def test_early_stopping_counts_the_evaluations_of_the_last_phase() -> None:
    phases = (Phase("hidden", 0, 4, frozenset(), 3.0), Phase("readout", 4, 9, frozenset(), 1.0))
    stopping = EarlyStopping(patience=1)
    stopping.on_run_start(replace(info(), phases=phases))
    for step in (1, 2, 3):
        stopping.on_evaluate({"step": step, "phase": "hidden", "valid_accuracy": 0.1})
    stopping.on_evaluate({"step": 5, "phase": "readout", "valid_accuracy": 0.1})
    with pytest.raises(Stop):
        stopping.on_evaluate({"step": 6, "phase": "readout", "valid_accuracy": 0.1})


def test_early_stopping_by_what_the_last_phase_does_not_log_is_refused_before_training(tmp_path: Path) -> None:
    phases = 'phases=[{name="readout", train_layers="readout"}, {name="hidden", train_layers="hidden"}]'
    words = [*FACES, *MLP, "--steps", "4", "--set", phases, "--set", "early_stopping.metric=loss"]
    said = localrules("run", "--rule", "local-ce", *words, "--out", tmp_path / "runs", "--json")
    assert said.code == 2
    assert said.error["why"].startswith("readout does not learn in phase 'hidden'")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("metric", "suggestion"),
    [("valid_acc", "'valid_accuracy'"), ("objective/layer.0", "'objective/layers.0'"), ("phase", "valid_accuracy")],
)
def test_early_stopping_by_a_metric_of_no_layer_is_refused_before_training(
    metric: str, suggestion: str, tmp_path: Path
) -> None:
    words = [*FACES, *MLP, "--steps", "4", "--set", f"early_stopping.metric={metric}", "--out", tmp_path / "runs"]
    said = localrules("run", "--rule", "hsic", *words, "--json")
    assert said.code == 2
    assert f"the metric {metric!r}, which this run does not log" in said.error["what"]
    assert suggestion in said.error["fix"]
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("options", [{"patience": 0}, {"min_delta": -0.1}])
def test_early_stopping_refuses_numbers_that_make_no_sense(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="at least"):
        EarlyStopping(**options)


def test_a_metric_that_was_not_a_number_at_first_may_still_improve() -> None:
    stopping = EarlyStopping("valid_loss", patience=2)
    stopping.on_run_start(info())
    for value in (float("nan"), 3.0, 2.0, 2.5):
        stopping.on_evaluate({"step": 1, "phase": "joint", "valid_loss": value})
    assert stopping.best == 2.0
    with pytest.raises(Stop, match="has not improved on 2"):
        stopping.on_evaluate({"step": 1, "phase": "joint", "valid_loss": float("nan")})
