"""The examples run, and the rule that the pages show is the one in examples/."""

from __future__ import annotations

import csv
import importlib.util
import re
import runpy
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from helpers.cifar_files import cifar10, pickled
from helpers.image_trees import write_folder
from helpers.snippets import ROOT, snippets
from helpers.tiny_runs import FACES, MLP, tiny_csv, train
from sklearn.datasets import load_digits

from localrules.config.settings import Settings
from localrules.engine.resolve import resolve_run
from localrules.engine.session import Session
from localrules.engine.step import train_steps
from localrules.registry.registry import Registry
from localrules.reproduce.league.row import Row, write_row
from localrules.testing.conformance.sessions import toy_dataset

pytestmark = pytest.mark.slow


def test_a_module_of_ones_own_learns_in_a_loop_of_ones_own() -> None:
    main = runpy.run_path(str(ROOT / "examples" / "wrap_your_module.py"))["main"]
    assert main(steps=40, images=980) > 1.5 / 7


@pytest.mark.exhaustive
def test_the_notebook_runs_from_a_comparison_to_its_plot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is; it holds no output of its own, and says how to install what it uses."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(ROOT / "examples" / "first_comparison.ipynb", as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell for cell in cells if cell.outputs or cell.execution_count] == []
    assert "# %pip install .." in cells[0].source
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    client = NotebookClient(
        notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    outputs = [output for cell in cells for output in cell.outputs if output.output_type != "stream"]
    assert ["image/png" in output.data for output in outputs] == [False, True]
    assert "backprop" in outputs[0].data["text/plain"]
    assert (tmp_path / "first_comparison" / "index.html").is_file()
    assert not (ROOT / "examples" / "first_comparison").exists()


def test_the_pages_show_the_example_rule_as_it_is() -> None:
    example = (ROOT / "examples" / "myrule.py").read_text(encoding="utf-8").split("\n", 2)[2]
    for page in ("README.md", "docs/tutorial.md"):
        first = next(snippet for snippet in snippets(page) if snippet.file == "myrule.py")
        assert first.code == example, first.place
    assert len([line for line in example.splitlines() if line.strip()]) <= 15


@pytest.mark.parametrize(
    "name",
    [
        "forward_forward_gap.py",
        "hsic_readout_gap.py",
        "step_cost_beside_public_code.py",
        "votes_of_layers.py",
    ],
)
def test_an_example_that_needs_more_than_a_test_has_says_what_it_wants(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    main = runpy.run_path(str(ROOT / "examples" / "studies" / name))["main"]
    monkeypatch.setattr("sys.argv", [name, "--help"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert "--threads" in capsys.readouterr().out


def test_the_cost_of_the_pipeline_is_measured_beside_a_step(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study = runpy.run_path(str(ROOT / "examples" / "studies" / "pipeline_cost.py"))
    words = ["--model", "lenet", "--rounds", "1", "--samples", "64", "--batch-size", "32"]
    monkeypatch.setattr("sys.argv", ["pipeline_cost.py", *words])
    study["main"].__globals__["AT_MOST"] = 0.0  # whatever it costs is too much
    assert study["main"]() == 1
    assert "lenet by backprop" in capsys.readouterr().out


def test_the_start_of_a_run_is_timed_beside_that_of_torch(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    write_folder(tmp_path / "cifar-10-batches-py", pickled(cifar10()))
    main = runpy.run_path(str(ROOT / "examples" / "studies" / "start_time.py"))["main"]
    monkeypatch.setattr("sys.argv", ["start_time.py", str(tmp_path), "--rounds", "1", "--batch-size", "4"])
    main()
    form = r"empty cache: (\S+) s\nfull cache: (\S+) s; the control: (\S+) s; .* (\S+)\n"
    said = re.search(form, capsys.readouterr().out)
    assert said is not None
    empty, full, control, ratio = map(float, said.groups())
    assert min(empty, full, control) > 0
    assert ratio == pytest.approx(full / control, abs=0.05)


def test_cases_of_the_gap_are_those_of_the_suite() -> None:
    """Same widths, batches, epochs and published values."""
    from localrules_hsic.published import hsic

    rows = runpy.run_path(str(ROOT / "examples" / "studies" / "hsic_readout_gap.py"))["CASES"].values()
    suite = [row for row in hsic().cases if "readout" in row.name]
    assert sorted(row.published for row in rows) == sorted(row.published for row in suite)
    for row in suite:
        (same,) = (one for one in rows if one.published == row.published)
        assert list(same.hidden[1:]) == row.settings["model"]["hidden"]
        assert (same.batch, same.width) == (row.settings["batch_size"], row.settings["rule"]["width"])
        assert same.epochs + 5 == row.settings["epochs"]


@pytest.mark.exhaustive
@pytest.mark.parametrize("form", ["ours", "all of them"])
def test_forward_forward_by_hand_learns_digits(form: str, tmp_path: Path) -> None:
    """Made as large as MNIST's images, and by fewer steps."""
    found = load_digits()
    images = np.repeat(np.repeat(found.images * 15.9, 3, axis=1), 3, axis=2).astype("uint8")
    parts = {"x_train": images[:1500], "y_train": found.target[:1500], "x_test": images[1500:]}
    np.savez(tmp_path / "digits.npz", **parts, y_test=found.target[1500:])
    example = runpy.run_path(str(ROOT / "examples" / "studies" / "forward_forward_gap.py"))
    right = example["accuracy"](tmp_path / "digits.npz", example["FORMS"][form], shown=200, steps=250, seed=0)
    assert 50 < right < 100


def test_layers_of_a_finished_run_get_a_vote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The network is as it was: its readout scores what the run scored. The layers' share is learned."""
    summary = train(tmp_path / "runs", "--rule", "backprop", setting=[*FACES, *MLP, "--threads", "1", "--steps", "60"])
    example = runpy.run_path(str(ROOT / "examples" / "studies" / "votes_of_layers.py"))
    monkeypatch.setattr("sys.argv", ["votes_of_layers.py", summary["run_dir"], "--epochs", "40", "--split", "train"])
    example["main"].__globals__["BATCH"] = 70
    example["main"]()
    name, *words = capsys.readouterr().out.split()
    found = {key: float(value) for key, value in zip(words[::2], words[1::2], strict=True)}
    assert name == Path(summary["run_dir"]).name
    assert found["readout"] == pytest.approx(summary["train_accuracy"], abs=1e-3)
    assert found["layers"] > 0.3
    assert found.keys() == {"readout", "layers", "vote"}


def test_the_rows_of_a_league_become_a_table_and_plots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        Row("g", "pred", "mlp", "faces", {}, accuracies=(0.5, 0.6), locality="local-labels", step_ratio=0.9,
            memory_ratio=0.5, machine="a CPU"),
        Row("g", "backprop", "mlp", "faces", {}, accuracies=(0.7,), locality="backprop", step_ratio=1.0,
            memory_ratio=1.0, machine="a CPU"),
        Row("h", "fa", "mlp", "faces", {}, reason="every trial diverged"),
    ]  # fmt: skip
    for row in rows:
        write_row(tmp_path, row)
    example = runpy.run_path(str(ROOT / "examples" / "studies" / "draw_league.py"))
    words = ["draw_league.py", "--rows", str(tmp_path / "rows"), "--out", str(tmp_path)]
    monkeypatch.setattr("sys.argv", words)
    example["main"]()
    with (tmp_path / "league.csv").open(encoding="utf-8") as file:
        assert [(line["rule"], line["accuracy_mean"]) for line in csv.DictReader(file)] == [
            ("backprop", "0.7000"), ("pred", "0.5500"), ("fa", ""),
        ]  # fmt: skip
    assert [path.name for path in tmp_path.glob("*.png")] == ["league-g.png"]


@pytest.fixture
def search(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module second_search."""
    spec = importlib.util.spec_from_file_location("second_search", ROOT / "examples" / "studies" / "second_search.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "second_search", module)  # its dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


def test_the_records_of_a_search_have_the_settings_of_their_cases(search: ModuleType) -> None:
    found = [path for path in search.RECORDS.glob("*.npz") if not path.name.startswith("final-")]
    assert found
    for path in found:
        case, _, division = path.stem.rpartition("-")
        asked = search.settings_of(search.Trial(case, int(division)), "fer2013.csv").tree
        kept = search.facts_of(path)["settings"]
        assert {**kept["rule"], **asked["rule"]} == kept["rule"], path.name
        assert {name: kept[name] for name in ("batch_size", "holdout_seed")} == {
            name: asked[name] for name in ("batch_size", "holdout_seed")
        }


def test_the_page_of_a_search_has_the_differences_of_its_table(search: ModuleType) -> None:
    page = (ROOT / "docs" / "research" / "index.md").read_text(encoding="utf-8")
    with (search.RECORDS / "trials.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["right_difference"]]
    for row in rows:
        if row["beside"] == "control" and row["case"] not in ("hsic", "hsic-levels", "hsic-levels-ce"):
            continue
        for key, scale, digits in (("right", 100, 1), ("loss", 1, 3)):
            each = [scale * float(row[f"{key}_{name}"]) for name in ("difference", "low", "high")]
            mean, low, high = (f"{value:+.{digits}f}" for value in each)
            assert f"{mean} [{low}, {high}]" in page, f"{row['case']} beside {row['beside']}"


def test_extensions_of_a_rule_keep_the_options_of_its_recipe(search: ModuleType) -> None:
    plain, *others = (
        search.settings_of(search.Trial(case, 0), "fer2013.csv").tree["rule"]
        for case in ("hsic", "hsic-head-4", "hsic-patches", "hsic-softened")
    )
    for rule in others:
        assert {**rule, **plain, "name": "searched"} == rule


def shorten(
    search: ModuleType, monkeypatch: pytest.MonkeyPatch, cases: dict[str, Any], grounds: dict[str, Any]
) -> None:
    """Make trials as short as a test has time for."""
    values = {"TOGETHER": 0.5, "READOUT": 0.5, "NUMBERS": (0, 1), "RESAMPLES": 100, "CASES": cases, "GROUNDS": grounds}
    for name, value in values.items():
        monkeypatch.setattr(search, name, value)
    monkeypatch.setattr("localrules.reproduce.league.cost.SECONDS", 0.1)


def test_a_search_goes_on_from_the_records_of_its_trials(
    search: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = {"model.blocks": 1, "model.convolutions": 1, "model.growth": 4, "model.stem": 4, "model.lateral": 4}
    small |= {"batch_size": 10, "precision": "fp32", "optimizer.name": "adam", "threads": 1}
    cases = {"control": ("fer_backprop", small), "hsic": ("fer_hsic", {**small, "batch_size": 20})}
    shorten(search, monkeypatch, cases, {"fer2013": search.Ground("fer2013", "dense_fpn", {}, held_out=True)})
    data, records = tiny_csv(tmp_path / "fer2013.csv", train=100, valid=10), tmp_path / "records"
    words = ["second_search.py", "--data-path", str(data), "--records", str(records), "--out"]
    monkeypatch.setattr("sys.argv", [*words, str(tmp_path / "here")])
    search.main()
    rows = list(csv.DictReader((records / "trials.csv").read_text(encoding="utf-8").splitlines()))
    assert [(row["case"], row["images"], row["beside"]) for row in rows] == [
        ("control", "20", "control"), ("hsic", "20", "control"),
    ]  # fmt: skip
    assert float(rows[1]["loss_low"]) <= float(rows[1]["loss_difference"]) <= float(rows[1]["loss_high"])
    ratios = [search.facts_of(records / f"hsic-{division}.npz")["step_ratio"] for division in (0, 1)]
    assert ratios[0] == ratios[1]
    one, two = (search.read_record(records / f"hsic-{division}.npz") for division in (0, 1))
    assert set(one["right"]) <= {0.0, 1.0}
    assert list(one["loss"]) != list(two["loss"])  # other images are held out
    (records / "hsic-1.npz").unlink()
    capsys.readouterr()
    monkeypatch.setattr("sys.argv", [*words, str(tmp_path / "elsewhere")])
    search.main()
    assert [line for line in capsys.readouterr().out.splitlines() if line.startswith("hsic, ")] == ["hsic, division 1"]
    assert search.facts_of(records / "hsic-1.npz")["step_ratio"] == ratios[0]
    weights = tmp_path / "weights"
    weights.mkdir()
    (weights / "NOTES.md").write_text("## Limits\n")
    monkeypatch.setattr("sys.argv", [*words, str(tmp_path / "here"), "--final", "--weights", str(weights)])
    search.main()
    final = list(csv.DictReader((records / "final.csv").read_text(encoding="utf-8").splitlines()))
    assert [(row["case"], row["seeds"], row["beside"]) for row in final] == [
        ("control", "2", "control"), ("hsic", "2", "control"),
    ]  # fmt: skip
    assert len(search.read_record(records / "final-control-0.npz")["right"]) == 10  # of PublicTest
    (control, hsic) = csv.DictReader((weights / "weights.csv").read_text(encoding="utf-8").splitlines())
    assert (control["case"], hsic["case"]) == ("control", "hsic")
    assert float(hsic["accuracy"]) == search.read_record(records / "final-hsic-0.npz")["right"].mean()
    assert int(hsic["bytes"]) == sum(path.stat().st_size for path in (weights / "hsic").iterdir())
    assert "## Limits" in (weights / "hsic" / "README.md").read_text()
    facts = search.facts_of(records / "final-control-1.npz")
    assert (facts["settings"]["seed"], facts["epochs"]) == (1, 2 * search.facts_of(records / "control-1.npz")["epochs"])


def test_a_search_on_another_ground_has_seeds_and_the_valid_split(
    search: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = {"batch_size": 10, "optimizer.name": "adam", "threads": 1}
    cases = {"control": ("fer_backprop", small), "hsic": ("fer_hsic", small)}
    shorten(search, monkeypatch, cases, {"perceptron": search.Ground("fer2013", "mlp", {"hidden": [8]})})
    data, records = tiny_csv(tmp_path / "fer2013.csv", train=100, valid=10), tmp_path / "records"
    words = ["second_search.py", "--data-path", str(data), "--records", str(records), "--out", str(tmp_path / "out")]
    monkeypatch.setattr("sys.argv", [*words, "--ground", "perceptron", "--cases", "*"])
    search.main()
    rows = list(csv.DictReader((records / "perceptron.csv").read_text(encoding="utf-8").splitlines()))
    assert [(row["case"], row["images"]) for row in rows] == [("control", "10"), ("hsic", "10")]
    facts = search.facts_of(records / "perceptron-hsic-1.npz")["settings"]
    assert (facts["seed"], facts["holdout_fraction"], facts["model"]["hidden"]) == (1, 0.0, [8])


@pytest.mark.parametrize("ground", ["cifar10-resnet32", "cifar10-vgg8b"])
@pytest.mark.parametrize("case", ["control", "hsic", "hsic-levels"])
def test_the_recipes_of_the_search_train_the_networks_of_other_grounds(
    search: ModuleType, ground: str, case: str
) -> None:
    tree = search.settings_of(search.Trial(case, 0, ground=ground), "cifar-10.tar.gz").tree
    tree |= {"steps": 1, "phases": "joint", "batch_size": 4}
    tree.pop("epochs")
    if ground == "cifar10-vgg8b":
        tree["model"] |= {"width": 0.03125, "hidden": [16]}
    run = resolve_run(Settings.from_tree(tree), Registry.load(allow=[]), network_only=True)
    session = Session.build(run, toy_dataset(samples=8, shape=(3, 32, 32)))
    train_steps(session)
    assert len(session.network.hidden) == (3 if case == "hsic-levels" else 31 if "resnet" in ground else 7)
