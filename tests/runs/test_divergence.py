"""A run that leaves the finite numbers stops, says where, and keeps its last good checkpoint."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch
from helpers.tiny_runs import TINY, localrules, only_run
from safetensors.torch import load_file

RULE = """
import torch
from localrules import Objective

class Breaks(Objective):
    \"\"\"Its second layer's objective is not a number from the seventh step on.\"\"\"
    def __init__(self, config, layer, num_classes):
        super().__init__(config, layer, num_classes)
        self.register_buffer("calls", torch.zeros(()))
    def forward(self, view):
        loss = view.output.square().mean()
        if view.layer.name == "layers.1":
            self.calls += 1
            if self.calls > 6:
                loss = loss * float("nan")
        return loss

RULES = {"breaks": Breaks}
"""


def run_that_breaks(tmp_path: Path, *words: str) -> dict[str, str]:
    (tmp_path / "rule.py").write_text(RULE)
    plugin = tmp_path / "rule.py"
    out = tmp_path / "runs"
    said = localrules("run", "--rule", "breaks", "--plugin", plugin, *TINY, "--out", out, "--json", *words)
    assert said.code == 1
    return said.error


def test_the_error_names_step_layers_and_what_to_do(tmp_path: Path) -> None:
    error = run_that_breaks(tmp_path)
    assert error["what"] == "training diverged at step 8"  # rows are logged at even steps
    assert "layers.1" in error["where"]
    assert "layers.0" not in error["where"]
    assert "objectives" in error["why"]
    assert error["fix"].startswith("choose a lower --lr (it is 0.003)")
    assert "fp32" not in error["fix"]


def test_half_precision_is_suspected_too(tmp_path: Path) -> None:
    assert "--precision fp32" in run_that_breaks(tmp_path, "--precision", "bf16")["fix"]


@pytest.mark.parametrize("every", [1, 3, 7])
def test_the_checkpoint_before_it_is_kept(tmp_path: Path, every: int) -> None:
    """Also where a checkpoint is due at a step that is not logged, and that would have kept no numbers."""
    run_that_breaks(tmp_path, "--checkpoint-every", str(every), "--set", "log_every=100")
    weights = load_file(only_run(tmp_path / "runs") / "checkpoints" / "last.safetensors") if every != 7 else {}
    assert all(bool(torch.isfinite(values).all()) for values in weights.values())
    if every == 7:
        assert not (only_run(tmp_path / "runs") / "checkpoints").exists()


def test_the_record_shows_it_and_holds_no_summary(tmp_path: Path) -> None:
    run_that_breaks(tmp_path)
    folder = only_run(tmp_path / "runs")
    with (folder / "metrics.csv").open(newline="") as file:
        last = list(csv.DictReader(file))[-1]
    assert (last["step"], last["objective/layers.1"]) == ("8", "nan")
    assert not (folder / "summary.json").exists()


@pytest.mark.parametrize("rule", ["backprop", "hsic", "local-ce"])
def test_a_learning_rate_that_is_far_too_large_is_found_out(rule: str, tmp_path: Path) -> None:
    said = localrules("run", "--rule", rule, *TINY, "--lr", "1e30", "--out", tmp_path, "--json")
    assert said.code == 1
    assert said.error["what"].startswith("training diverged at step ")
    assert "it is 1e+30" in said.error["fix"]


BUFFERS = """
import torch
from localrules import Objective

class KeepsInfinity(Objective):
    \"\"\"A buffer of its second layer becomes infinite; the weights stay finite.\"\"\"
    def __init__(self, config, layer, num_classes):
        super().__init__(config, layer, num_classes)
        self.register_buffer("seen", torch.zeros(()))
    def forward(self, view):
        if view.layer.name == "layers.1":
            self.seen += float("inf")
        return view.output.square().mean()

RULES = {"keeps-infinity": KeepsInfinity}
"""


def test_a_buffer_that_is_not_finite_stops_the_run(tmp_path: Path) -> None:
    (tmp_path / "rule.py").write_text(BUFFERS)
    words = ["--rule", "keeps-infinity", "--plugin", tmp_path / "rule.py", *TINY, "--out", tmp_path / "runs", "--json"]
    said = localrules("run", *words)
    assert said.code == 1
    assert said.error["where"] == "layers.1"
    assert "buffers" in said.error["why"]
