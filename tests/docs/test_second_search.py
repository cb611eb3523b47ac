"""The second search on FER2013: what its records hold, and that it can be continued."""

from __future__ import annotations

import csv
import importlib
import re
import tomllib
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from helpers.snippets import ROOT
from helpers.tiny_runs import tiny_csv

from localrules.config.settings import Settings
from localrules.engine.resolve import resolve_run
from localrules.engine.session import Session
from localrules.engine.step import train_steps
from localrules.registry.registry import Registry
from localrules.testing.conformance.sessions import toy_dataset

pytestmark = pytest.mark.slow

RESEARCH = ROOT / "docs" / "research"


@pytest.fixture
def search(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module second_search, with those beside it."""
    monkeypatch.syspath_prepend(ROOT / "examples" / "studies")
    return importlib.import_module("second_search")


@pytest.fixture
def tables(search: ModuleType) -> ModuleType:
    """The module second_search_tables."""
    return importlib.import_module("second_search_tables")


def test_the_records_of_a_search_have_the_settings_of_their_cases(search: ModuleType) -> None:
    found = [path for path in search.RECORDS.glob("*.npz") if not path.name.startswith(("final-", "cifar10-"))]
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
    page = (RESEARCH / "second-search.md").read_text(encoding="utf-8")
    with (search.RECORDS / "trials.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["right_difference"]]
    for row in rows:
        if row["beside"] == "control" and row["case"] not in ("hsic", "hsic-levels", "hsic-levels-ce"):
            continue
        for key, scale, digits in (("right", 100, 1), ("loss", 1, 3)):
            each = [scale * float(row[f"{key}_{name}"]) for name in ("difference", "low", "high")]
            mean, low, high = (f"{value:+.{digits}f}" for value in each)
            assert f"{mean} [{low}, {high}]" in page, f"{row['case']} beside {row['beside']}"


@pytest.mark.parametrize("ground", ["cifar10-vgg8b", "cifar10-vgg8b-half", "cifar10-resnet32"])
def test_the_page_of_a_search_has_the_results_on_other_grounds(search: ModuleType, ground: str) -> None:
    page = (RESEARCH / "second-search.md").read_text(encoding="utf-8")
    with (search.RECORDS / f"{ground}.csv").open(encoding="utf-8") as file:
        control, local = csv.DictReader(file)
    assert (control["case"], local["case"]) == ("control", "hsic-levels-ce")
    for row in (control, local):
        assert f"| {float(row['right']):.3f} | {float(row['loss']):.3f} |" in page
    each = [100 * float(local[f"right_{name}"]) for name in ("difference", "low", "high")]
    assert "{:+.1f} [{:+.1f}, {:+.1f}]".format(*each) in page


@pytest.mark.parametrize("table", ["final", "final-twice"])
def test_the_page_of_a_search_has_the_final_accuracies_and_differences(search: ModuleType, table: str) -> None:
    page = (RESEARCH / "second-search.md").read_text(encoding="utf-8")
    with (search.RECORDS / f"{table}.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["case"] for row in rows} == done_on_all_seeds(search, table)
    for row in rows:
        assert f"{float(row['right']):.3f}" in page
        for key, scale, digits in (("right", 100, 1), ("loss", 1, 3)) if row["right_difference"] else ():
            each = [scale * float(row[f"{key}_{name}"]) for name in ("difference", "low", "high")]
            mean, low, high = (f"{value:+.{digits}f}" for value in each)
            assert f"{mean} [{low}, {high}]" in page, row["case"]


def done_on_all_seeds(search: ModuleType, table: str) -> set[str]:
    """The cases of a table of final runs, by their records; a case whose seeds are not all there is a fault."""
    records = search.RECORDS.glob(f"{table}-[!t]*.npz")
    seeds = Counter(path.stem.removeprefix(f"{table}-").rpartition("-")[0] for path in records)
    assert set(seeds.values()) == {len(search.cases.NUMBERS)}
    return set(seeds)


def test_each_interval_of_the_findings_stands_in_a_record() -> None:
    findings, *records = (
        (RESEARCH / f"{name}.md").read_text(encoding="utf-8") for name in ("index", "second-search", "fer2013-hsic")
    )
    intervals = set(re.findall(r"[+-]\d\.\d+ \[[^]]+\]", findings))
    assert len(intervals) > 10
    assert {each for each in intervals if not any(each in record for record in records)} == set()


def test_the_findings_are_read_in_some_minutes() -> None:
    assert len((RESEARCH / "index.md").read_text(encoding="utf-8").split()) < 1300


def test_extensions_of_a_rule_keep_the_options_of_its_recipe(search: ModuleType) -> None:
    plain, *others = (
        search.settings_of(search.Trial(case, 0), "fer2013.csv").tree["rule"]
        for case in ("hsic", "hsic-head-4", "hsic-patches", "hsic-softened")
    )
    for rule in others:
        assert {**rule, **plain, "name": "searched"} == rule


def shorten(
    monkeypatch: pytest.MonkeyPatch, search: ModuleType, cases: dict[str, Any], grounds: dict[str, Any]
) -> None:
    """Make trials as short as a test has time for."""
    values = {
        "TOGETHER": 0.5,
        "READOUT": 0.5,
        "NUMBERS": (0, 1),
        "CASES": cases,
        "FINAL": tuple(cases),
        "GROUNDS": grounds,
    }
    for name, value in values.items():
        monkeypatch.setattr(search.cases, name, value)
    monkeypatch.setattr("second_search_tables.RESAMPLES", 100)
    monkeypatch.setattr("localrules.reproduce.league.cost.SECONDS", 0.1)


def test_a_search_goes_on_from_the_records_of_its_trials(
    search: ModuleType,
    tables: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    small = {"model.blocks": 1, "model.convolutions": 1, "model.growth": 4, "model.stem": 4, "model.lateral": 4}
    small |= {"batch_size": 10, "precision": "fp32", "optimizer.name": "adam", "threads": 1}
    cases = {"control": ("fer_backprop", small), "hsic": ("fer_hsic", {**small, "batch_size": 20})}
    shorten(monkeypatch, search, cases, {"fer2013": search.cases.Ground("fer2013", "dense_fpn", {}, held_out=True)})
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
    one, two = (tables.read_record(records / f"hsic-{division}.npz") for division in (0, 1))
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
    image = tmp_path / "curves.png"
    final = ["--final", "--weights", str(weights), "--image", str(image)]
    monkeypatch.setattr("sys.argv", [*words, str(tmp_path / "here"), *final])
    search.main()
    assert image.exists()
    rows = list(csv.DictReader((records / "final.csv").read_text(encoding="utf-8").splitlines()))
    assert [(row["case"], row["seeds"], row["beside"], row["locality"]) for row in rows] == [
        ("control", "2", "control", "backprop"), ("hsic", "2", "control", "local-labels"),
    ]  # fmt: skip
    assert all(float(row["macs_10^12"]) > 0 for row in rows)
    assert len(tables.read_record(records / "final-control-0.npz")["right"]) == 10  # of PublicTest
    (control, hsic) = csv.DictReader((weights / "weights.csv").read_text(encoding="utf-8").splitlines())
    assert (control["case"], hsic["case"]) == ("control", "hsic")
    assert float(hsic["accuracy"]) == tables.read_record(records / "final-hsic-0.npz")["right"].mean()
    assert int(hsic["bytes"]) == sum(path.stat().st_size for path in (weights / "hsic").iterdir())
    assert "## Limits" in (weights / "hsic" / "README.md").read_text()
    facts = search.facts_of(records / "final-control-1.npz")
    assert (facts["settings"]["seed"], facts["epochs"]) == (1, 2 * search.facts_of(records / "control-1.npz")["epochs"])


def test_a_run_twice_as_long_has_its_own_record(search: ModuleType) -> None:
    short, long = (search.Trial("hsic", 0, final=True, twice=twice) for twice in (False, True))
    assert (short.record, long.record) == ("final-hsic-0.npz", "final-twice-hsic-0.npz")
    epochs = [search.whole_settings(trial, 1.1, "fer2013.csv").tree["epochs"] for trial in (short, long)]
    assert epochs == [18.0, 36.0]


def test_a_search_on_another_ground_has_seeds_and_the_valid_split(
    search: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = {"batch_size": 10, "optimizer.name": "adam", "threads": 1}
    cases = {"control": ("fer_backprop", small), "hsic": ("fer_hsic", small)}
    shorten(monkeypatch, search, cases, {"perceptron": search.cases.Ground("fer2013", "mlp", {"hidden": [8]})})
    data, records = tiny_csv(tmp_path / "fer2013.csv", train=100, valid=10), tmp_path / "records"
    words = ["second_search.py", "--data-path", str(data), "--records", str(records), "--out", str(tmp_path / "out")]
    words += ["--ground", "perceptron", "--cases", "*"]
    monkeypatch.setattr("sys.argv", [*words, "--seeds", "1"])
    search.main()
    assert [path.name for path in sorted(records.glob("*.npz"))] == [
        "perceptron-control-0.npz",
        "perceptron-hsic-0.npz",
    ]
    monkeypatch.setattr("sys.argv", words)
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


@pytest.mark.parametrize(
    ("case", "recipe"),
    [
        ("control-averaged", "fer_half_backprop"),
        ("hsic-small-heads-averaged", "fer_half_hsic"),
        ("hsic-levels-averaged", "fer_half_hsic_levels"),
        ("hsic-levels-ce-averaged", "fer_half_hsic_levels_ce"),
    ],
)
def test_the_recipes_of_half_the_width_are_those_of_the_final_runs(
    search: ModuleType, tmp_path: Path, case: str, recipe: str
) -> None:
    trial = search.Trial(case, 0, final=True)
    ratio = search.step_ratio_of(trial, "fer2013.csv", tmp_path, search.RECORDS, Registry.load(allow=[]))
    final = search.whole_settings(trial, ratio, "fer2013.csv").tree
    tree = tomllib.loads((ROOT / "examples" / "recipes" / f"{recipe}.toml").read_text(encoding="utf-8"))
    of_the_study = {"seed": 0, "plots": False, "audit": True}
    assert {**tree, **of_the_study, "data": {**tree["data"], "path": "fer2013.csv"}} == final
