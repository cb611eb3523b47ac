"""Wrong options are refused before anything is written, with what to do."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.tiny_runs import DENSE, FACES, MLP, SHORT, TINY, localrules, train

from localrules.engine.resolve import resolve_run
from localrules.registry.registry import Registry

pytestmark = pytest.mark.slow

DENSE_RUN = ["--rule", "hsic", *FACES, *DENSE, *SHORT]


@pytest.mark.parametrize(
    ("words", "what", "fix"),
    [
        (["--rule", "hsik"], "there is no rule 'hsik'", "did you mean 'hsic'"),
        (["--model", "dense_fp"], "there is no model 'dense_fp'", "'dense_fpn'"),
        (["--data", "face"], "there is no data set 'face'", "did you mean 'faces'"),
        (["--preset", "papre"], "there is no preset 'papre'", "did you mean 'paper'"),
        (["--track", "tensorbord"], "there is no tracker 'tensorbord'", "did you mean 'tensorboard'"),
        (["--set", "rule.preset=papre"], "rule 'hsic' has no preset 'papre'", "did you mean 'paper'"),
        (["--set", "rule.bta=1"], "there is no option 'rule.bta'", "did you mean 'beta'"),
        (["--set", "optimizer.mometum=1"], "there is no option 'optimizer.mometum'", "did you mean 'momentum'"),
        (["--set", "beta"], "'beta' is not a setting", "--set rule.beta=100"),
        (["--granularity", "999"], "DenseFPNSmall cannot be cut into 999 parts", "a number from 1 to 3"),
        (["--granularity", "0"], "option 'granularity' has a value", "layer, block, or a number of parts"),
        (["--granularity", "fine"], "option 'granularity' has a value", "layer, block, or a number of parts"),
        (["--granularity", "window:0"], "option 'granularity' has a value", "window:K or window:K:CUT"),
        (
            ["--set", "augment.padding=black", "--set", "augment.rotation=10"],
            "these settings do not go together",
            "change one of them",
        ),
        (["--batch-size", "1"], "rule 'hsic' needs batches of at least 3", "--batch-size 3 or more"),
        (["--batch-size", "141"], "the training split does not fill one batch", "between 1 and 140"),
        (["--set", "phases=two-phase", "--steps", "1"], "2 phases do not fit into 1 steps", "2 steps or more"),
        (["--set", "phases=tow-phase"], "option 'phases' has a value", "joint, two-phase, or a list"),
        (["--device", "cuda"], "device 'cuda' cannot be used here", "--device cpu"),
        (["--device", "cuda:1"], "device 'cuda:1' cannot be used here", "--device cpu"),
        (["--threads", "0"], "option 'threads' has a value", "CPU threads"),
        (["--seed", "-1"], "option 'seed' has a value", "weights"),
        (["--seed", "99999999999999999999"], "option 'seed' has a value", "weights"),
        (["--lr", "inf"], "option 'optimizer.lr' has a value", ""),
        (["--steps", "3", "--epochs", "1"], "--steps and --epochs are both given", "leave out one"),
        (["--data-path", "faces.csv"], "faces is not read from a file", "leave out --data-path"),
        (["--set", "wandb.media=true"], "tracker 'wandb' is given options and is not on", "add --wandb auto"),
        (["--wandb", "offline", "--set", "wandb.medai=true"], "there is no option 'wandb.medai'", "'media'"),
        (["--set", "trackers=3"], "'trackers' is a table, not 3", "trackers.OPTION"),
        (["--config", "nowhere.toml"], "the settings cannot be read", ""),
        (["--plugin", "nowhere.py"], "the plugin file does not exist", "the path of one .py file"),
    ],
)
def test_wrong_words_are_refused_with_what_to_do(words: list[str], what: str, fix: str, tmp_path: Path) -> None:
    if words[0] == "--preset":
        setting = ["--rule", "hsic", *FACES]
    else:
        setting = [*DENSE_RUN, *(["--data", "faces"] if words[0] == "--data-path" else [])]
    said = localrules("run", *setting, "--out", tmp_path / "runs", "--json", *words)
    assert said.code == 2
    assert said.error["what"].startswith(what)
    assert fix in said.error["fix"]
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("words", [["run", "--steps"], ["plugins", "new", "--kind"], ["rules", "show", "--plugin"]])
def test_an_option_without_its_value_is_refused_by_the_command(words: list[str]) -> None:
    said = localrules(*words, "--json")
    command = " ".join(["localrules", *words[:-1]])
    assert (said.code, said.error["where"], said.error["fix"]) == (2, command, f"see {command} --help")


def test_a_rule_must_be_named() -> None:
    said = localrules("run", *TINY, "--json")
    assert said.code == 2
    assert said.error["what"] == "no rule is named"


def test_a_place_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said = localrules("run", "--rule", "hsic", *TINY, "--out", tmp_path / "file" / "runs", "--json")
    assert said.code == 2
    assert said.error["what"] == "the run folder cannot be made"
    assert "--out" in said.error["fix"]


@pytest.mark.parametrize(("granularity", "layers"), [("layer", 4), ("3", 4), ("2", 3), ("1", 2), ("block", 2)])
def test_granularity_is_how_many_parts_learn_alone(granularity: str, layers: int) -> None:
    said = localrules("run", *DENSE_RUN, "--granularity", granularity, "--dry-run", "--json")
    assert said.code == 0
    found = said.document["layers"]
    assert len(found) == layers


def test_the_preset_paper_is_the_paper_as_printed_and_yields_to_what_is_typed() -> None:
    registry = Registry.load()
    named = {"rule": {"name": "hsic"}, "model": {"name": "dense_fpn"}, "data": {"name": "faces"}, "preset": "paper"}
    config = resolve_run(named, registry).config
    assert (config.steps, config.epochs, config.batch_size) == (10_000, None, 128)
    assert (config.optimizer.name, config.optimizer.lr, config.schedule.name) == ("adam", 0.005, "constant")
    printed = registry.resolve("rule", "hsic").info.presets["paper"]
    assert printed.items() <= config.rule.to_table().items()
    shorter = resolve_run({**named, "epochs": 1.0, "optimizer": {"lr": 0.1}}, registry).config
    assert (shorter.steps, shorter.epochs, shorter.optimizer.lr) == (None, 1.0, 0.1)


def test_the_papers_control_takes_the_preset_though_it_has_no_form_of_its_own_in_the_paper() -> None:
    named = {"rule": {"name": "backprop"}, "model": {"name": "dense_fpn"}, "data": {"name": "faces"}}
    config = resolve_run({**named, "preset": "paper"}, Registry.load()).config
    assert (config.rule.to_table(), config.steps, config.optimizer.lr) == ({"name": "backprop"}, 10_000, 0.005)


def test_a_name_alone_is_enough_for_a_rule_in_a_setting(tmp_path: Path) -> None:
    assert train(tmp_path, "--set", "rule=backprop", "--steps", "1")["rule"] == "backprop"


def test_without_a_file_the_default_data_are_the_faces_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from localrules_fer.datasets.fer2013 import FER2013

    monkeypatch.setattr(FER2013, "find", staticmethod(lambda: None))
    words = ["run", "--rule", "hsic", *FACES[2:], *MLP, *SHORT, "--out", tmp_path, "--steps", "1"]
    said = localrules(*words)
    assert said.code == 0
    assert said.err.startswith("Data: faces, built-in; fer2013 was not found (--data-path FILE)\n")


def test_an_option_is_of_the_data_set_that_is_typed_beside_it_not_of_the_files(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('steps = 100\n[rule]\nname = "hsic"\n[data]\nname = "fer2013"\npath = "nowhere.csv"\n')
    said = localrules("run", "--config", file, *FACES, *DENSE, *SHORT, "--dry-run", "--json")
    assert said.code == 0, said.out
    assert said.document["steps_per_epoch"] == 140 // 32
