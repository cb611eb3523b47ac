"""``localrules reproduce``: cases run, are kept, are not run again, and stand beside the published values."""

from __future__ import annotations

import csv
import json
import tomllib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from helpers.tiny_runs import Said, localrules, tiny_csv

from localrules.cli.run_options import default_model
from localrules.comparison import run_record
from localrules.config.settings import Settings
from localrules.engine.divergence import Diverged
from localrules.engine.resolved_run import ResolvedRun
from localrules.registry.registry import Registry
from localrules.reproduce.plan import plan_cases
from localrules.reproduce.registry import select_experiments
from localrules.reproduce.request import ReproductionRequest
from localrules.reproduce.result import COLUMNS

pytestmark = pytest.mark.slow


@pytest.fixture
def reproduce(plugin: Path, tmp_path: Path) -> Any:
    def run(*words: str | Path, out: Path = tmp_path / "out") -> Said:
        return localrules("reproduce", *words, "--threads", "1", "--out", out, "--plugin", plugin)

    return run


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def runs(out: Path) -> set[str]:
    return {path.name for path in (out / "runs").iterdir()}


def test_a_tracker_watches_each_run(reproduce: Any, tmp_path: Path) -> None:
    assert reproduce("small", "--cases", "second*", "--track", "tensorboard", "--json").code == 0
    assert len([*tmp_path.glob("out/runs/*/tensorboard")]) == 1


def test_every_case_is_run_with_its_seeds_and_set_beside_the_published_value(reproduce: Any, tmp_path: Path) -> None:
    said = reproduce("small", "--json")
    assert said.code == 0, said.out
    found = said.document
    assert [(run["row"], run["seed"]) for run in found] == [
        ("First, two epochs", 0),
        ("First, two epochs", 1),
        ("First, two epochs", 2),
        ("Second, ten steps", 4),
    ]
    assert [run["summary"]["steps"] for run in found] == [8, 8, 8, 10]
    assert {run["experiment"] for run in found} == {"small"}
    assert [run["published"] for run in found] == [30.0, 30.0, 30.0, -200.0]
    assert found[3]["value"] == pytest.approx(100 * found[3]["summary"]["valid_accuracy"])
    assert len(runs(tmp_path / "out")) == 4

    first, second = table(tmp_path / "out" / "small")
    assert tuple(first) == COLUMNS
    values = [run["value"] for run in found[:3]]
    assert float(first["ours"]) == pytest.approx(sum(values) / 3, abs=0.006)
    assert (float(first["low"]), float(first["high"])) == pytest.approx((min(values), max(values)), abs=0.006)
    assert (first["seed_count"], first["budget"]) == ("3", "2 of 2 epochs")
    assert first["machine"].endswith("1 thread")
    assert (second["verdict"], second["differs"]) == ("above", "it is smaller")


def test_the_test_accuracy_is_that_of_eval(reproduce: Any) -> None:
    (run,) = reproduce("small", "--cases", "first*", "--seeds", "1", "--json").document
    scored = localrules("eval", run["summary"]["run_dir"], "--split", "test", "--json").document
    assert run["metric"] == "test_accuracy"
    assert run["value"] == pytest.approx(100 * scored["top1"])
    kept = json.loads((Path(run["summary"]["run_dir"]) / "scores.json").read_text())
    assert kept["test"]["top1"] == scored["top1"]


def test_a_finished_run_is_not_repeated_and_seeds_are_added(reproduce: Any, tmp_path: Path) -> None:
    words = ["small", "--cases", "FIRST*", "--json"]
    before = reproduce(*words, "--seeds", "1").document
    kept = runs(tmp_path / "out")
    said = reproduce(*words, "--seeds", "2")
    assert "seed 0, done before" in said.err
    assert said.document[0] == before[0]
    assert len(runs(tmp_path / "out") - kept) == 1
    (line,) = table(tmp_path / "out" / "small")
    assert line["seed_count"] == "2"


def test_a_finished_run_is_not_repeated_for_a_tracker_or_a_moved_file(reproduce: Any, tmp_path: Path) -> None:
    path = tiny_csv(tmp_path / "fer2013.csv")
    words = ["open", "--cases", "any", "--seeds", "1", "--json", "--data", "fer2013", "--data-path"]
    before = reproduce(*words, path)
    moved = path.rename(tmp_path / "moved.csv")
    said = reproduce(*words, moved, "--wandb", "offline", "--set", "log_every=1")
    assert "seed 0, done before" in said.err
    assert said.document == before.document
    assert len(runs(tmp_path / "out")) == 1


def test_threads_and_options_of_trackers_may_be_settings_as_elsewhere(plugin: Path, tmp_path: Path) -> None:
    words = ["reproduce", "small", "--cases", "Second*", "--out", tmp_path / "out", "--plugin", plugin, "--json"]
    said = localrules(*words, "--set", "threads=1", "--wandb", "offline", "--set", "wandb.media=true")
    assert said.code == 0, said.err
    assert said.document[0]["summary"]["threads"] == 1
    (folder,) = runs(tmp_path / "out")
    config = tomllib.loads((tmp_path / "out" / "runs" / folder / "config.toml").read_text(encoding="utf-8"))
    assert config["trackers"]["wandb"]["media"] is True


def test_an_interrupted_run_goes_on(reproduce: Any, tmp_path: Path) -> None:
    words = ["small", "--cases", "first*", "--seeds", "1", "--json"]
    (whole,) = reproduce(*words).document
    folder = Path(whole["summary"]["run_dir"])
    (folder / "summary.json").unlink()
    said = reproduce(*words)
    assert "seed 0, goes on" in said.err
    assert said.document[0]["summary"]["weights_sha256"] == whole["summary"]["weights_sha256"]
    assert runs(tmp_path / "out") == {folder.name}


def test_a_smaller_scale_is_not_comparable_and_stands_beside_the_full_one(reproduce: Any, tmp_path: Path) -> None:
    words = ["small", "--cases", "second*", "--json"]
    (small,) = reproduce(*words, "--scale", "0.25").document
    assert small["summary"]["steps"] == 2
    assert small["budget"] == "2 of 10 steps"
    assert small["verdict"] == "smaller budget: not comparable"
    reproduce(*words)
    assert [line["budget"] for line in table(tmp_path / "out" / "small")] == ["2 of 10 steps", "10 of 10 steps"]


class Fetches(HTMLParser):
    """The references of a page to other files and hosts."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        wanted = {"src"} if tag != "a" else set()
        wanted |= {"href"} if tag == "link" else set()
        self.found += [value or "" for name, value in attrs if name in wanted and not (value or "").startswith("data:")]


def test_the_page_holds_every_experiment_of_the_folder_and_needs_no_network(reproduce: Any, tmp_path: Path) -> None:
    assert reproduce("small", "--scale", "0.1", "--seeds", "1").code == 0
    faces = ["--data", "fer2013", "--data-path", tiny_csv(tmp_path / "fer2013.csv").parent, "--model", "mlp"]
    assert reproduce("open", *faces, "--seeds", "1").code == 0
    text = (tmp_path / "out" / "index.html").read_text()
    for words in ("First, two epochs", "Second, ten steps", "0.2 of 2 epochs", "it is smaller", "Any", "-200"):
        assert words in text
    assert '<a href="https://example.org/paper">' in text
    page = Fetches()
    page.feed(text)
    assert page.found == []


def test_notes_are_on_the_page_as_text(reproduce: Any, tmp_path: Path) -> None:
    reproduce("small", "--scale", "0.1", "--seeds", "1")
    assert "There is &lt;no&gt; third case." in (tmp_path / "out" / "index.html").read_text()


def test_the_screen_shows_a_table(reproduce: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    said = reproduce("small", "--scale", "0.1", "--seeds", "1")
    assert said.code == 0, said.err
    assert "smaller budget: not comparable" in said.out
    assert "index.html" in said.out


def test_the_list_names_experiments_and_suites(plugin: Path) -> None:
    said = localrules("reproduce", "--list", "--json", "--plugin", plugin)
    found = {entry["name"]: entry for entry in said.document}
    assert found["small"]["suite"] == found["open"]["suite"] == "tiny"
    assert {name for name, entry in found.items() if entry["suite"] == "published"} >= {"published-hsic"}
    text = localrules("reproduce", "--list", "--plugin", plugin)
    assert "published-phsic" in text.out


def test_the_list_has_other_words_too_and_they_mean_the_same() -> None:
    found = {entry["name"]: entry for entry in localrules("reproduce", "--list", "--json").document}
    assert found["figure-15"]["summary"] == "Another word for table-1."
    assert found["all"]["summary"].startswith("All of the suite paper: ")
    assert all(set(entry) == set(found["table-1"]) for entry in found.values())
    text = localrules("reproduce", "--list").out
    assert "figure-15" in text
    assert "\nall " in text
    registry = Registry.load(allow=[])
    assert (
        list(select_experiments("figure-15", registry)) == list(select_experiments("table-1", registry)) == ["table-1"]
    )


def test_a_run_that_diverged_is_in_the_document_without_metrics(
    reproduce: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = run_record.start

    def start(run: ResolvedRun, *rest: Any) -> Any:
        if run.config.seed == 1:
            raise Diverged("training diverged at step 3")
        return real(run, *rest)

    monkeypatch.setattr(run_record, "start", start)
    words = ["small", "--cases", "first*", "--scale", "0.1", "--json"]
    found = reproduce(*words, "--seeds", "2").document
    assert [(run["seed"], run["verdict"]) for run in found] == [
        (0, "smaller budget: not comparable"),
        (1, "diverged"),
    ]
    assert (found[1]["value"], found[1]["summary"], found[1]["published"]) == (None, None, 30.0)
    assert set(found[0]) == set(found[1])


def test_what_an_experiment_leaves_open_has_a_default(
    reproduce: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tiny_csv(tmp_path / "fer2013.csv")
    monkeypatch.setenv("LOCALRULES_FER2013", str(path))
    small = [word for option in ("blocks=1", "convolutions=1", "growth=2") for word in ("--set", f"model.{option}")]
    said = reproduce("open", *small, "--seeds", "1", "--json")
    assert "Data: fer2013, found at" in said.err
    assert [run["summary"]["data"] for run in said.document] == ["fer2013", "fer2013"]
    assert "Network: dense_fpn_small, for a CPU" in said.err
    assert [run["summary"]["model"] for run in said.document] == ["mlp", "dense_fpn_small"]


@pytest.mark.parametrize(
    ("device", "gpu", "network"),
    [
        ("auto", False, "dense_fpn_small"),
        ("auto", True, "dense_fpn"),
        ("cpu", True, "dense_fpn_small"),
        ("cuda", False, "dense_fpn"),
    ],
)
def test_the_papers_network_needs_a_gpu_unless_it_is_named(
    device: str, gpu: bool, network: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: gpu)
    usual, line = default_model({"device": device}, Registry.load(allow=[]))
    assert usual == {"name": network}
    assert network in line


def test_settings_for_all_cases_are_said_and_stand_beside_the_cases_own(reproduce: Any, tmp_path: Path) -> None:
    words = ["small", "--cases", "second*", "--json"]
    (changed,) = reproduce(*words, "--set", "batch_size=16", "--set", "log_every=1").document
    assert (changed["verdict"], changed["differs"]) == (
        "other settings: not comparable",
        "it is smaller; batch_size=16",
    )
    (own,) = reproduce(*words).document
    assert own["verdict"] == "above"
    lines = table(tmp_path / "out" / "small")
    assert [line["differs"] for line in lines] == ["it is smaller; batch_size=16", "it is smaller"]


def test_options_of_a_model_are_for_cases_that_leave_it_open(reproduce: Any, tmp_path: Path) -> None:
    faces = [word for split in ("train", "valid", "test") for word in ("--set", f"data.{split}=70")]
    model = ["--model", "dense_fpn_small", "--set", "model.blocks=1", "--set", "model.convolutions=1"]
    said = reproduce("tiny", "--data", "faces", *faces, *model, "--scale", "0.1", "--seeds", "1", "--json")
    assert said.code == 0, said.out
    found = {run["row"]: run for run in said.document}
    assert found["Any model"]["summary"]["model"] == "dense_fpn_small"
    assert "model.blocks=1" in found["Any model"]["differs"]
    assert found["First, two epochs"]["summary"]["model"] == "mlp"
    assert found["First, two epochs"]["differs"] == ""


def test_runs_of_one_folder_are_one_group_of_weights_and_biases(reproduce: Any) -> None:
    (run,) = reproduce("small", "--cases", "second*", "--wandb", "offline", "--json").document
    config = tomllib.loads((Path(run["summary"]["run_dir"]) / "config.toml").read_text())
    assert config["trackers"]["wandb"] == {"mode": "offline", "group": "out", "tags": ["small"]}


def test_a_run_is_tagged_with_every_experiment_that_it_serves() -> None:
    registry = Registry.load(allow=[])
    experiments = {name: select_experiments(name, registry)[name] for name in ("figure-13", "beta")}
    small = {"name": "dense_fpn_small", "blocks": 1, "convolutions": 1, "growth": 1, "stem": 1}
    data = {"name": "faces", "train": 14, "valid": 7, "test": 7}
    asked = ReproductionRequest(
        scale=0.0001,
        cases=("[rb]e*[u0]",),  # relu, and every beta
        defaults=Settings.from_tree({"model": small, "data": data}),
        overrides=Settings.from_tree({"batch_size": 7}),
        incidental={"threads": 1, "trackers": {"wandb": {"mode": "offline", "group": "out"}}},
    )
    tags = {
        task.case.name: task.planned[0].config.trackers["wandb"]["tags"]
        for task in plan_cases(experiments, asked, registry)
    }
    assert tags["relu"] == tags["beta 100"] == ["beta", "figure-13"]
    assert tags["beta 10"] == ["beta"]


def test_a_suite_runs_all_of_its_experiments_and_fills_what_they_leave_open(reproduce: Any, tmp_path: Path) -> None:
    faces = ["--data", "fer2013", "--data-path", tiny_csv(tmp_path / "fer2013.csv"), "--model", "mlp"]
    found = reproduce("tiny", *faces, "--scale", "0.1", "--seeds", "1", "--json").document
    assert [run["experiment"] for run in found] == ["open", "open", "small", "small"]
    assert [run["summary"]["data"] for run in found] == ["fer2013", "fer2013", "faces", "faces"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "no argument says what to reproduce"),
        (["smal"], "there is no experiment 'smal'"),
        (["small", "--scale", "0"], "there is nothing to train"),
        (["small", "--cases", "third*"], "no case fits 'third*'"),
        (["small", "--cases", "third*", "--cases", "fourth"], "no case fits 'third*' or 'fourth'"),
        (["small", "--cases", "first*", "--cases", "fourth"], "no case fits 'fourth'"),
        (["small", "--model", "lenet"], "--model changes nothing here"),
        (["small", "--set", "data.train=70"], "--data changes nothing here"),
        (["small", "--set", "steps=3"], "'steps' is not set for a reproduction"),
        (["small", "--set", "rule.beta=3"], "'rule' is not set for a reproduction"),
        (["looks", "--cases", "any*"], "no case fits 'any*'"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_runs(
    words: list[str], said: str, reproduce: Any, tmp_path: Path
) -> None:
    answer = reproduce(*words, "--json")
    assert answer.code == 2
    assert answer.error["what"] == said
    assert not (tmp_path / "out").exists()


def test_a_split_that_is_not_there_is_missed_before_anything_runs(reproduce: Any, tmp_path: Path) -> None:
    path = tiny_csv(tmp_path / "fer2013.csv", train=70)
    answer = reproduce("open", "--data", "fer2013", "--data-path", path, "--json")
    assert answer.error["what"] == "fer2013 has no 'test' split"
    assert not (tmp_path / "out").exists()


def test_data_without_a_test_split_are_scored_on_valid_and_it_says_so(reproduce: Any, tmp_path: Path) -> None:
    path = tiny_csv(tmp_path / "fer2013.csv", train=70, valid=14)
    words = [
        "--data",
        "fer2013",
        "--data-path",
        path,
        "--model",
        "mlp",
        "--set",
        "model.hidden=[4]",
        "--set",
        "batch_size=16",
        "--json",
    ]
    (run,) = reproduce("table-1", "--cases", "the*", "--scale", "0.0001", *words).document
    assert run["metric"] == "valid_accuracy"
    assert run["value"] == pytest.approx(100 * run["summary"]["valid_accuracy"])
    assert run["verdict"] == "other data: not comparable"  # seven classes of noise are not FER2013
    assert "the data have no test split: valid accuracy" in run["differs"]
    (line,) = table(tmp_path / "out" / "table-1")
    assert line["ours"] == f"{run['value']:.2f}"
    text = (tmp_path / "out" / "index.html").read_text()
    assert "our accuracies are of the valid split" in text


def test_a_function_that_returns_no_experiment_is_its_authors_fault(reproduce: Any) -> None:
    answer = reproduce("wrong", "--json")
    assert answer.code == 1
    assert answer.error["why"] == "it must return a localrules.reproduce.spec.Experiment"
