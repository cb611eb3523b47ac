"""The paper's experiments run from the first to the last, and set its claims beside what came out."""

from __future__ import annotations

import csv
from typing import Any

import pytest
from helpers.tiny_baselines import narrow_inception, small_torchvision
from helpers.tiny_runs import Said, localrules

from localrules.engine.resolve import resolve_run
from localrules.registry.registry import Registry
from localrules.reproduce.registry import select_experiments
from localrules.reproduce.spec import Budget

pytestmark = pytest.mark.slow

REGISTRY = Registry.load(allow=[])
ALL = select_experiments("all", REGISTRY)
NAMES = [
    "figure-1-3", "figure-6-9", "figure-10-11", "figure-12", "figure-13", "figure-14", "table-1", "beta", "two-phase",
]  # fmt: skip
WORDS = [
    "all",
    "--data",
    "faces",
    "--model",
    "dense_fpn_small",
    "--scale",
    "0.002",
    "--threads",
    "1",
    "--set",
    "plots=false",
    "--json",
]
for option in (
    *("model.convolutions=1", "model.growth=4", "model.stem=4", "model.lateral=8"),
    *("data.train=140", "data.valid=35", "data.test=35", "batch_size=8"),
):
    WORDS += ["--set", option]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Everything, reproduced once, with small baselines: what was printed, the folder, and the command to say again."""
    out = tmp_path_factory.mktemp("paper")
    with pytest.MonkeyPatch.context() as patch:
        narrow_inception(patch)
        small_torchvision(patch)

        def again() -> Said:
            return localrules("reproduce", *WORDS, "--out", out)

        yield again(), out, again


def trained(said: Said) -> list[dict[str, Any]]:
    """The document's lines but for that of the experiment which only looks at data."""
    found: list[dict[str, Any]] = list(said.document)
    assert [run["experiment"] for run in found if run["summary"] is None] == ["figure-6-9"]
    return [run for run in found if run["summary"] is not None]


def test_all_is_every_experiment_of_the_paper() -> None:
    assert sorted(ALL) == sorted(NAMES)
    assert all(experiment.claim for experiment in ALL.values())


@pytest.mark.parametrize("name", [*NAMES, "table-1-native"])
def test_cases_are_the_papers_settings_but_for_what_they_are_about(name: str) -> None:
    for case in select_experiments(name, REGISTRY)[name].cases:
        model = {"name": "dense_fpn", **case.settings.get("model", {})}
        settings = {**case.settings, "model": model, "data": {"name": "faces"}, "threads": 1}
        config = resolve_run(settings, REGISTRY).config
        assert Budget.of(case.name, case.settings, 1.0).published == 10_000
        assert (config.batch_size, config.optimizer.name, config.schedule.name) == (128, "adam", "constant")
        assert (config.augment.flip, config.augment.shift) == (False, 0)
        assert config.optimizer.lr == 0.005 or name == "figure-14"


@pytest.mark.exhaustive
def test_everything_runs_through(done: Any) -> None:
    said, out, _ = done
    assert said.code == 0, said.out
    assert {run["experiment"] for run in said.document} == set(NAMES)
    assert {run["summary"]["steps"] for run in trained(said)} == {20}
    for name in NAMES:
        assert list((out / name).glob("*.csv"))
        assert list((out / name).glob("*.png"))


@pytest.mark.exhaustive
def test_every_run_says_what_the_paper_claims_of_it(done: Any) -> None:
    said, _, _ = done
    assert all(run["claim"] == ALL[run["experiment"]].claim for run in said.document)
    published = {run["row"]: run["published"] for run in said.document if run["experiment"] == "table-1"}
    assert published == {"AlexNet": 89.0, "Inception v2": 93.0, "ResNet-50": 95.0, "the paper's": 97.0}
    assert {run["verdict"] for run in trained(said)} == {"no published value", "other data: not comparable"}


@pytest.mark.exhaustive
def test_the_page_has_every_claim_and_every_image_in_it(done: Any) -> None:
    _, out, _ = done
    text = (out / "index.html").read_text()
    images = [path for name in NAMES for path in (out / name).glob("*.png")]
    assert text.count('<img src="data:image/png') == len(images)
    assert all(f'id="{name}"' in text for name in NAMES)
    assert text.index('id="figure-6-9"') < text.index('id="figure-10-11"')
    assert "Three dense blocks are best" in text


@pytest.mark.exhaustive
def test_beside_every_claim_stands_what_was_measured_and_in_what_it_differs(done: Any) -> None:
    _, out, _ = done
    text = (out / "index.html").read_text()
    assert text.count("<strong>Measured: </strong>Top-1 on the test split of faces after 20 of 10000 steps") == 8
    assert "faces here: 140 images in Training" in text
    assert "as docs/rules/hsic.md measures" in text
    assert "on a grid of 4 x 4 where the paper averages it" in text
    differ = {
        case.name: case.deviations
        for name in ALL
        for case in ALL[name].cases
        if case.settings["rule"]["name"] == "hsic"
    }
    assert all("collapses" in differs for name, differs in differ.items() if name != "hsic as printed")


@pytest.mark.exhaustive
def test_one_run_serves_every_experiment_that_needs_it(done: Any) -> None:
    said, out, again = done
    cases: dict[str, set[str]] = {}
    for run in trained(said):
        cases.setdefault(run["summary"]["run_dir"], set()).add(run["row"])
    assert len(cases) == len(list((out / "runs").iterdir())) == 17
    shared = {"beta 100", "hsic", "3 blocks", "relu", "learning rate 0.005", "the paper's", "joint"}
    assert max(cases.values(), key=len) == shared
    assert again().document == said.document
    assert len(list((out / "runs").iterdir())) == 17


@pytest.mark.exhaustive
def test_table_1_sets_cost_and_accuracy_beside_the_printed_ones(done: Any) -> None:
    _, out, _ = done
    with (out / "table-1" / "table-1.csv").open(newline="") as file:
        lines = {line["method"]: line for line in csv.DictReader(file)}
    assert [line["s a step, published"] for line in lines.values()] == ["0.243178", "0.565114", "0.180212", "0.049286"]
    assert [line["M parameters, published"] for line in lines.values()] == ["60", "11", "24", "7"]
    assert [line["network"] for line in lines.values()] == ["alexnet", "inception_v2", "resnet50", "dense_fpn_small"]
    for line in lines.values():
        assert float(line["s a step, training"]) > 0
        assert float(line["s a batch, prediction"]) > 0
        assert 0 <= float(line["top-1"]) <= float(line["one against rest"]) <= 100


@pytest.mark.exhaustive
def test_every_case_is_shown_with_all_that_an_evaluation_says(done: Any) -> None:
    said, out, _ = done
    for name in sorted(set(NAMES) - {"figure-6-9"}):
        with (out / name / "evaluation.csv").open(newline="") as file:
            lines = list(csv.DictReader(file))
        assert [line[""] for line in lines] == [case.name for case in ALL[name].cases]
        assert {line["split"] for line in lines} == {"test"}
        for column in ("top-1", "balanced", "without duplicates", "one against rest", "calibration error"):
            assert all(0 <= float(line[column]) <= 100 for line in lines)
        assert (out / name / "recalls.csv").read_text().startswith(",angry,disgust,fear,happy,sad,surprise,neutral\n")
        assert (out / name / "confusion.json").exists()
        assert (out / name / "calibration.json").exists()
    values = {run["row"]: run["value"] for run in said.document if run["experiment"] == "figure-12"}
    with (out / "figure-12" / "evaluation.csv").open(newline="") as file:
        shown = {line[""]: float(line["top-1"]) for line in csv.DictReader(file)}
    assert shown == pytest.approx(values, abs=0.051)


@pytest.mark.exhaustive
def test_curves_are_kept_as_numbers(done: Any) -> None:
    _, out, _ = done
    with (out / "figure-12" / "curves.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    every_tenth = [(line["row"], int(line["step"])) for line in lines if int(line["step"]) % 10 == 0]
    assert every_tenth == [(f"{count} blocks", step) for count in (2, 3, 4) for step in range(0, 21, 10)]
    assert all(0 <= float(line["accuracy"]) <= 1 for line in lines if line["step"] != "0")
    for line in lines:
        assert (float(line["seconds"]) > 0) == (line["step"] != "0")
        spent = {other["step"]: float(other["macs, 10^12"]) for other in lines if other["row"] == line["row"]}
        assert spent["20"] == pytest.approx(2 * spent["10"], abs=2e-5)


@pytest.mark.exhaustive
def test_measures_tell_over_fitting(done: Any) -> None:
    _, out, _ = done
    with (out / "figure-10-11" / "measures.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    for line in lines:
        assert float(line["over-fitting"]) == pytest.approx(float(line["train"]) - float(line["test"]), abs=0.11)


@pytest.mark.exhaustive
def test_the_data_are_shown_as_they_are(done: Any) -> None:
    _, out, _ = done
    with (out / "figure-6-9" / "figure-8-labels.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert lines[-1] == {"expression": "all", "train": "140", "valid": "35", "test": "35"}
    assert len(lines) == 8
    assert {path.name for path in (out / "figure-6-9").glob("figure-7-*.png")} == {
        f"figure-7-{split}.png" for split in ("train", "valid", "test")
    }
