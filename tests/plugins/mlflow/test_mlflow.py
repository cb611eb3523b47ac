"""MLflow as it is: a run, read back from its database."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
from helpers.tiny_runs import STEPS, only_run, resume, train

import localrules
from localrules.callbacks.base import Callback, MetricsRow, Stop
from localrules.errors import LocalRulesError, UsageError
from localrules_mlflow.tracker import MlflowTracker

pytestmark = pytest.mark.slow


@pytest.mark.filterwarnings("ignore")  # of MLflow's own imports
def test_a_run_has_its_settings_metrics_charts_and_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.chdir(tmp_path)
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    words = ["--rule", "local-ce", "--track", "mlflow", "--set", f"mlflow.uri={uri}", "--diagnose", "probe"]
    summary = train(tmp_path / "runs", *words)
    client = mlflow.MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("localrules")
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params["rule.name"] == "local-ce"
    assert run.data.metrics["summary/valid_accuracy"] == summary["valid_accuracy"]
    steps = [metric.step for metric in client.get_metric_history(run.info.run_id, "layer/layers.0/objective")]
    assert steps == [*range(2, STEPS + 1, 2)]
    names = {item.path for item in client.list_artifacts(run.info.run_id, "charts")}
    assert {"charts/objective.json", "charts/probe.json", "charts/confusion.json"} <= names
    weights = {item.path for item in client.list_artifacts(run.info.run_id, "weights")}
    assert weights == {"weights/config.toml", "weights/last.safetensors"}


@pytest.fixture
def uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A database in a folder that is the working directory, too."""
    monkeypatch.chdir(tmp_path)
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


class At(Callback):
    """Raises at a step, before or after it is evaluated."""

    def __init__(self, step: int, error: BaseException, evaluated: bool = False) -> None:
        self.step, self.error, self.evaluated = step, error, evaluated

    def on_log(self, row: MetricsRow) -> None:
        if row["step"] == self.step and ("valid_accuracy" in row or not self.evaluated):
            raise self.error


def kill(tmp_path: Path, uri: str, *callbacks: Callback, **more: Any) -> None:
    """A tiny run that its callbacks cut short."""
    with pytest.raises(LocalRulesError, match="interrupted"):
        localrules.train(
            rule="local-ce",
            model={"name": "mlp", "hidden": [12, 8]},
            data={"name": "faces", "train": 140, "valid": 70, "test": 70},
            steps=STEPS,
            batch_size=32,
            log_every=1,
            checkpoint_every=5,
            threads=1,
            out=tmp_path / "runs",
            callbacks=callbacks,
            **{"trackers.mlflow": {"uri": uri}, **more},
        )


def tracked(uri: str) -> tuple[Any, Any]:
    """A client, and the only run."""
    import mlflow

    client = mlflow.MlflowClient(tracking_uri=uri)
    (run,) = client.search_runs([client.get_experiment_by_name("localrules").experiment_id])
    return client, run


@pytest.mark.filterwarnings("ignore")  # of MLflow's own imports
@pytest.mark.parametrize("phases", ["joint", "two-phase"])
@pytest.mark.parametrize("killed_at", [3, 8], ids=["before-its-first-checkpoint", "after-it"])
def test_a_run_that_is_killed_and_resumed_has_every_row_once(
    tmp_path: Path, uri: str, killed_at: int, phases: str
) -> None:
    pytest.importorskip("mlflow")
    more = {"optimizer.lr_scale": {"layers.*": 0.5}, "phases": phases}
    kill(tmp_path, uri, At(killed_at, KeyboardInterrupt()), **more)
    resume(only_run(tmp_path / "runs"))
    client, run = tracked(uri)
    assert run.data.params["optimizer.lr_scale.layers._"] == "0.5"
    steps = [metric.step for metric in client.get_metric_history(run.info.run_id, "train/lr")]
    assert steps == [*range(1, STEPS + 1)]


@pytest.mark.filterwarnings("ignore")  # of MLflow's own imports
def test_the_evaluation_of_a_callbacks_stop_comes_where_the_first_try_was_killed(tmp_path: Path, uri: str) -> None:
    pytest.importorskip("mlflow")
    stop = At(6, Stop("enough"))
    kill(tmp_path, uri, At(6, KeyboardInterrupt(), evaluated=True), stop)
    localrules.resume(only_run(tmp_path / "runs"), callbacks=[stop])
    client, run = tracked(uri)
    steps = [metric.step for metric in client.get_metric_history(run.info.run_id, "valid/accuracy")]
    assert steps == [0, 4, 6]


@pytest.mark.filterwarnings("ignore")  # of MLflow's own imports
def test_a_run_that_is_killed_before_its_settings_came_gets_them_in_the_end(
    tmp_path: Path, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow")

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(mlflow.MlflowClient, "log_batch", die)
        kill(tmp_path, uri)
    resume(only_run(tmp_path / "runs"))
    _, run = tracked(uri)
    assert (run.data.params["rule.name"], run.data.tags["rule"]) == ("local-ce", "local-ce")


def test_without_mlflow_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="not installed") as caught:
        MlflowTracker(MlflowTracker.Config())
    assert "localrules[mlflow]" in caught.value.fix
