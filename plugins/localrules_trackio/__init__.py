"""Metrics, charts and images in trackio: a dashboard on this machine, without an account."""

from localrules import TrackerEntry, hookimpl

API_VERSION = 1


@hookimpl
def localrules_trackers() -> list[TrackerEntry]:
    return [
        TrackerEntry(
            name="trackio",
            target="localrules_trackio.tracker:TrackioTracker",
            summary="trackio, a dashboard on this machine (pip install 'localrules[trackio]').",
            reference="https://github.com/gradio-app/trackio",
        ),
    ]
