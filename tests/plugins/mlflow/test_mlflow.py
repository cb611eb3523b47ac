"""MLflow as it is: a run, read back from its database."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from helpers.tiny_runs import STEPS, only_run, resume, train

import localrules
from localrules.callbacks.base import Callback, MetricsRow
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


@pytest.mark.filterwarnings("ignore")  # of MLflow's own imports
@pytest.mark.parametrize("killed_at", [3, 8], ids=["before-its-first-checkpoint", "after-it"])
def test_a_run_that_is_killed_and_resumed_has_every_row_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_at: int
) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.chdir(tmp_path)
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"

    class Interrupt(Callback):
        def on_log(self, row: MetricsRow) -> None:
            if row["step"] == killed_at:
                raise KeyboardInterrupt

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
            callbacks=[Interrupt()],
            **{"trackers.mlflow": {"uri": uri}, "optimizer.lr_scale": {"layers.*": 0.5}},
        )
    resume(only_run(tmp_path / "runs"))
    client = mlflow.MlflowClient(tracking_uri=uri)
    (run,) = client.search_runs([client.get_experiment_by_name("localrules").experiment_id])
    assert run.data.params["optimizer.lr_scale.layers._"] == "0.5"
    steps = [metric.step for metric in client.get_metric_history(run.info.run_id, "train/loss")]
    assert steps == [*range(1, STEPS + 1)]


def test_without_mlflow_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="not installed") as caught:
        MlflowTracker(MlflowTracker.Config())
    assert "localrules[mlflow]" in caught.value.fix
