"""A sweep never runs a trial twice, loses nothing when it is killed, and draws what an unbroken one would."""

from __future__ import annotations

import json
import os
import socket
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.tiny_runs import Said, localrules

pytest.importorskip("optuna")

from localrules import Callback, SearchChoice, SearchRange
from localrules.callbacks.base import MetricsRow
from localrules.config.settings import Settings
from localrules.errors import UsageError
from localrules.registry.registry import Registry
from localrules.runs.executor import make_executor
from localrules.sweep.optimizer import make_sampler, suggest
from localrules.sweep.report import history_chart, write_report
from localrules.sweep.run import Sweep, SweepTrial
from localrules.sweep.space import Space, default_space, parse_params, read_space

pytestmark = pytest.mark.slow

TREE: dict[str, Any] = {
    "rule": {"name": "local-ce"},
    "model": {"name": "mlp", "hidden": [8]},
    "data": {"name": "faces", "train": 70, "valid": 14, "test": 7},
    "steps": 4,
    "batch_size": 21,
    "plots": False,
    "threads": 1,
    "log_every": 1,
}
WORDS = [
    "--rule",
    "local-ce",
    "--model",
    "mlp",
    "--data",
    "faces",
    "--steps",
    "4",
    "--batch-size",
    "21",
    "--threads",
    "1",
]
for option in ("model.hidden=[8]", "data.train=70", "data.valid=14", "data.test=7", "plots=false"):
    WORDS += ["--set", option]
SPACE: Space = {"optimizer.lr": SearchRange(1e-4, 1e-1, log=True), "rule.hidden": SearchChoice((0, 4))}
REGISTRY = Registry.load(allow=[])


def sweep(folder: Path, space: Space = SPACE, **options: Any) -> Sweep:
    return Sweep(Settings.from_tree(TREE), space, folder, REGISTRY, **options)


def told(trials: list[SweepTrial]) -> list[tuple[dict[str, Any], float | None]]:
    return [(trial.settings, trial.value) for trial in trials]


class Killed(BaseException):
    """As sudden as a signal."""


class KillOnce(Callback):
    """Ends the second run in its middle."""

    runs = 0

    def on_train_start(self, network: object, rule: object) -> None:
        KillOnce.runs += 1

    def on_log(self, row: MetricsRow) -> None:
        if KillOnce.runs == 2 and row["step"] == 2:
            raise Killed


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    found = sweep(tmp_path_factory.mktemp("unbroken"))
    found.run(4)
    return found


def test_trials_are_distinct_run_folders_on_held_out_data(unbroken: Sweep) -> None:
    trials = unbroken.trials()
    assert [trial.number for trial in trials] == [0, 1, 2, 3]
    assert len({json.dumps(trial.settings) for trial in trials}) == 4
    for trial in trials:
        assert trial.folder is not None
        config = tomllib.loads((trial.folder / "config.toml").read_text())
        assert config["holdout_fraction"] == 0.1
        assert config["optimizer"]["lr"] == pytest.approx(trial.settings["optimizer.lr"])
        assert json.loads((trial.folder / "summary.json").read_text())["valid_accuracy"] == trial.value
    best = unbroken.best()
    assert best is not None
    assert best.value == max(trial.value or 0 for trial in trials)


def test_a_killed_sweep_goes_on_and_comes_to_the_same(unbroken: Sweep, tmp_path: Path) -> None:
    KillOnce.runs = 0
    with pytest.raises(Killed):
        sweep(tmp_path, callbacks=lambda: [KillOnce()]).run(4)
    assert len(sweep(tmp_path).trials()) == 1
    assert told(sweep(tmp_path).run(4)) == told(unbroken.trials())
    assert len(list((tmp_path / "runs").iterdir())) == 4


def test_more_trials_are_added_and_fewer_repeat_nothing(unbroken: Sweep) -> None:
    before = told(unbroken.trials())
    assert told(unbroken.run(2)) == before
    assert told(unbroken.run(5))[:4] == before
    assert len(unbroken.trials()) == 5


@pytest.mark.exhaustive
def test_a_grid_has_each_point_once_and_a_searched_space_ends(tmp_path: Path) -> None:
    space: Space = {"rule.hidden": SearchChoice((0, 4)), "model.hidden": SearchChoice(([8], [4]))}
    settings = {**TREE, "model": {"name": "mlp"}}
    grid = Sweep(Settings.from_tree(settings), space, tmp_path / "grid", REGISTRY, sampler="grid")
    found = {json.dumps(trial.settings, sort_keys=True) for trial in grid.run(40)}
    assert len(found) == len(grid.trials()) == 4
    random = Sweep(Settings.from_tree(settings), {"rule.hidden": SearchChoice((0, 4))}, tmp_path / "r", REGISTRY)
    assert {trial.settings["rule.hidden"] for trial in random.run(40)} == {0, 4}
    assert len(random.trials()) == 2


def test_a_grid_over_real_numbers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="needs the values of optimizer"):
        sweep(tmp_path, sampler="grid").run(2)


def test_runs_that_fall_behind_are_pruned_and_are_not_the_best(tmp_path: Path) -> None:
    settings = {key: value for key, value in TREE.items() if key != "steps"}
    settings |= {"epochs": 4, "batch_size": 28, "data": {"name": "faces", "train": 280, "valid": 14, "test": 7}}
    space: Space = {"optimizer.lr": SearchChoice((0.03, 0.02, 0.01, 0.005, 0.004, 0.003, 1e-8))}
    found = Sweep(Settings.from_tree(settings), space, tmp_path, REGISTRY, sampler="grid", pruner="median")
    states = [trial.state for trial in found.run(7)]
    assert "pruned" in states
    told = [trial.intermediate_values for trial in found.study.get_trials()]
    assert set().union(*told) == {1, 2, 3, 4}  # epochs, and not the 10 steps of each
    best = found.best()
    assert best is not None
    assert best.state == "done"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"space": {"rule.hidden": SearchChoice((0, 2))}}, "another space"),
        ({"objective": "train_accuracy"}, "another objective"),
        ({"settings": Settings.from_tree({**TREE, "steps": 5})}, "other settings|another setting"),
        ({"direction": "minimize"}, "another direction"),
    ],
)
def test_a_study_keeps_its_space_settings_and_objective(unbroken: Sweep, change: dict[str, Any], said: str) -> None:
    known: dict[str, Any] = {
        "settings": unbroken.settings,
        "space": SPACE,
        "folder": unbroken.folder,
        "registry": REGISTRY,
    }
    with pytest.raises(UsageError, match=said):
        Sweep(**{**known, **change}).run(9)


def test_what_is_searched_must_exist_fit_and_not_be_set(tmp_path: Path) -> None:
    for name, values, said in (
        ("rule.nothing", SearchChoice((1, 2)), "nothing"),
        ("rule.hidden", SearchRange(-3, 4, integer=True), "hidden"),
        ("steps", SearchChoice((1, 2)), "set and searched"),
    ):
        with pytest.raises(UsageError, match=said):
            sweep(tmp_path, {name: values}).run(1)
    assert not list(tmp_path.glob("runs/*"))


def run(tmp_path: Path, *words: str) -> Said:
    return localrules("sweep", *WORDS, "--out", tmp_path / "study", "--json", *words)


def test_values_that_do_not_fit_refuse_their_trial_and_not_the_study(tmp_path: Path) -> None:
    tree = {key: value for key, value in TREE.items() if key != "batch_size"}
    study = Sweep(
        Settings.from_tree(tree), {"batch_size": SearchChoice((14, 1000, 28))}, tmp_path, REGISTRY, sampler="grid"
    )
    found = study.run(3)
    assert [(trial.settings["batch_size"], trial.state) for trial in found] == [
        (14, "done"), (1000, "refused"), (28, "done"),
    ]  # fmt: skip
    assert "does not fill one batch" in found[1].reason
    page = write_report(study, found, "localrules sweep").read_text(encoding="utf-8")
    assert "1 refused" in page
    assert "does not fill one batch" in page
    assert [trial.state for trial in study.run(3)] == ["done", "refused", "done"]


def test_if_no_trial_fits_the_command_ends_with_the_error(tmp_path: Path) -> None:
    tree = {key: value for key, value in TREE.items() if key != "batch_size"}
    study = Sweep(
        Settings.from_tree(tree), {"batch_size": SearchChoice((1000, 14))}, tmp_path, REGISTRY, sampler="grid"
    )
    with pytest.raises(UsageError, match="does not fill one batch"):
        study.run(2)


def test_a_pruner_needs_an_objective_that_runs_log(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a pruner cannot compare trials by 'train_accuracy'"):
        sweep(tmp_path, pruner="median", objective="train_accuracy").run(1)


def test_the_command_prints_what_scripts_rely_on_and_its_best_settings_train(tmp_path: Path) -> None:
    said = run(tmp_path, "--param", "rule.hidden=0,4", "--param", "optimizer.lr=0.001..0.1:log", "--trials", "3")
    assert said.code == 0, said.err
    found = said.document
    assert set(found) == {"trials", "best_value", "best_settings", "study"}
    assert (found["trials"], found["study"]) == (3, str(tmp_path / "study"))
    assert 0.001 <= found["best_settings"]["optimizer"]["lr"] <= 0.1
    page = (tmp_path / "study" / "index.html").read_text()
    assert "Parallel coordinates" in page
    again = localrules("run", "--config", tmp_path / "study" / "best.toml", "--out", tmp_path, "--json")
    assert again.code == 0, again.err
    assert "holdout_fraction" not in found["best_settings"]


def test_without_a_space_it_is_the_rules_own(tmp_path: Path) -> None:
    said = localrules("sweep", *WORDS, "--out", tmp_path / "study", "--trials", "1", "--json")
    assert said.code == 0, said.err
    assert set(json.loads((tmp_path / "study" / "space.json").read_text())["space"]) == {"rule.hidden", "optimizer.lr"}


def test_an_unknown_objective_is_an_error_that_lists_the_others_and_takes_nothing(tmp_path: Path) -> None:
    words = ["--param", "rule.hidden=0,4", "--trials", "1"]
    said = run(tmp_path, *words, "--objective", "valid_acc")
    assert said.code == 2
    assert "valid_accuracy" in said.error["why"]
    trained = [path.name for path in (tmp_path / "study" / "runs").iterdir()]
    again = run(tmp_path, *words)  # a study of which no trial is over may begin otherwise, with another direction, too
    assert again.code == 0, again.err
    assert [path.name for path in (tmp_path / "study" / "runs").iterdir()] == trained


def test_searches_with_other_seeds_share_no_draw() -> None:
    optuna = pytest.importorskip("optuna")
    space: Space = {"optimizer.lr": SearchRange(1e-4, 1e-1, log=True)}
    drawn = []
    for seed in range(3):
        study = optuna.create_study()
        for number in range(4):
            study.sampler = make_sampler("random", seed, number)
            drawn.append(suggest(study.ask(), space)["optimizer.lr"])
    assert len(set(drawn)) == 12


def test_a_trial_of_an_earlier_process_with_the_same_number_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    KillOnce.runs = 1
    before = sweep(tmp_path, callbacks=lambda: [KillOnce()])
    with monkeypatch.context() as patch:
        patch.setattr("localrules.sweep.run.me", lambda: f"{socket.gethostname()} {os.getpid()} of-a-process-before")
        patch.setattr("localrules.sweep.run.release", lambda trial: None)  # as if there had been no time for it
        with pytest.raises(Killed):
            before.run(2)
    assert [trial.number for trial in sweep(tmp_path).run(2)] == [0, 1]


def test_a_point_of_a_grid_that_was_queued_by_a_process_that_died_is_tried(tmp_path: Path) -> None:
    space: Space = {"rule.hidden": SearchChoice((0, 4))}
    begun = sweep(tmp_path, space, sampler="grid")
    begun.study.enqueue_trial({"rule.hidden": "0"})
    assert {trial.settings["rule.hidden"] for trial in sweep(tmp_path, space, sampler="grid").run(2)} == {0, 4}


@pytest.mark.parametrize("character", "?{}")
def test_a_folder_whose_name_no_database_takes_is_refused(tmp_path: Path, character: str) -> None:
    with pytest.raises(UsageError, match="a study cannot be in a folder with"):
        sweep(tmp_path / f"lr{character}1").run(1)
    assert not list(tmp_path.glob("lr*/*.db"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--param", "rule.hiden=0,4"], "hiden"),
        (["--param", "rule.hidden=0,4", "--set", "rule.hidden=4"], "is set and searched"),
        (["--param", "rule.hidden=0,4", "--pruner", "median"], "a pruner is of no use"),
        (["--param", "optimizer.lr=0.1..1", "--sampler", "grid"], "a grid needs the values"),
    ],
)
def test_a_wandb_sweep_is_checked_like_ours(words: list[str], said: str) -> None:
    found = localrules("sweep", *WORDS, *words, "--wandb-yaml", "--json")
    assert found.code == 2
    assert said in json.dumps(found.error)


def test_a_logarithmic_range_of_whole_numbers_stays_one_on_wandb() -> None:
    said = localrules("sweep", *WORDS, "--param", "rule.hidden=1..64:log:int", "--wandb-yaml")
    parameter = yaml.safe_load(said.out)["parameters"]["rule.hidden"]
    assert parameter == {"distribution": "q_log_uniform_values", "q": 1, "min": 1, "max": 64}


def test_the_best_so_far_is_of_runs_that_came_to_their_end(tmp_path: Path) -> None:
    values = {0: (0.2, "done"), 1: (0.9, "pruned"), 2: (0.3, "done"), 3: (0.1, "pruned")}
    trials = [SweepTrial(number, {}, value, state, None) for number, (value, state) in values.items()]
    best = history_chart(trials, sweep(tmp_path)).series[0]
    assert (best.label, [*best.x], [*best.y]) == ("best so far", [0, 2, 3], [0.2, 0.3, 0.3])


def test_the_same_search_as_a_wandb_sweep(tmp_path: Path) -> None:
    words = [
        "--param",
        "rule.hidden=0,4",
        "--param",
        "optimizer.lr=0.001..0.1:log",
        "--param",
        "seed=1..9:int",
        "--trials",
        "7",
    ]
    said = localrules("sweep", *WORDS, *words, "--wandb-yaml", "--out", tmp_path / "study")
    assert said.code == 0, said.err
    found = yaml.safe_load(said.out)
    assert found["method"] == "bayes"
    assert found["metric"] == {"name": "valid_accuracy", "goal": "maximize"}
    assert found["run_cap"] == 7
    assert found["parameters"]["rule.hidden"] == {"values": [0, 4]}
    assert found["parameters"]["optimizer.lr"]["distribution"] == "log_uniform_values"
    assert found["parameters"]["seed"] == {"distribution": "int_uniform", "min": 1, "max": 9}
    # What an agent makes of it runs.
    command = [word for word in found["command"][1:] if word not in ("${args}", "--wandb", "online")]
    done = localrules(*command, "--rule.hidden=4", "--optimizer.lr=0.01", "--out", tmp_path / "runs", "--json")
    assert done.code == 0, done.err
    assert not (tmp_path / "study").exists()


def test_a_wandb_sweep_loads_the_plugins_of_the_search(tmp_path: Path) -> None:
    plugin = tmp_path / "mine.py"
    plugin.write_text("from localrules_hsic.hsic import HSIC\nRULES = {'mine': HSIC}\n")
    words = ["--model", "mlp", "--data", "faces", "--param", "seed=1..9:int", "--wandb-yaml", "--json"]
    said = localrules("sweep", "--plugin", plugin, "--rule", "mine", *words)
    assert said.code == 0, said.err
    assert yaml.safe_load(said.document["yaml"])["command"][2:4] == ["--plugin", str(plugin)]


def test_on_weights_and_biases_the_trials_are_a_group_called_like_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Sweep] = []

    def run(self: Sweep, trials: int) -> list[SweepTrial]:
        seen.append(self)
        raise UsageError("seen")

    monkeypatch.setattr(Sweep, "run", run)
    localrules("sweep", *WORDS, "--param", "rule.hidden=0,4", "--wandb", "offline", "--out", tmp_path / "my-study")
    assert seen[0].plan({"rule.hidden": "4"}).config.trackers["wandb"]["group"] == "my-study"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork server")
def test_several_workers_try_distinct_trials_and_prune(tmp_path: Path) -> None:
    executor = make_executor("local", 2, tmp_path / "executor", REGISTRY)
    settings = {key: value for key, value in TREE.items() if key != "steps"} | {"epochs": 2}
    found = Sweep(Settings.from_tree(settings), SPACE, tmp_path, REGISTRY, pruner="median", executor=executor)
    trials = found.run(3)
    assert len({json.dumps(trial.settings) for trial in trials}) == 3
    assert all(trial.folder is not None and trial.value is not None for trial in trials)
    assert len(found.study.get_trials()[0].intermediate_values) == 2  # reported by another process
    assert found.run(3) == trials


def test_the_example_for_wandb_is_what_the_command_prints() -> None:
    words = ["--param", "rule.beta=10..1000:log", "--param", "optimizer.lr=0.0003..0.03:log", "--wandb-yaml"]
    said = localrules("sweep", "--rule", "hsic", "--model", "mlp", "--data", "faces", "--epochs", "3", *words)
    assert (Path(__file__).parents[2] / "examples" / "wandb_sweep.yaml").read_text() == said.out


def test_a_space_is_read_from_words_and_from_a_file(tmp_path: Path) -> None:
    words = parse_params(["rule.beta=1..1000:log", "optimizer.name=adam,muon", "model.blocks=1..4:int", "lr=0.5,1"])
    assert words == {
        "rule.beta": SearchRange(1, 1000, log=True),
        "optimizer.name": SearchChoice(("adam", "muon")),
        "model.blocks": SearchRange(1, 4, integer=True),
        "lr": SearchChoice((0.5, 1)),
    }
    file = tmp_path / "space.toml"
    file.write_text('rule.beta = {low = 1, high = 1000, log = true}\n[optimizer]\nname = ["adam", "muon"]\n')
    assert read_space(file) == {key: words[key] for key in ("rule.beta", "optimizer.name")}
    assert default_space({"beta": SearchRange(1, 2)}, 0.01)["optimizer.lr"] == SearchRange(0.001, 0.1, log=True)


@pytest.mark.parametrize(
    "word", ["beta", "=1,2", "rule.beta=1", "rule.beta=2..1", "rule.beta=0..1:log", "a=1..x", "a=1..2:odd"]
)
def test_a_parameter_that_cannot_be_read_is_an_error_with_an_example(word: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse_params([word])
    assert "--param rule.beta=1..1000:log" in raised.value.fix


@pytest.mark.parametrize(
    "text", ["", "rule.beta = 3", "rule.beta = {low = 1}", "rule.beta = {low = 2, high = 1}", "x = ["]
)
def test_a_file_without_a_space_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "space.toml").write_text(text)
    with pytest.raises(UsageError, match=r"space|range|choose|neither"):
        read_space(tmp_path / "space.toml")
