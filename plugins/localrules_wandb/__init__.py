"""Metrics, images and the final checkpoint in Weights & Biases."""

from localrules import TrackerEntry, hookimpl

API_VERSION = 1


@hookimpl
def localrules_trackers() -> list[TrackerEntry]:
    return [
        TrackerEntry(
            name="wandb",
            target="localrules_wandb.tracker:WandbTracker",
            summary="Weights & Biases, online or offline.",
            reference="https://docs.wandb.ai",
        ),
    ]
