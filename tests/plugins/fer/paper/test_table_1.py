"""Table 1 with the networks that the paper compares with, as large as they are, for two steps."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest
from helpers.tiny_runs import localrules

pytestmark = pytest.mark.slow

pytest.importorskip("torchvision")

WORDS = ["--data", "faces", "--model", "dense_fpn_small", "--scale", "0.0002", "--threads", "1", "--json"]
# Adam's two averages would be three times the weights in every checkpoint, and nothing is learned here anyway.
for option in (
    *("data.train=14", "data.valid=7", "data.test=7", "batch_size=4"),
    *("optimizer.name=sgd", "optimizer.momentum=0", "plots=false"),
):
    WORDS += ["--set", option]


@pytest.mark.exhaustive
def test_the_real_baselines_are_trained_timed_and_scored(tmp_path: Path) -> None:
    said = localrules("reproduce", "table-1", *WORDS, "--out", tmp_path)
    shutil.rmtree(tmp_path / "runs", ignore_errors=True)  # half a gigabyte of weights
    assert said.code == 0, said.out
    assert [(run["row"], run["summary"]["steps"]) for run in said.document] == [
        ("AlexNet", 2),
        ("Inception v2", 2),
        ("ResNet-50", 2),
        ("the paper's", 2),
    ]
    with (tmp_path / "table-1" / "table-1.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    for line in lines[:3]:  # of AlexNet the paper has the parameters for a thousand classes
        theirs, ours = float(line["M parameters, published"]), float(line["M parameters"])
        assert ours == pytest.approx(theirs, rel=0.07)
