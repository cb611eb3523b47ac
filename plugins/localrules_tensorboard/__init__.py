"""Metrics and images in TensorBoard's event files."""

from localrules import TrackerEntry, hookimpl

API_VERSION = 1


@hookimpl
def localrules_trackers() -> list[TrackerEntry]:
    return [
        TrackerEntry(
            name="tensorboard",
            target="localrules_tensorboard.tracker:TensorBoardTracker",
            summary="TensorBoard event files beside the run's metrics (pip install 'localrules[tensorboard]').",
            reference="https://www.tensorflow.org/tensorboard",
        ),
    ]
