"""Metrics, charts, images and weights in MLflow."""

from localrules import TrackerEntry, hookimpl

API_VERSION = 1


@hookimpl
def localrules_trackers() -> list[TrackerEntry]:
    return [
        TrackerEntry(
            name="mlflow",
            target="localrules_mlflow.tracker:MlflowTracker",
            summary="MLflow, on this machine or a server (pip install 'localrules[mlflow]').",
            reference="https://mlflow.org",
        ),
    ]
