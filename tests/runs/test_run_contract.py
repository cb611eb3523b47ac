"""The contract of scripts: one JSON document, its keys, exit codes, and the same bits twice."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.exhaustive import few
from helpers.tiny_runs import (
    DENSE,
    FACES,
    MLP,
    PER_EPOCH,
    SHORT,
    STEPS,
    TINY,
    localrules,
    metrics,
    only_run,
    tiny_csv,
    train,
)
from safetensors.torch import load_file

pytestmark = pytest.mark.slow

SUMMARY: dict[str, type | tuple[type, ...]] = {
    "status": str,
    "run_dir": str,
    "rule": str,
    "model": str,
    "data": str,
    "seed": int,
    "threads": int,
    "devices": int,
    "parallel": type(None),
    "stages": type(None),
    "stage_seconds": type(None),
    "bubble_fraction": type(None),
    "steps": int,
    "epochs": float,
    "parameters": int,
    "train_accuracy": float,
    "valid_accuracy": float,
    "majority_share": float,
    "seconds": float,
    "step_seconds": float,
    "samples_per_second": float,
    "peak_memory_mib": float,
    "process_peak_mib": float,
    "resumed_from_step": int,
    "stop_reason": type(None),
    "weights_sha256": str,
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("contract")


@pytest.fixture(scope="module")
def done(place: Path) -> dict[str, Any]:
    return train(place, "--rule", "hsic", "--seed", "3")


def test_the_summary_has_these_keys_of_these_types(done: dict[str, Any]) -> None:
    assert {name: type(value) for name, value in done.items()} == SUMMARY


def test_the_summary_says_what_ran(done: dict[str, Any], place: Path) -> None:
    folder = Path(done["run_dir"])
    assert folder.is_absolute()
    assert folder.parent == place
    names = ("rule", "model", "data", "seed", "threads", "steps", "epochs", "resumed_from_step", "status")
    assert [done[name] for name in names] == ["hsic", "mlp", "faces", 3, 1, STEPS, 3.0, 0, "done"]
    assert json.loads((folder / "summary.json").read_text()) == done


def test_its_metrics_are_sane(done: dict[str, Any]) -> None:
    for name, samples in (("train_accuracy", 140), ("valid_accuracy", 70)):
        assert 0 < done[name] <= 1
        assert done[name] * samples == pytest.approx(round(done[name] * samples))  # a count of images
    assert 0 < done["step_seconds"] < done["seconds"]
    assert done["samples_per_second"] == pytest.approx(32 / done["step_seconds"])
    assert 0 < done["peak_memory_mib"] < done["process_peak_mib"]
    assert done["parameters"] == 48 * 48 * 12 + 12 + 24 + 12 * 8 + 8 + 16 + 8 * 7 + 7
    assert len(bytes.fromhex(done["weights_sha256"])) == 32


def test_the_hash_is_over_names_dtypes_shapes_and_bytes_of_the_weights_on_disk(done: dict[str, Any]) -> None:
    digest = hashlib.sha256()
    for name, tensor in sorted(load_file(Path(done["run_dir"]) / "checkpoints" / "last.safetensors").items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.numpy().tobytes())
    assert digest.hexdigest() == done["weights_sha256"]


def test_the_weights_load_into_the_plain_model(done: dict[str, Any]) -> None:
    from localrules_classics.mlp import MLP as Plain

    model = Plain(Plain.Config(hidden=(12, 8)), (1, 48, 48), 7)
    model.load_state_dict(load_file(Path(done["run_dir"]) / "checkpoints" / "last.safetensors"))
    assert model.eval()(torch.zeros(2, 1, 48, 48)).shape == (2, 7)


def test_config_toml_is_resolved_and_says_on_what_it_ran(done: dict[str, Any]) -> None:
    config = tomllib.loads((Path(done["run_dir"]) / "config.toml").read_text())
    assert (config["seed"], config["threads"], config["steps"]) == (3, 1, STEPS)
    assert config["rule"].keys() > {"name"}
    assert config["model"]["hidden"] == [12, 8]
    assert config["data"]["train"] == 140
    assert config["environment"]["torch"] == torch.__version__
    assert config["environment"]["plugins"]
    assert config["trained_on"]["shape"] == [1, 48, 48]


def test_metrics_has_a_row_a_logged_step_with_every_layers_objective(done: dict[str, Any]) -> None:
    rows = metrics(done["run_dir"])
    assert [row["step"] for row in rows] == ["0", "2", "4", "6", "8", "10", "12"]
    assert [float(row["epoch"]) for row in rows] == [0, 0.5, 1, 1.5, 2, 2.5, 3]
    untrained, *trained = rows
    assert {key for key, value in untrained.items() if value} == {
        "step", "epoch", "phase", "valid_loss", "valid_accuracy",
    }  # fmt: skip
    for row in trained:
        for column in ("objective/layers.0", "objective/layers.1", "objective/readout", "loss", "accuracy", "lr"):
            assert row[column]
        assert bool(row["valid_accuracy"]) == bool(row["valid_loss"]) == (int(row["step"]) % PER_EPOCH == 0)
    assert float(rows[-1]["valid_accuracy"]) == done["valid_accuracy"]


def test_the_same_words_give_the_same_bits_and_another_seed_gives_others(done: dict[str, Any], tmp_path: Path) -> None:
    again = train(tmp_path, "--rule", "hsic", "--seed", "3")
    assert again["weights_sha256"] == done["weights_sha256"]
    assert metrics(again["run_dir"]) == metrics(done["run_dir"])
    assert train(tmp_path, "--rule", "hsic", "--seed", "4")["weights_sha256"] != done["weights_sha256"]


def test_config_toml_repeats_a_run(done: dict[str, Any], tmp_path: Path) -> None:
    file = Path(done["run_dir"]) / "config.toml"
    assert train(tmp_path, "--config", file, setting=[])["weights_sha256"] == done["weights_sha256"]


def test_a_flag_wins_over_a_setting_and_a_setting_over_a_file(done: dict[str, Any], tmp_path: Path) -> None:
    file = Path(done["run_dir"]) / "config.toml"
    words = ["--config", file, "--set", "seed=5", "--set", "steps=2", "--steps", "1"]
    summary = train(tmp_path, *words, setting=[])
    assert (summary["seed"], summary["steps"]) == (5, 1)


@pytest.mark.parametrize(("asked", "steps"), [("0.1", 1), ("0.5", 2), ("1", 4), ("2.25", 9)])
def test_epochs_may_be_a_fraction(asked: str, steps: int, tmp_path: Path) -> None:
    setting = [*FACES, *MLP, *SHORT[:4], "--epochs", asked]
    summary = train(tmp_path, "--rule", "backprop", setting=setting)
    assert (summary["steps"], summary["epochs"]) == (steps, steps / PER_EPOCH)


def test_one_step_is_a_run(tmp_path: Path) -> None:
    summary = train(tmp_path, "--rule", "hsic", "--steps", "1")
    assert summary["steps"] == 1
    assert summary["step_seconds"] is None  # the only step measured memory, which slows it down
    assert summary["peak_memory_mib"] > 0


@pytest.mark.parametrize("rule", ["hsic", "local-ce"])
def test_parameters_are_the_networks_whatever_learns_last(rule: str, tmp_path: Path) -> None:
    joint = train(tmp_path, "--rule", rule, "--steps", "2")
    two_phase = train(tmp_path, "--rule", rule, "--steps", "2", "--set", "phases=two-phase")
    backprop = train(tmp_path, "--rule", "backprop", "--steps", "2")
    assert joint["parameters"] == two_phase["parameters"] == backprop["parameters"]


def test_without_a_valid_split_there_is_no_valid_accuracy(tmp_path: Path) -> None:
    csv = tiny_csv(tmp_path / "fer2013.csv", train=140)
    setting = ["--data", "fer2013", "--data-path", str(csv), *MLP, *SHORT]
    summary = train(tmp_path / "runs", "--rule", "hsic", setting=setting)
    assert summary["valid_accuracy"] is None
    assert summary["train_accuracy"] is not None
    said = localrules("eval", summary["run_dir"], "--split", "valid", "--json")
    assert said.code == 2
    assert "valid" in said.error["what"]
    assert localrules("eval", summary["run_dir"], "--split", "train", "--json").document["n"] == 140


def test_a_run_remembers_its_file_wherever_it_is_asked_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_csv(tmp_path / "faces.csv")
    monkeypatch.chdir(tmp_path)
    summary = train(
        Path("runs"), "--rule", "hsic", setting=["--data", "fer2013", "--data-path", "faces.csv", *MLP, *SHORT]
    )
    monkeypatch.chdir("/")
    said = localrules("eval", summary["run_dir"], "--json")
    assert said.code == 0
    assert said.document["top1"] == summary["valid_accuracy"]


def test_plots_of_what_was_learned_are_in_the_folder(tmp_path: Path) -> None:
    summary = train(tmp_path, "--rule", "hsic", "--set", "plots=true", setting=[*FACES, *DENSE, *SHORT])
    drawn = {path.name for path in Path(summary["run_dir"]).glob("*.png")}
    assert drawn == {f"{name}.png" for name in ("curves", "confusion", "samples", "filters", "feature_maps")}


def test_a_plot_that_cannot_be_drawn_does_not_undo_a_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from localrules.runs import plots

    def fail(*_: object) -> None:
        raise RuntimeError("no fonts here")

    monkeypatch.setattr(plots, "save_plots", fail)
    with pytest.warns(UserWarning, match="the plots could not be drawn: RuntimeError: no fonts here"):
        summary = train(tmp_path, "--rule", "hsic", "--set", "plots=true")
    assert (Path(summary["run_dir"]) / "summary.json").exists()


def test_the_real_command_prints_one_document_also_with_a_noisy_plugin_and_wandb_without_a_network(
    tmp_path: Path,
) -> None:
    """Nobody is logged in, so W&B's auto mode is offline; a proxy that is not there would fail any connection."""
    plugin = tmp_path / "noisy.py"
    plugin.write_text('print("a plugin prints when it is loaded")\n')
    words = ["run", "--rule", "hsic", *TINY, "--out", str(tmp_path), "--plugin", str(plugin), "--wandb", "auto"]
    no_network = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    folders = ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR", "XDG_CONFIG_HOME", "HOME", "NETRC")
    nobody = dict.fromkeys(folders, str(tmp_path / "home"))
    environment = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")} | no_network | nobody
    ended = subprocess.run(
        [sys.executable, "-m", "localrules", *words, "--json"],
        capture_output=True,
        text=True,
        env=environment,
        stdin=subprocess.DEVNULL,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout).keys() == SUMMARY.keys()
    for line in ("a plugin prints", "hsic trains mlp on faces", "valid accuracy", "W&B: look at it: wandb leet"):
        assert line in ended.stderr
    assert "Warning" not in ended.stderr
    assert list(tmp_path.glob("*-hsic-mlp/wandb/offline-run-*"))


@pytest.mark.parametrize("pipe", few(["2>&1 | head -1", "2>&1 >{json} | head -1", "2>/dev/full"], {"2>&1 | head -1"}))
def test_the_reader_of_its_output_may_leave_without_ending_the_run(pipe: str, tmp_path: Path) -> None:
    command = ["run", "--rule", "local-ce", *TINY, "--set", "plots=false", "--out", str(tmp_path / "runs")]
    words = shlex.join([sys.executable, "-m", "localrules", *command])
    document, code = tmp_path / "found.json", tmp_path / "code"
    as_json = "--json" if "{json}" in pipe else ""
    line = f"({words} {as_json} {pipe.split('|')[0].format(json=document)}; echo $? >{code}) | head -1"
    # As a user's shell has it: with this variable Python keeps nothing back that it could fail to write at its end.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    subprocess.run(["/bin/sh", "-c", line], capture_output=True, check=False, env=environment)
    deadline = time.monotonic() + 60
    while not code.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    folder = only_run(tmp_path / "runs")
    assert json.loads((folder / "summary.json").read_text())["status"] == "done"
    assert int(code.read_text()) == 0
    if as_json:
        assert json.loads(document.read_text())["status"] == "done"
