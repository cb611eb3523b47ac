"""``localrules run --audit`` measures the class of locality while the run goes on, and leaves the run as it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from helpers.tiny_runs import FACES, MLP, localrules, train

from localrules import Callback, MetricsRow
from localrules import train as train_in_python
from localrules.auditing import in_run
from localrules.errors import LocalRulesError, UsageError
from localrules.testing import build_session, toy_dataset
from localrules_classics.mlp import MLP as Perceptron
from localrules_supervised.local_ce import LocalCrossEntropy

pytestmark = pytest.mark.slow

SETTINGS = [*FACES, *MLP, "--batch-size", "32", "--threads", "1", "--steps", "24", "--set", "plots=false"]
LEAK = """
from torch import Tensor
from localrules import LayerView, Objective

CALLS = {}
LAYERS = []

class Peeks(Objective):
    \"\"\"Scales its objective by the weights of the next layer, from step 12 on.\"\"\"

    def __init__(self, config, layer, num_classes) -> None:
        super().__init__(config, layer, num_classes)
        if layer.index == 0:
            LAYERS.clear()
        LAYERS.append(layer)

    def forward(self, view: LayerView) -> Tensor:
        CALLS[self.layer.name] = CALLS.get(self.layer.name, 0) + 1
        loss = (view.output.mean(0) - 1).square().mean()
        later = LAYERS[self.layer.index + 1 :]
        if CALLS[self.layer.name] > 12 and later:
            loss = loss * next(later[0].parameters()).detach().norm()
        return loss

RULES = {"peeks": Peeks}
"""


class Interrupts(Callback):
    """Ends a run at once after step 16."""

    def on_log(self, row: MetricsRow) -> None:
        if row["step"] == 16:
            raise KeyboardInterrupt


def run(tmp_path: Path, *words: str | Path) -> tuple[int, dict[str, Any]]:
    said = localrules("run", *SETTINGS, "--out", tmp_path, "--audit", "--json", *words)
    return said.code, said.document


@pytest.mark.parametrize(
    ("rule", "measured"),
    [
        pytest.param("oja", "local", marks=pytest.mark.exhaustive),
        ("hsic", "local-labels"),
        ("dfa", "broadcast-error"),
        pytest.param("fa", "feedback", marks=pytest.mark.exhaustive),
        pytest.param("backprop", "backprop", marks=pytest.mark.exhaustive),
    ],
)
def test_the_summary_has_the_declared_and_the_measured_class(rule: str, measured: str, tmp_path: Path) -> None:
    code, summary = run(tmp_path, "--rule", rule)
    assert code == 0
    assert summary["locality"] == {"declared": measured, "measured": measured, "holds": True}


def test_windows_of_layers_keep_to_their_borders_in_the_run_and_after_it(tmp_path: Path) -> None:
    words = ("--rule", "local-ce", "--granularity", "window:2", "--set", "model.hidden=[12,10,8]")
    code, summary = run(tmp_path, *words)
    assert code == 0
    assert summary["locality"] == {"declared": "window", "measured": "window", "holds": True}
    points = json.loads((Path(summary["run_dir"]) / "audit.json").read_text())["points"]
    assert all(point["measured"] == "window" and point["leaks"] == [] for point in points)
    assert any(point["tried"] > 0 for point in points)
    afterwards = localrules("audit", summary["run_dir"], "--json")
    assert (afterwards.code, afterwards.document["class"]) == (0, "window")


def test_the_run_has_the_bits_of_one_without_an_audit(tmp_path: Path) -> None:
    plain = train(tmp_path, "--rule", "hsic", setting=SETTINGS)
    _, audited = run(tmp_path, "--rule", "hsic")
    assert audited["weights_sha256"] == plain["weights_sha256"]
    assert "locality" not in plain


def test_the_folder_keeps_what_was_measured_at_the_start_the_middle_and_the_end(tmp_path: Path) -> None:
    _, summary = run(tmp_path, "--rule", "hsic", "--set", "plots=true")
    assert (Path(summary["run_dir"]) / "audit.png").read_bytes().startswith(b"\x89PNG")
    found = json.loads((Path(summary["run_dir"]) / "audit.json").read_text())
    assert [point["step"] for point in found["points"]] == [0, 11, 22]
    assert [point["measured"] for point in found["points"]] == ["local-labels"] * 3
    assert all(point["tried"] > 0 for point in found["points"])
    # Where nothing leaks, they do not grow with the run: at most two percent of a run of 1,000 steps.
    assert sum(point["branch_steps"] for point in found["points"]) <= 20
    assert {name: found[name] for name in ("declared", "measured", "holds")} == summary["locality"]


def test_a_leak_that_begins_in_the_run_is_found_and_the_layers_are_named(tmp_path: Path) -> None:
    plugin = tmp_path / "peeks.py"
    plugin.write_text(LEAK)
    code, summary = run(tmp_path, "--rule", "peeks", "--plugin", plugin)
    assert code == 1
    assert not summary["locality"]["holds"]
    start, _, end = json.loads((Path(summary["run_dir"]) / "audit.json").read_text())["points"]
    assert start["leaks"] == []
    assert end["leaks"] == [["layers.0", "layers.1"]]


def test_a_resumed_run_keeps_what_was_measured_before(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole", "--rule", "hsic")[1]
    with pytest.raises(LocalRulesError, match="interrupted"):
        train_in_python(
            "hsic",
            {"name": "mlp", "hidden": [12, 8]},
            {"name": "faces", "train": 140, "valid": 70, "test": 70},
            out=tmp_path / "cut",
            callbacks=[Interrupts()],
            batch_size=32,
            threads=1,
            steps=24,
            plots=False,
            audit=True,
            checkpoint_every=4,
            log_every=4,
        )
    (folder,) = (tmp_path / "cut").iterdir()
    assert len(json.loads((folder / "audit.json").read_text())["points"]) == 2
    resumed = localrules("run", "--resume", folder, "--json").document
    assert resumed["locality"] == whole["locality"]
    assert len(json.loads((folder / "audit.json").read_text())["points"]) == 3


def test_a_machine_that_cannot_fork_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_run, "can_fork", lambda: False)
    with pytest.raises(UsageError, match="cannot audit itself"):
        in_run.check_can_audit()


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"points": 3}', '{"points": [{"step": 1}]}', "[" * 100_000])
def test_a_damaged_record_of_a_resumed_run_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / in_run.FILE).write_text(content)
    session = build_session(LocalCrossEntropy, Perceptron, toy_dataset(), model_options={"hidden": (8,)})
    with pytest.raises(UsageError, match=r"the run's audit cannot be read") as refused:
        in_run.InRunAudit(session, tmp_path)
    assert refused.value.where == str(tmp_path / in_run.FILE)
