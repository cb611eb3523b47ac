"""Resuming keeps what is there, and refuses differences by name."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from helpers.kill_process import die_at
from helpers.older_runs import remove_setting
from helpers.tiny_runs import MLP, SHORT, TINY, localrules, metrics, only_run, resume, start_process, tiny_csv, train

from localrules.tracking.run_folder import lock_run

pytestmark = pytest.mark.slow

WORDS = ["run", "--rule", "hsic", *TINY, "--lr", "0.003", "--checkpoint-every", "3"]


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was killed after its sixth step."""
    out = tmp_path_factory.mktemp("killed")
    start_process(die_at, "right after a checkpoint", [*WORDS, "--out", str(out)]).join()
    return only_run(out)


@pytest.fixture
def folder(killed: Path, tmp_path: Path) -> Path:
    """A copy of it, to spoil."""
    return Path(shutil.copytree(killed, tmp_path / "run"))


def content(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*") if path.is_file()}


def refused(folder: Path, *words: str) -> dict[str, str]:
    before = content(folder)
    said = localrules("run", "--resume", folder, "--json", *words)
    assert said.code == 2
    assert {name: found[1] for name, found in content(folder).items()} == {k: v[1] for k, v in before.items()}
    return said.error


def edited(folder: Path, pattern: str, replacement: str) -> None:
    file = folder / "config.toml"
    text, count = re.subn(pattern, replacement, file.read_text(), flags=re.MULTILINE)
    assert count == 1
    file.write_text(text)


def test_a_setting_that_was_edited_in_a_stopped_run_is_refused_by_name(folder: Path) -> None:
    edited(folder, r"^lr = 0\.003$", "lr = 0.004")
    error = refused(folder)
    assert error["what"] == "the settings in config.toml differ from those of the run"
    assert error["why"] == "optimizer.lr: 0.003 in the run, 0.004 now"


@pytest.mark.parametrize("setting", ["optimizer.nesterov", "channels_last"])
def test_a_run_of_a_version_that_lacked_a_setting_is_read_and_resumed(folder: Path, setting: str) -> None:
    remove_setting(folder, setting)
    assert localrules("eval", folder, "--json").code == 0
    edited(folder, r"^lr = 0\.003$", "lr = 0.004")  # an edit is found all the same, and it alone
    assert localrules("eval", folder, "--json").error["why"] == "optimizer.lr: 0.003 in the run, 0.004 now"
    edited(folder, r"^lr = 0\.004$", "lr = 0.003")
    assert resume(folder)["resumed_from_step"] == 6
    assert localrules("eval", folder, "--json").code == 0


def test_a_finished_run_is_left_as_it_is(tmp_path: Path) -> None:
    done = train(tmp_path, "--rule", "hsic")
    before = content(tmp_path)
    assert resume(done["run_dir"]) == done
    assert resume(done["run_dir"], *WORDS[1:3]) == done
    assert content(tmp_path) == before
    for_people = localrules("run", "--resume", done["run_dir"])
    assert (for_people.code, for_people.out) == (0, "")
    assert "This run is finished" in for_people.err


def test_a_finished_run_that_was_moved_says_where_it_is(tmp_path: Path) -> None:
    done = Path(train(tmp_path, "--rule", "hsic")["run_dir"])
    assert resume(done.rename(tmp_path / "moved"))["run_dir"] == str(tmp_path / "moved")


@pytest.mark.parametrize(
    ("words", "difference"),
    [
        (["--lr", "0.01"], "optimizer.lr: 0.003 in the run, 0.01 now"),
        (["--rule", "backprop"], "rule.name: 'hsic' in the run, 'backprop' now"),
        (["--model", "dense_fpn"], "model.name: 'mlp' in the run, 'dense_fpn' now"),
        (["--set", "model.hidden=[12]"], "model.hidden: [12, 8] in the run, [12] now"),
        (["--set", "data.seed=1"], "data.seed: 0 in the run, 1 now"),
        (["--steps", "13"], "steps: 12 in the run, 13 now"),
        (["--epochs", "3"], "epochs: None in the run, 3.0 now"),
        (["--seed", "1"], "seed: 0 in the run, 1 now"),
        (["--threads", "2"], "threads: 1 in the run, 2 now"),
        (["--precision", "bf16"], "precision: 'fp32' in the run, 'bf16' now"),
        (["--checkpoint-every", "4"], "checkpoint_every: 3 in the run, 4 now"),
        (["--set", "phases=two-phase"], "phases: "),
        (["--track", "tensorboard"], "trackers.tensorboard: None in the run, {} now"),
        (["--preset", "paper"], "optimizer.lr: 0.003 in the run, 0.005 now"),
        (["--set", "rule.preset=paper"], "rule."),
    ],
)
def test_another_setting_is_refused_and_named(folder: Path, words: list[str], difference: str) -> None:
    error = refused(folder, *words)
    assert error["what"] == "the settings differ from those of the run"
    assert difference in error["why"]
    assert error["where"] == str(folder)


def test_the_very_same_words_again_make_no_difference(folder: Path) -> None:
    assert resume(folder, *WORDS[1:])["resumed_from_step"] == 6


def test_a_misspelt_setting_is_named_and_nothing_happens(folder: Path) -> None:
    assert "there is no option 'leraning_rate'" in refused(folder, "--set", "leraning_rate=1")["what"]


@pytest.mark.parametrize("key", ["torch", "numpy", "machine", "processor", "instructions", "localrules"])
def test_other_versions_or_another_machine_are_refused(folder: Path, key: str) -> None:
    edited(folder, rf'^{key} = ".*"$', f'{key} = "another"')
    error = refused(folder)
    assert error["what"] == "the machine, the versions or the data differ from those of the run"
    assert f"environment.{key}: 'another' in the run" in error["why"]


def test_the_words_typed_the_git_state_and_other_plugins_may_differ(folder: Path) -> None:
    edited(folder, r'^command = ".*"$', 'command = "other words"')
    edited(folder, r'^system = ".*"$', 'system = "another"')
    assert resume(folder)["resumed_from_step"] == 6


def test_other_data_under_the_same_name_are_refused(tmp_path: Path) -> None:
    csv = tmp_path / "fer2013.csv"
    tiny_csv(csv)
    words = ["run", "--rule", "hsic", "--data", "fer2013", "--data-path", str(csv), *MLP, *SHORT]
    start_process(die_at, "between two checkpoints", [*words, "--out", str(tmp_path / "runs")]).join()
    folder = only_run(tmp_path / "runs")
    lines = csv.read_text().splitlines()
    csv.write_text("\n".join([lines[0], *lines[2:]]) + "\n")
    assert "trained_on.fingerprint" in refused(folder)["why"]


def test_another_version_of_a_plugin_file_is_refused(tmp_path: Path) -> None:
    rule = tmp_path / "rule.py"
    source = """
from localrules import Objective
class Mine(Objective):
    def forward(self, view):
        return view.output.square().mean()
RULES = {"mine": Mine}
"""
    rule.write_text(source)
    words = ["run", "--rule", "mine", "--plugin", str(rule), *TINY]
    start_process(die_at, "right after a checkpoint", [*words, "--out", str(tmp_path / "runs")]).join()
    folder = only_run(tmp_path / "runs")
    assert "there is no rule 'mine'" in refused(folder)["what"]
    rule.write_text(source.replace("square", "abs"))
    assert "environment.supplied_by.rule: 'rule.py " in refused(folder, "--plugin", str(rule))["why"]
    rule.write_text(source)
    assert resume(folder, "--plugin", rule)["steps"] == 12


@pytest.mark.parametrize("name", ["nowhere", "a file", "an empty folder", "a folder with settings"])
def test_what_is_not_a_run_folder(tmp_path: Path, name: str) -> None:
    place = tmp_path / name
    if name == "a file":
        place.write_text("")
    elif name != "nowhere":
        place.mkdir()
    if name == "a folder with settings":
        (place / "config.toml").write_text('seed = 3\n[rule]\nname = "hsic"\n')
    for words in (("run", "--resume", place), ("eval", place)):
        said = localrules(*words, "--json")
        assert said.code == 2
        assert said.error["what"] == "this is not a run folder"


@pytest.mark.parametrize("damage", ["cut", "noise", "empty", "of another network"])
def test_a_damaged_checkpoint_is_named_and_kept(folder: Path, damage: str, tmp_path: Path) -> None:
    file = folder / "checkpoints" / "last.pt"
    if damage == "of another network":
        other = train(tmp_path / "other", "--rule", "hsic", "--set", "model.hidden=[9]")
        shutil.copy(Path(other["run_dir"]) / "checkpoints" / "last.pt", file)
    else:
        whole = file.read_bytes()
        file.write_bytes({"cut": whole[: len(whole) // 2], "noise": b"\x80" * 500, "empty": b""}[damage])
    before = content(folder)
    said = localrules("run", "--resume", folder, "--json")
    assert said.code == 1
    assert said.error["what"] == "the checkpoint cannot be loaded"
    assert said.error["where"] == str(file)
    assert content(folder) == before


def test_a_checkpoint_runs_no_code(folder: Path, tmp_path: Path) -> None:
    import pickle

    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "sprung",)

    (folder / "checkpoints" / "last.pt").write_bytes(pickle.dumps(Trap()))
    assert localrules("run", "--resume", folder, "--json").code == 1
    assert not (tmp_path / "sprung").exists()


def test_metrics_that_were_cut_shorter_than_the_checkpoint_knows_are_an_error(folder: Path) -> None:
    file = folder / "metrics.csv"
    file.write_bytes(file.read_bytes()[:40])
    assert refused(folder)["what"] == "the run's metrics do not fit its checkpoint"


def test_rows_after_the_checkpoint_are_cut_back(folder: Path) -> None:
    with (folder / "metrics.csv").open("a") as file:
        file.write("999,1.0,joint\n")
    resume(folder)
    assert [row["step"] for row in metrics(folder)] == ["0", "2", "4", "6", "8", "10", "12"]


def test_a_run_that_another_process_is_training_is_left_to_it(folder: Path) -> None:
    with lock_run(folder):
        assert refused(folder)["what"] == "the run is still going on"
    assert resume(folder)["resumed_from_step"] == 6


def test_resuming_takes_no_dry_run(folder: Path) -> None:
    assert "--dry-run and --resume" in refused(folder, "--dry-run")["what"]


def test_what_changes_no_result_may_be_another_in_a_resumed_run(folder: Path) -> None:
    unbroken = train(folder.parent / "unbroken", *WORDS[1:], setting=[])
    said = localrules("run", "--resume", folder, "--set", "process_timeout=900", "--set", "eval_batch_size=7", "--json")
    assert said.code == 0
    assert said.document["weights_sha256"] == unbroken["weights_sha256"]
    assert localrules("eval", folder, "--split", "valid", "--json").code == 0


def test_other_settings_that_change_no_result_are_refused_still(folder: Path) -> None:
    assert "log_every" in refused(folder, "--set", "log_every=3")["why"]
