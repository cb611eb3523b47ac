"""Metrics, charts, images and checkpoints in Weights & Biases, and a dashboard there."""

from localrules import TrackerEntry, hookimpl

API_VERSION = 1


@hookimpl
def localrules_trackers() -> list[TrackerEntry]:
    return [
        TrackerEntry(
            name="wandb",
            target="localrules_wandb.tracker:WandbTracker",
            service="localrules_wandb.service:WandbService",
            summary="Weights & Biases, online or offline.",
            reference="https://docs.wandb.ai",
        ),
    ]
