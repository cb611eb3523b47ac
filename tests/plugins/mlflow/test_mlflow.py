"""MLflow as it is: a run, read back from its database."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from helpers.tiny_runs import STEPS, train

from localrules.errors import UsageError
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


def test_without_mlflow_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="not installed") as caught:
        MlflowTracker(MlflowTracker.Config())
    assert "localrules[mlflow]" in caught.value.fix
