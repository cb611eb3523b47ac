"""``kill -9`` at any moment leaves a folder that ``--resume`` continues to the same bits."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

import pytest
from helpers.exhaustive import few
from helpers.kill_process import COLUMN_MOMENTS, MOMENTS, die_at, die_when
from helpers.tiny_runs import (
    DENSE,
    FACES,
    SHORT,
    STEPS,
    TINY,
    localrules_code,
    metrics,
    only_run,
    resume,
    start_process,
    train,
)

pytestmark = pytest.mark.slow

# Auxiliary heads with parameters of their own, rows between checkpoints, checkpoints between epochs.
WORDS = ["run", "--rule", "local-ce", *TINY, "--checkpoint-every", "3"]
# Of each file that a run writes, one moment.
KEPT = {
    "the folder is made, nothing else",
    "the second checkpoint is half written",
    "the weights for readers are half written",
    "between two checkpoints",
    "a row of metrics is torn",
    "the summary is about to be written",
    "the file with the new column is half written",
}


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return train(tmp_path_factory.mktemp("unbroken"), *WORDS[1:], setting=[])


@pytest.mark.parametrize("moment", few(MOMENTS, KEPT))
def test_a_run_killed_at_any_moment_ends_with_the_bits_of_an_unbroken_one(
    moment: str, unbroken: dict[str, Any], tmp_path: Path
) -> None:
    process = start_process(die_at, moment, [*WORDS, "--out", str(tmp_path)])
    process.join()
    assert process.exitcode == -signal.SIGKILL
    folder = only_run(tmp_path)
    summary = resume(folder)
    assert summary["resumed_from_step"] == MOMENTS[moment][1]
    assert summary["weights_sha256"] == unbroken["weights_sha256"]
    assert metrics(folder) == metrics(unbroken["run_dir"])
    for metric in ("steps", "epochs", "train_accuracy", "valid_accuracy", "parameters"):
        assert summary[metric] == unbroken[metric]
    for metric in ("seconds", "step_seconds", "samples_per_second", "peak_memory_mib"):
        assert summary[metric] > 0, metric


@pytest.mark.parametrize("moment", few(COLUMN_MOMENTS, KEPT))
def test_a_column_that_a_rule_logs_late_is_the_same_after_a_kill(moment: str, tmp_path: Path) -> None:
    late = str(Path(__file__).with_name("late_metric.py"))
    words = ["run", "--rule", "late", "--plugin", late, *TINY, "--checkpoint-every", "3"]
    unbroken = train(tmp_path / "unbroken", *words[1:], setting=[])
    process = start_process(die_when, moment, [*words, "--out", str(tmp_path / "broken")])
    process.join()
    assert process.exitcode == -signal.SIGKILL
    folder = only_run(tmp_path / "broken")
    summary = resume(folder, "--plugin", late)
    assert summary["resumed_from_step"] == (9 if "two rows" in moment else 6)
    assert summary["weights_sha256"] == unbroken["weights_sha256"]
    assert [row["late/readout"] for row in metrics(folder)] == ["", "", "", "", "8.0", "10.0", "12.0"]
    assert metrics(folder) == metrics(unbroken["run_dir"])
    header = (folder / "metrics.csv").read_text().splitlines()[0]
    assert header == (Path(unbroken["run_dir"]) / "metrics.csv").read_text().splitlines()[0]


@pytest.mark.parametrize("rule", few(["hsic", "hsic-normalized", "backprop", "backprop-checkpointed"], {"hsic"}))
def test_every_rule_resumes_to_the_same_bits(rule: str, tmp_path: Path) -> None:
    words = ["run", "--rule", rule, *FACES, *DENSE, *SHORT, "--checkpoint-every", "5"]
    unbroken = train(tmp_path / "unbroken", *words[1:], setting=[])
    process = start_process(die_at, "between two checkpoints", [*words, "--out", str(tmp_path / "broken")])
    process.join()
    folder = only_run(tmp_path / "broken")
    summary = resume(folder)
    assert summary["resumed_from_step"] == 5
    assert summary["weights_sha256"] == unbroken["weights_sha256"]
    assert metrics(folder) == metrics(unbroken["run_dir"])


WAYS = {
    "half precision": ["--precision", "bf16", "--set", "optimizer.name=sgd"],
    "passes": ["--granularity", "2", "--set", "optimizer.step_timing=pass", "--set", "optimizer.grad_clip_norm=0.1"],
    "tracker": ["--set", "channels_last=false", "--set", "optimizer.name=adamw", "--wandb", "offline"],
    "targets and augmentation": [
        "--set",
        "targets={mixup=0.5, label_smoothing=0.1}",
        "--set",
        "augment.rand_augment=1",
    ],
    "diagnostics": ["--diagnose", "gradient,update,angle,dead"],
    "diagnostics of every step": ["--diagnose", "gradient", "--set", "log_every=1"],
}


@pytest.mark.parametrize("way", few(WAYS, {"targets and augmentation", "diagnostics"}))
def test_every_way_to_train_resumes_to_the_same_bits(way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    words = ["run", "--rule", "hsic", *FACES, *DENSE, *SHORT, "--checkpoint-every", "5", *WAYS[way]]
    unbroken = train(tmp_path / "unbroken", *words[1:], setting=[])
    process = start_process(die_at, "between two checkpoints", [*words, "--out", str(tmp_path / "broken")])
    process.join()
    folder = only_run(tmp_path / "broken")
    summary = resume(folder)
    assert summary["resumed_from_step"] == 5
    assert summary["weights_sha256"] == unbroken["weights_sha256"]
    assert metrics(folder) == metrics(unbroken["run_dir"])


@pytest.mark.parametrize("rule", few(["hsic", "local-ce"], {"local-ce"}))
def test_a_run_killed_in_its_second_phase_resumes_in_it(rule: str, tmp_path: Path) -> None:
    words = ["run", "--rule", rule, *TINY, "--set", "phases=two-phase", "--checkpoint-every", "1"]
    unbroken = train(tmp_path / "unbroken", *words[1:], setting=[])
    process = start_process(die_at, "the last step is done, its checkpoint not", [*words, "--out", str(tmp_path / "b")])
    process.join()
    folder = only_run(tmp_path / "b")
    summary = resume(folder)
    assert summary["resumed_from_step"] == STEPS - 1  # the second phase is the last quarter: steps 10 to 12
    assert [row["phase"] for row in metrics(folder)] == ["hidden"] * 5 + ["readout"] * 2
    assert summary["weights_sha256"] == unbroken["weights_sha256"]
    assert metrics(folder) == metrics(unbroken["run_dir"])


def test_a_run_may_be_killed_again_and_again(unbroken: dict[str, Any], tmp_path: Path) -> None:
    process = start_process(die_at, "right after a checkpoint", [*WORDS, "--out", str(tmp_path)])
    process.join()
    folder = only_run(tmp_path)
    again = ["run", "--resume", str(folder)]
    for moment in ("before the first step", "the second checkpoint is half written", "before the first step"):
        process = start_process(die_at, moment, again)
        process.join()
        assert process.exitcode == -signal.SIGKILL
    assert resume(folder)["weights_sha256"] == unbroken["weights_sha256"]
    assert metrics(folder) == metrics(unbroken["run_dir"])


@pytest.mark.parametrize("rows", few([1, 3, 5], {"3"}))
def test_a_kill_from_outside_at_no_chosen_moment(rows: int, unbroken: dict[str, Any], tmp_path: Path) -> None:
    process = start_process(localrules_code, [*WORDS, "--out", str(tmp_path)])
    file = None
    while process.is_alive() and (file is None or file.read_bytes().count(b"\n") <= rows):
        file = next(iter(tmp_path.glob("*/metrics.csv")), None)
        time.sleep(0.001)
    process.kill()
    process.join()
    assert file is not None
    folder = only_run(tmp_path)
    assert resume(folder)["weights_sha256"] == unbroken["weights_sha256"]
    assert metrics(folder) == metrics(unbroken["run_dir"])


def test_nothing_but_the_record_of_the_run_is_left_in_the_folder(tmp_path: Path) -> None:
    """Half-written temporary files of a killed process do not stay behind."""
    process = start_process(die_at, "the second checkpoint is half written", [*WORDS, "--out", str(tmp_path)])
    process.join()
    folder = only_run(tmp_path)
    resume(folder)
    assert {path.name for path in folder.rglob("*")} == {
        "config.toml",
        "metrics.csv",
        "summary.json",
        "checkpoints",
        "last.pt",
        "last.safetensors",
        "previous.pt",
    }
