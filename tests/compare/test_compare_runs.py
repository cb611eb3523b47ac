"""``compare RUN RUN``: finished runs as they are, and what does not fit together is said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.comparisons import SHORT, run_folders
from helpers.tiny_runs import FACES, MLP, localrules, tiny_csv, train

from localrules_fer.datasets import fer2013

pytestmark = pytest.mark.slow

LENET = [*FACES, "--model", "lenet", "--batch-size", "32", "--threads", "1", "--steps", "2"]


def test_runs_that_differ_in_the_seed_alone_are_one_row(done: Path, tmp_path: Path) -> None:
    said = localrules("compare", *run_folders(done), "--out", tmp_path / "page", "--json")
    assert said.code == 0, said.out
    before = json.loads((done.parent / "said.json").read_text())
    assert sorted(said.document, key=lambda row: row["rule"]) == sorted(before, key=lambda row: row["rule"])
    assert (tmp_path / "page" / "index.html").is_file()
    assert not (tmp_path / "page" / "runs").exists()


def test_a_run_that_is_named_twice_counts_once(done: Path, tmp_path: Path) -> None:
    folder = run_folders(done)[0]
    said = localrules("compare", folder, folder, "--out", tmp_path, "--json")
    assert [row["seed_count"] for row in said.document] == [1]


def test_runs_of_one_rule_with_other_settings_are_told_apart_by_them(done: Path, tmp_path: Path) -> None:
    other = train(tmp_path, "--rule", "backprop", "--lr", "0.01", setting=SHORT)["run_dir"]
    same = next(folder for folder in run_folders(done) if "backprop" in folder.name)
    said = localrules("compare", same, other, "--out", tmp_path / "page", "--json")
    labels = [row["rule"] for row in said.document]
    assert labels == ["backprop (optimizer.lr=0.003)", "backprop (optimizer.lr=0.01)"]


def test_the_control_is_the_best_of_several_runs_of_back_propagation(done: Path, tmp_path: Path) -> None:
    bad = train(tmp_path, "--rule", "backprop", "--lr", "1e-7", setting=SHORT)["run_dir"]
    said = localrules("compare", *run_folders(done), bad, "--out", tmp_path / "page", "--json")
    assert said.code == 0, said.out
    rows = {row["rule"]: row for row in json.loads((tmp_path / "page" / "comparison.json").read_text())["rows"]}
    controls = [row for name, row in rows.items() if name.startswith("backprop")]
    best = max(controls, key=lambda row: row["valid_accuracy_mean"])
    assert len(controls) == 2
    assert [row["rule"] for row in rows.values() if row["difference"] is None] == [best["rule"]]


def test_another_size_of_a_model_is_another_model(done: Path, tmp_path: Path) -> None:
    other = train(tmp_path, "--rule", "backprop", "--set", "model.hidden=[4]", setting=SHORT)["run_dir"]
    same = next(folder for folder in run_folders(done) if "backprop" not in folder.name)
    localrules("compare", same, other, "--out", tmp_path / "page", "--json")
    rows = json.loads((tmp_path / "page" / "comparison.json").read_text())["rows"]
    assert sorted(row["another"] for row in rows) == [[], ["model"]]


def test_a_label_has_the_rules_own_settings_first_and_no_long_ones(tmp_path: Path) -> None:
    phases = 'phases=[{name="together", fraction=2}, {name="readout", train_layers="readout"}]'
    one = train(tmp_path, "--rule", "local-ce", setting=[*FACES, *SHORT])
    other = train(tmp_path, "--rule", "local-ce", "--set", "rule.hidden=4", "--set", phases, setting=[*FACES, *SHORT])
    said = localrules("compare", one["run_dir"], other["run_dir"], "--out", tmp_path / "together", "--json")
    assert [row["rule"] for row in said.document] == ["local-ce (rule.hidden=0)", "local-ce (rule.hidden=4)"]


def test_another_model_is_flagged_and_still_held_against_the_same_images(done: Path, tmp_path: Path) -> None:
    other = train(tmp_path, "--rule", "backprop", setting=LENET)["run_dir"]
    said = localrules("compare", run_folders(done)[0], other, "--out", tmp_path / "page", "--json")
    assert said.code == 0, said.out
    page = (tmp_path / "page" / "index.html").read_text()
    assert "does not share its model with" in page
    assert ">as good<" not in page
    rows = json.loads((tmp_path / "page" / "comparison.json").read_text())["rows"]
    assert sorted(row["another"] for row in rows) == [[], ["model"]]
    assert sum(row["difference"] is not None for row in rows) == 1


def test_other_data_are_flagged_and_no_difference_is_made_up(done: Path, tmp_path: Path) -> None:
    setting = [word.replace("data.valid=70", "data.valid=63") for word in SHORT]
    other = train(tmp_path, "--rule", "local-ce", setting=setting)["run_dir"]
    mine = next(folder for folder in run_folders(done) if "backprop" in folder.name)
    said = localrules("compare", mine, other, "--out", tmp_path / "page", "--json")
    assert said.code == 0, said.out
    rows = json.loads((tmp_path / "page" / "comparison.json").read_text())["rows"]
    assert [(row["another"], row["difference"]) for row in rows] == [([], None), (["data"], None)]


def test_where_the_data_have_gone_the_table_stays_and_says_so(
    done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from localrules.errors import DataError
    from localrules.runs.load import TrainedRun

    def gone(*_: object) -> None:
        raise DataError("the file is gone")

    monkeypatch.setattr(TrainedRun, "data", gone)
    said = localrules("compare", *run_folders(done), "--out", tmp_path, "--json")
    assert said.code == 0, said.out
    assert len(said.document) == 2
    assert "has no interval on the valid split: the file is gone" in (tmp_path / "index.html").read_text()


def test_a_result_that_is_too_good_is_doubted_and_it_says_whose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    csv = tiny_csv(tmp_path / "fer2013.csv", train=70, valid=35)
    setting = [
        "--data",
        "fer2013",
        "--data-path",
        str(csv),
        *MLP,
        "--batch-size",
        "32",
        "--threads",
        "1",
        "--steps",
        "1",
    ]
    folders = [train(tmp_path, "--rule", rule, setting=setting)["run_dir"] for rule in ("backprop", "local-ce")]
    believed = localrules("compare", *folders, "--out", tmp_path / "page", "--json")
    assert "Warning" not in believed.err
    monkeypatch.setattr(fer2013, "IMPLAUSIBLE_ABOVE", -1.0)
    said = localrules("compare", *folders, "--out", tmp_path / "page", "--json")
    assert said.document == believed.document
    assert said.err.count("look for a leak") == 2
    assert "Warning: backprop, seed 0: top-1" in said.err
    assert "0 were trained on as they are" in said.err


def test_a_leak_check_compares_without_what_is_known_from_training(tmp_path: Path) -> None:
    lines = tiny_csv(tmp_path / "fer2013.csv", train=70, valid=35).read_text().splitlines()
    known = [line.replace("Training", "PublicTest") for line in lines if line.endswith("Training")][:14]
    csv = tmp_path / "with_copies.csv"
    csv.write_text("\n".join([*lines, *known]) + "\n")
    setting = ["--data", "fer2013", "--data-path", str(csv), *SHORT[len(FACES) :]]
    folders = [train(tmp_path, "--rule", rule, setting=setting)["run_dir"] for rule in ("backprop", "local-ce")]
    said = localrules("compare", *folders, "--leak-check", "--out", tmp_path / "page")
    assert said.code == 0, said.err
    assert "without what is known from training" in said.out
    rows = {row["rule"]: row for row in json.loads((tmp_path / "page" / "comparison.json").read_text())["rows"]}
    each = {}
    for rule, folder in zip(("backprop", "local-ce"), folders, strict=True):
        found = localrules("eval", folder, "--leak-check", "--json").document
        assert found["leak_check"]["n_clean"] == rows[rule]["clean"]["images"] == 35
        each[rule] = found["leak_check"]["top1_clean"]
        assert rows[rule]["clean"]["accuracy"] == pytest.approx(each[rule])
    assert rows["backprop"]["clean"]["difference"] is None
    apart = rows["local-ce"]["clean"]["difference"]
    assert apart["mean"] == pytest.approx(each["local-ce"] - each["backprop"])
    assert apart["low"] <= apart["mean"] <= apart["high"]
    page = (tmp_path / "page" / "index.html").read_text()
    assert "Without images known from training" in page
    assert "--leak-check" in page  # in the command that makes it again
