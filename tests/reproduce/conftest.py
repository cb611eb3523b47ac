"""Experiments of small cases, in a plugin file; their runs draw no plots."""

from __future__ import annotations

from pathlib import Path

import pytest

PLUGIN = '''
"""A plugin with experiments."""

from localrules import ExperimentEntry, hookimpl


@hookimpl
def localrules_experiments():
    return [
        ExperimentEntry(name="small", target=f"{__name__}:small", summary="Two small cases.", suite="tiny"),
        ExperimentEntry(name="open", target=f"{__name__}:open_", summary="Cases for any data.", suite="tiny"),
        ExperimentEntry(name="looks", target=f"{__name__}:looks", summary="Trains nothing."),
        ExperimentEntry(name="wrong", target=f"{__name__}:wrong", summary="Returns a number."),
    ]


def _settings(data, **more):
    return {
        "rule": {"name": "backprop"},
        "model": {"name": "mlp", "hidden": [12]},
        "batch_size": 32,
        "plots": False,
        "optimizer": {"lr": 0.01},
        **data,
        **more,
    }


FACES = {"data": {"name": "faces", "train": 140, "valid": 70, "test": 70}}


def small():
    from localrules.reproduce.spec import Case, Experiment

    cases = (
        Case(name="First, two epochs", settings=_settings(FACES, epochs=2.0), published=30.0, source="A table"),
        Case(
            name="Second, ten steps",
            settings=_settings(FACES, steps=10),
            published=-200.0,
            source="A paper, https://example.org/paper",
            metric="valid_accuracy",
            seeds=(4,),
            deviations="it is smaller",
        ),
    )
    return Experiment(cases=cases, notes=("There is <no> third case.",))


def open_():
    from localrules.reproduce.spec import Case, Experiment

    cases = (
        Case(name="Any", settings=_settings({}, steps=1), published=1.0, source="None", published_on={"data": "mnist"}),
        Case(
            name="Any model",
            settings={"rule": {"name": "backprop"}, "steps": 1, "batch_size": 8, "plots": False},
            published=None,
            source="None",
        ),
    )
    return Experiment(cases=cases, claim="Any data will do.", report=show)


def looks():
    from localrules.reproduce.spec import Experiment

    return Experiment(cases=(), claim="Images are images.", report=show)


def show(artifacts):
    from localrules.utils.plotting import new_figure, save_figure

    cases = [[outcome.case.name, outcome.ours] for outcome in artifacts.outcomes]
    artifacts.plot("seen", "What is <seen>", lambda path: save_figure(new_figure(1, 1), path), shows_data=True)
    artifacts.table("cases", "The cases", ["row", "ours"], cases)
    artifacts.table("hidden", "The numbers", ["n"], [[None], [2]], shown=False)


def wrong():
    return 3
'''


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    """The plugin file."""
    path = tmp_path / "experiments.py"
    path.write_text(PLUGIN)
    return path
