"""``eval``: what a run's last weights are worth on each split."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch
from helpers.tiny_runs import DENSE, FACES, MLP, SHORT, TINY, die, localrules, only_run, start_process, tiny_csv, train

import localrules as api
from localrules.errors import UsageError

pytestmark = pytest.mark.slow

KEYS = {
    "split",
    "n",
    "top1",
    "balanced_accuracy",
    "one_vs_rest_accuracy",
    "top1_without_duplicates",
    "n_without_duplicates",
    "confusion",
    "loss",
    "recalls",
    "expected_calibration_error",
    "reliability",
    "data",
    "device",
    "flip",
    "ferplus",
    "leak_check",
    "plots",
}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return train(tmp_path_factory.mktemp("scored"), "--rule", "backprop", setting=[*FACES, *DENSE, *SHORT])


def scored(folder: str | Path, *words: str | Path) -> dict[str, Any]:
    said = localrules("eval", folder, "--json", *words)
    assert said.code == 0, said.out
    return said.document


def test_a_run_keeps_the_constants_that_it_was_told_to_normalise_by(tmp_path: Path) -> None:
    chosen = ["--set", "normalize.mean=0.5", "--set", "normalize.std=0.25"]
    run = train(tmp_path, "--rule", "backprop", *chosen, setting=[*FACES, *MLP, *SHORT])
    loaded = api.load_run(run["run_dir"])
    black = torch.zeros(1, *loaded.shape, dtype=torch.uint8)
    assert loaded.predictor.preprocess(black).unique().tolist() == [-2.0]
    assert scored(run["run_dir"], "--split", "valid")["top1"] == pytest.approx(run["valid_accuracy"])


@pytest.mark.parametrize(("split", "n"), [("train", 140), ("valid", 70), ("test", 70)])
def test_every_split_can_be_scored(done: dict[str, Any], split: str, n: int) -> None:
    found = scored(done["run_dir"], "--split", split)
    assert found.keys() == KEYS
    assert (found["split"], found["n"]) == (split, n)
    confusion = torch.tensor(found["confusion"])
    assert confusion.shape == (7, 7)
    assert confusion.sum() == n
    assert found["top1"] == pytest.approx(float(confusion.trace() / n))
    assert found["balanced_accuracy"] == pytest.approx(float((confusion.diagonal() / confusion.sum(1)).mean()))
    assert found["one_vs_rest_accuracy"] == pytest.approx(1 - 2 * (1 - found["top1"]) / 7)


def test_the_metrics_are_the_bits_of_the_runs_own(done: dict[str, Any]) -> None:
    assert scored(done["run_dir"])["top1"] == done["valid_accuracy"]
    assert scored(done["run_dir"], "--split", "train")["top1"] == done["train_accuracy"]


def test_scoring_changes_nothing_that_the_run_wrote(done: dict[str, Any]) -> None:
    def files() -> dict[Path, int]:
        kept = [path for path in Path(done["run_dir"]).rglob("*") if "evaluation" not in path.parts]
        return {path: path.stat().st_mtime_ns for path in kept}

    before = files()
    scored(done["run_dir"])
    assert files() == before


def test_metrics_and_images_are_left_in_a_folder_for_each_data_set_and_split(
    done: dict[str, Any], tmp_path: Path
) -> None:
    found = scored(done["run_dir"], "--split", "test")
    folder = Path(done["run_dir"]) / "evaluation" / "faces-test"
    assert found["plots"] == {name: str(folder / f"{name}.png") for name in ("confusion", "calibration")}
    assert {path.name for path in folder.iterdir()} == {
        "confusion.png",
        "calibration.png",
        "scores.json",
        "predictions.csv",
    }
    assert json.loads((folder / "scores.json").read_text()) == found
    elsewhere = scored(done["run_dir"], "--out", tmp_path / "new" / "folder")
    assert Path(elsewhere["plots"]["confusion"]).parent == tmp_path / "new" / "folder"


def test_each_answer_is_left_in_a_table(done: dict[str, Any], tmp_path: Path) -> None:
    found = scored(done["run_dir"], "--split", "test", "--leak-check", "--out", tmp_path)
    table = pandas.read_csv(tmp_path / "predictions.csv")
    assert list(table) == ["row", "label", "answer", "probability", "known"]
    assert list(table["row"]) == list(range(70))
    right = table["label"] == table["answer"]
    assert right.mean() == found["top1"]
    assert right[~table["known"]].mean() == found["leak_check"]["top1_clean"]
    names = list(found["recalls"])
    counts = pandas.crosstab(table["label"], table["answer"]).reindex(index=names, columns=names, fill_value=0)
    assert counts.to_numpy().tolist() == found["confusion"]
    assert table["probability"].between(1 / 7, 1).all()


def test_a_folder_that_cannot_be_written_is_an_error_for_people(done: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    said = localrules("eval", done["run_dir"], "--out", tmp_path / "file", "--json")
    assert said.code == 2
    assert "--out" in said.error["fix"]


def test_calibration_belongs_to_the_metrics(done: dict[str, Any]) -> None:
    found = scored(done["run_dir"])
    assert len(found["reliability"]) == 15
    assert sum(item["n"] for item in found["reliability"]) == 70
    confidence = sum(item["n"] * item["confidence"] for item in found["reliability"] if item["n"]) / 70
    assert found["expected_calibration_error"] >= abs(confidence - found["top1"]) - 1e-9


def test_flipping_averages_the_probabilities_of_an_image_and_its_flip_image(done: dict[str, Any]) -> None:
    from localrules.registry.registry import Registry
    from localrules.runs.load import TrainedRun

    registry = Registry.load(allow=[])
    run = TrainedRun.load(Path(done["run_dir"]), registry)
    split = run.data().split("valid")
    flipped = run.predictor.probabilities(split.images.flip(-1))
    mean = (run.predictor.probabilities(split.images) + flipped) / 2
    both = run.predictor.scores(split, flip=True)
    assert torch.allclose(both.probabilities.float(), mean, atol=1e-6)
    found = scored(done["run_dir"], "--flip")
    assert found["flip"] is True
    assert found["top1"] == pytest.approx(float((mean.argmax(1) == split.labels).double().mean()))
    assert found["loss"] == pytest.approx(float(-mean[torch.arange(70), split.labels].log().mean()), abs=1e-5)
    assert scored(done["run_dir"])["flip"] is False


def test_the_device_may_be_another_than_the_runs(done: dict[str, Any]) -> None:
    assert scored(done["run_dir"], "--device", "cpu")["device"] == "cpu"
    said = localrules("eval", done["run_dir"], "--device", "abacus", "--json")
    assert said.code == 2
    assert said.error["where"] == "--device"


def test_votes_of_people_stand_beside_the_metrics(done: dict[str, Any], tmp_path: Path) -> None:
    """Votes on synthetic faces, which always say the label."""
    from localrules_fer.faces.dataset import Faces

    order = ("neutral", "happy", "surprise", "sad", "angry", "disgust", "fear")
    nouns = "neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"
    data = Faces(Faces.Config(train=140, valid=70, test=70)).load()

    def on(split: str, usage: str) -> Path:
        rows = [
            f"{usage},," + ",".join("10" if name == data.classes[label] else "0" for name in order) + ",0,0,0"
            for label in data.split(split).labels.tolist()
        ]
        file = tmp_path / f"{split}.csv"
        file.write_text("\n".join([f"Usage,Image name,{nouns}", *rows]) + "\n")
        return file

    votes = on("valid", "PublicTest")
    found = scored(done["run_dir"], "--ferplus", votes)
    assert found["ferplus"]["majority_rows"] == 70
    assert found["ferplus"]["label_agreement"] == 1
    assert found["ferplus"]["majority_agreement"] == found["top1"]
    assert found["ferplus"]["vote_share"] == found["top1"]
    assert found["ferplus"]["kl_divergence"] == pytest.approx(found["loss"], abs=1e-5)
    assert "FER+ majority" in localrules("eval", done["run_dir"], "--ferplus", votes).out
    said = localrules("eval", done["run_dir"], "--ferplus", votes, "--split", "test", "--json")
    assert (said.code, said.error["what"]) == (2, "these votes are on other images")

    page = tmp_path / "page"
    assert localrules("compare", done["run_dir"], "--ferplus", votes, "--out", page).code == 0
    for text in ("FER+ majority", f"{100 * found['top1']:.1f}", f"{found['ferplus']['kl_divergence']:.3f}"):
        assert text in (page / "index.html").read_text()
    faces = [*FACES, *MLP, "--threads", "1", "--scale", "0.0001", "--out", tmp_path / "paper", "--json"]
    said = localrules("reproduce", "figure-10-11", *faces, "--ferplus", votes)
    assert (said.code, said.error["what"]) == (2, "these votes are on other images")
    words = [*faces, "--rows", "backprop", "--ferplus", on("test", "PrivateTest")]
    assert localrules("reproduce", "figure-10-11", *words).code == 0
    assert "FER+ majority" in (tmp_path / "paper" / "figure-10-11" / "evaluation.csv").read_text()


def test_people_get_a_table(done: dict[str, Any]) -> None:
    said = localrules("eval", done["run_dir"])
    assert said.code == 0
    for word in (
        "backprop on dense_fpn_small, 70 valid images",
        "balanced",
        "without duplicates",
        "calibration",
        "recall",
    ):
        assert word in said.out


def test_rows_that_occur_in_an_earlier_split_are_left_out_of_one_metric(tmp_path: Path) -> None:
    csv = tiny_csv(tmp_path / "faces.csv")
    lines = csv.read_text().splitlines()
    training_lines = [line for line in lines if line.endswith("Training")]
    copied = [line.replace("Training", "PublicTest") for line in training_lines[:10]]
    csv.write_text("\n".join([*lines, *copied]) + "\n")
    setting = ["--data", "fer2013", "--data-path", str(csv), *MLP, *SHORT]
    summary = train(tmp_path / "runs", "--rule", "backprop", setting=setting)
    found = scored(summary["run_dir"])
    assert (found["n"], found["n_without_duplicates"]) == (80, 70)
    assert found["top1"] == summary["valid_accuracy"]
    assert scored(summary["run_dir"], "--split", "train")["n_without_duplicates"] == 140


def test_a_result_that_is_too_good_is_doubted_wherever_it_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the end of a run, by ``eval`` and by ``reproduce``: with a warning and a leak check."""
    monkeypatch.setattr("localrules_fer.datasets.fer2013.IMPLAUSIBLE_ABOVE", -1.0)
    csv = tiny_csv(tmp_path / "faces.csv")
    data = ["--data", "fer2013", "--data-path", csv]
    said = localrules("run", "--rule", "backprop", *data, *MLP, *SHORT, "--out", tmp_path / "runs", "--json")
    assert "Warning" in said.err
    assert "Leak check: 70 samples" in said.err
    assert said.document["leak_check"]["copies"] == 0
    found = scored(said.document["run_dir"])
    assert found["leak_check"] == said.document["leak_check"]

    words = [*data, *MLP, "--threads", "1", "--set", "batch_size=32", "--scale", "0.0001", "--out", tmp_path / "paper"]
    said = localrules("reproduce", "figure-10-11", "--rows", "backprop", *words)
    assert "Leak check: 70 samples" in said.out
    assert "0 of 70 rows are known from training" in (tmp_path / "paper" / "index.html").read_text()


def test_another_data_set_of_the_same_kind_may_be_scored(done: dict[str, Any], tmp_path: Path) -> None:
    """The same images through Kaggle's format: the same metrics."""
    csv = tiny_csv(tmp_path / "faces.csv")
    found = scored(done["run_dir"], "--data", "fer2013", "--data-path", csv)
    assert found["top1"] == done["valid_accuracy"]


def test_images_of_another_size_are_refused(done: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "mnist.npz"
    images, labels = np.zeros((20, 28, 28), np.uint8), np.arange(20, dtype=np.uint8) % 10
    np.savez(file, x_train=images, y_train=labels, x_test=images, y_test=labels)
    said = localrules("eval", done["run_dir"], "--data", "mnist", "--data-path", file, "--split", "test", "--json")
    assert said.code == 2
    assert said.error["what"] == "data set 'mnist' does not fit the run"
    assert "(1, 28, 28)" in said.error["why"]


def test_a_split_that_the_data_lack_is_named(done: dict[str, Any], tmp_path: Path) -> None:
    csv = tiny_csv(tmp_path / "faces.csv", train=140, valid=70)
    words = ["--data", "fer2013", "--data-path", csv, "--split", "test", "--json"]
    said = localrules("eval", done["run_dir"], *words)
    assert said.code == 2
    assert "test" in said.error["what"]


def die_before_the_first_checkpoint(words: list[str]) -> None:
    from localrules.cli import main
    from localrules.engine import checkpoint

    checkpoint.save = lambda *args: die()
    main(words)


def test_a_run_without_a_checkpoint_says_so(tmp_path: Path) -> None:
    words = ["run", "--rule", "hsic", *TINY, "--out", str(tmp_path)]
    start_process(die_before_the_first_checkpoint, words).join()
    said = localrules("eval", only_run(tmp_path), "--json")
    assert said.code == 2
    assert said.error["what"] == "the run has no checkpoint yet"
    assert f"--resume {only_run(tmp_path)}" in said.error["fix"]


def test_damaged_weights_are_an_error_for_people(tmp_path: Path) -> None:
    summary = train(tmp_path, "--rule", "hsic", "--steps", "1")
    (Path(summary["run_dir"]) / "checkpoints" / "last.safetensors").write_bytes(b"no weights")
    said = localrules("eval", summary["run_dir"], "--json")
    assert said.code == 1
    assert said.error["what"] == "the checkpoint cannot be loaded"


def test_a_rule_with_auxiliary_heads_and_a_stopped_run_can_be_scored(tmp_path: Path) -> None:
    summary = train(tmp_path, "--rule", "local-ce", setting=[*FACES, *DENSE, *SHORT])
    folder = Path(summary["run_dir"])
    (folder / "summary.json").write_text(json.dumps({**summary, "status": "stopped"}))
    assert scored(folder)["top1"] == summary["valid_accuracy"]


def test_half_precision_is_scored_in_the_runs_precision(tmp_path: Path) -> None:
    summary = train(tmp_path, "--rule", "hsic", "--precision", "bf16", setting=[*FACES, *DENSE, *SHORT])
    assert scored(summary["run_dir"])["top1"] == summary["valid_accuracy"]


def test_a_run_that_held_images_out_is_scored_on_them(tmp_path: Path) -> None:
    held = train(tmp_path, "--rule", "backprop", "--set", "holdout_fraction=0.2", setting=[*FACES, *MLP, *SHORT])
    found = scored(held["run_dir"])
    assert found["n"] >= 28  # a fifth of 140
    assert found["top1"] == held["valid_accuracy"]
    assert scored(held["run_dir"], "--split", "train")["n"] == 140 - found["n"]


def test_a_run_is_scored_on_its_own_division(tmp_path: Path) -> None:
    division = ["--set", "holdout_fraction=0.5", "--set", "holdout_seed=3"]
    held = train(tmp_path, "--rule", "backprop", *division, setting=[*FACES, *MLP, *SHORT])
    assert scored(held["run_dir"])["top1"] == held["valid_accuracy"]


def test_what_was_held_out_stays_so_where_the_data_have_moved_and_a_name_asks_for_the_sources_splits(
    tmp_path: Path,
) -> None:
    here, there = tiny_csv(tmp_path / "here.csv", train=140, valid=7), tmp_path / "there.csv"
    setting = ["--data", "fer2013", "--data-path", str(here), *MLP, *SHORT]
    held = train(tmp_path, "--rule", "backprop", "--set", "holdout_fraction=0.2", setting=setting)
    here.rename(there)
    moved = scored(held["run_dir"], "--data-path", str(there))
    assert moved["top1"] == held["valid_accuracy"]
    assert scored(held["run_dir"], "--data", "fer2013", "--data-path", str(there))["n"] != moved["n"]
    own, others = sorted((Path(held["run_dir"]) / "evaluation").iterdir())  # neither has written over the other
    assert own.name == "fer2013-valid"
    assert others.name.startswith("fer2013-valid-")
    assert json.loads((own / "scores.json").read_text(encoding="utf-8"))["n"] == moved["n"]


def test_a_run_that_asks_for_it_is_flipped_wherever_it_is_asked(tmp_path: Path) -> None:
    from localrules.registry.registry import Registry
    from localrules.runs.load import TrainedRun

    setting = [*FACES, *DENSE, *SHORT, "--set", "tta_flip=true"]
    done = train(tmp_path, "--rule", "backprop", setting=setting)
    registry = Registry.load(allow=[])
    run = TrainedRun.load(Path(done["run_dir"]), registry)
    split = run.data().split("valid")
    plain, both = (run.predictor.scores(split, flip=flip) for flip in (False, True))
    assert not torch.equal(plain.logits, both.logits)
    assert torch.equal(run.predictor.scores(split).logits, both.logits)
    assert torch.equal(run.predictor.probabilities(split.images), both.logits.softmax(1))
    assert done["valid_accuracy"] == both.top1
    asked, refused = scored(done["run_dir"]), scored(done["run_dir"], "--no-flip")
    assert (asked["flip"], asked["loss"]) == (True, pytest.approx(both.loss))
    assert (refused["flip"], refused["loss"]) == (False, pytest.approx(plain.loss))
    left = {folder.name: folder for folder in (Path(done["run_dir"]) / "evaluation").iterdir()}
    assert sorted(left) == ["faces-valid", "faces-valid-no-flip"]  # neither has written over the other
    losses = [json.loads((left[name] / "scores.json").read_text(encoding="utf-8"))["loss"] for name in sorted(left)]
    assert losses == [asked["loss"], refused["loss"]]


def test_a_loaded_run_whose_weights_were_changed_leaves_the_scores_of_its_folder(
    done: dict[str, Any], tmp_path: Path
) -> None:
    run = api.load_run(done["run_dir"])
    expected = api.evaluate(run)["top1"]
    with torch.no_grad():
        for parameter in run.model.parameters():
            parameter.zero_()
    with pytest.raises(UsageError, match="the weights of the loaded run are not those of its folder"):
        api.evaluate(run)
    assert scored(done["run_dir"])["top1"] == expected
    assert api.evaluate(run, out=tmp_path)["top1"] != expected
