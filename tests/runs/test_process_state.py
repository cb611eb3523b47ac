"""Trackers, hooks and data sets that change the state of the process: put back, and named."""

from __future__ import annotations

import random
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.tiny_runs import FACES, MLP, SHORT, localrules

import localrules as package
from localrules.utils.process_settings import SETTINGS

PLUGIN = """
import os, random, signal, warnings
import numpy as np
import torch
from localrules import DataSource, Tracker, hookimpl
from localrules_fer.faces.dataset import Faces

def disturb():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.umask(0o777)
    warnings.simplefilter("error")
    torch.set_num_threads(2)
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(1), np.random.seed(1), random.seed(1)

class Disturbs(Tracker):
    "A tracker that changes the state of the process."
    def on_train_start(self, network, rule):
        disturb()
    def on_log(self, row):
        disturb()

class Reseeds(Faces):
    "A data set that seeds all generators, as many do."
    def load(self):
        torch.manual_seed(1), np.random.seed(1), random.seed(1)
        return super().load()

class Loads(Faces):
    "A data set that changes the state of the process."
    def load(self):
        disturb()
        return super().load()

@hookimpl
def localrules_run_epoch(row):
    os.chdir("/")

TRACKERS = {"disturbs": Disturbs}
DATA = {"reseeds": Reseeds, "loads": Loads}
"""
WORDS = ["--rule", "local-ce", *MLP, *SHORT, "--json"]


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(PLUGIN)
    return path


def state() -> list[object]:
    kept = [setting.read() for setting in SETTINGS if setting.read() != (tuple(warnings.filters), warnings.showwarning)]
    return [*kept, torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()]  # type: ignore[index]


def test_a_tracker_and_a_hook(plugin: Path, tmp_path: Path) -> None:
    plain = localrules("run", *WORDS, *FACES, "--out", tmp_path / "plain").document
    before = state()
    words = ["--plugin", plugin, "--track", "disturbs", "--out", tmp_path / "runs"]
    with pytest.warns(UserWarning, match="was put back") as said:
        found = localrules("run", *WORDS, *FACES, *words)
    assert state() == before
    assert found.code == 0, found.out
    assert found.document["weights_sha256"] == plain["weights_sha256"]
    texts = [str(item.message) for item in said]
    for change in (
        "replaced the signal handler of SIGTERM",
        "set the umask to 777",
        "set the warnings filter 'error' for Warning of all modules",
    ):
        # Once, not in each event.
        assert texts.count(f"Disturbs {change} for the whole process in on_train_start; this was put back") == 1
    directory = f"a hook of {plugin} changed the working directory for the whole process in on_evaluate"
    assert f"{directory}; this was put back" in texts


def test_a_data_set_is_refused(plugin: Path, tmp_path: Path) -> None:
    before = state()
    few = [word for split in ("train", "valid", "test") for word in ("--set", f"data.{split}=7")]
    said = localrules("run", *WORDS, "--data", "loads", *few, "--plugin", plugin, "--out", tmp_path / "runs")
    assert state()[:-3] == before[:-3]
    assert said.code == 1
    assert said.error["what"] == "Loads changed the state of the whole process"
    assert f"{plugin}, line" in said.error["where"]
    assert "SIGTERM" in said.error["why"]


def test_generators_that_a_data_set_seeds_are_those_of_the_caller_afterwards(plugin: Path, tmp_path: Path) -> None:
    before = state()
    data = {"name": "reseeds", "train": 140, "valid": 70, "test": 70}
    model = {"name": "mlp", "hidden": [8]}
    package.train("local-ce", model, data, steps=2, plots=False, out=tmp_path, plugins=[plugin])
    assert state() == before
