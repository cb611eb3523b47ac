"""``compare --rules``: what scripts rely on, and that no run is made twice."""

from __future__ import annotations

import html
import json
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import pytest
from helpers.comparisons import RULES, SHORT, compare, run_folders
from helpers.tiny_runs import train

from localrules.comparison import comparison, run_record
from localrules.engine.divergence import Diverged
from localrules.errors import LocalRulesError
from localrules.tracking.records import read_config, write_config

pytestmark = pytest.mark.slow

ROW: dict[str, type] = {
    "rule": str,
    "seed_count": int,
    "valid_accuracy_mean": float,
    "valid_accuracy_std": float,
    "step_seconds": float,
    "peak_memory_mib": float,
    "parameters": int,
    "class": str,
}


def summaries(out: Path, rule: str) -> list[dict[str, Any]]:
    found = [json.loads((folder / "summary.json").read_text()) for folder in run_folders(out)]
    return [summary for summary in found if summary["rule"] == rule]


def no_training(*_: object) -> Any:
    raise AssertionError("a run was started")


def test_the_document_is_a_row_for_each_rule_in_the_order_that_was_asked_for(done: Path) -> None:
    rows = json.loads((done.parent / "said.json").read_text())
    assert [row["rule"] for row in rows] == RULES.split(",")
    assert [{name: type(value) for name, value in row.items()} for row in rows] == [ROW, ROW]
    assert [row["class"] for row in rows] == ["local-labels", "backprop"]


def test_the_metrics_of_a_row_are_those_of_its_runs(done: Path) -> None:
    row = json.loads((done.parent / "said.json").read_text())[0]
    of_seeds = summaries(done, "local-ce")
    accuracies = [summary["valid_accuracy"] for summary in of_seeds]
    assert row["seed_count"] == len(of_seeds) == 2
    assert row["valid_accuracy_mean"] == pytest.approx(mean(accuracies))
    assert row["valid_accuracy_std"] == pytest.approx(stdev(accuracies))
    assert row["peak_memory_mib"] == max(summary["peak_memory_mib"] for summary in of_seeds)
    assert row["parameters"] == of_seeds[0]["parameters"]


def test_a_run_of_a_comparison_is_what_run_makes_of_the_same_words(done: Path, tmp_path: Path) -> None:
    alone = train(tmp_path, "--rule", "local-ce", "--seed", "1", setting=SHORT)
    within = {summary["seed"]: summary["weights_sha256"] for summary in summaries(done, "local-ce")}
    assert within[1] == alone["weights_sha256"]


def test_repeating_it_trains_nothing_and_says_the_same(
    done: Path, copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_record, "start", no_training)
    monkeypatch.setattr(run_record, "resume", no_training)
    said = compare(copied)
    assert said.code == 0, said.out
    assert said.out == (done.parent / "said.json").read_text()
    assert said.err.count("done before") == 4


def test_one_more_seed_or_rule_costs_only_its_own_runs(copied: Path) -> None:
    before = run_folders(copied)
    said = compare(copied, rules=f"{RULES},hsic", seeds=1)
    assert said.code == 0, said.out
    assert len(run_folders(copied)) == len(before) + 1
    assert [row["valid_accuracy_std"] for row in said.document] == [None, None, None]


def test_an_interrupted_run_goes_on_where_it_stopped(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_record, "start", no_training)
    folders = run_folders(copied)
    before = json.loads((folders[0] / "summary.json").read_text())
    (folders[0] / "summary.json").unlink()
    said = compare(copied)
    assert said.code == 0, said.out
    assert said.err.count("goes on") == 1
    assert run_folders(copied) == folders
    after = json.loads((folders[0] / "summary.json").read_text())
    assert after["resumed_from_step"] == 7
    assert after["weights_sha256"] == before["weights_sha256"]


@pytest.mark.parametrize(
    ("table", "name", "value"),
    [("trained_on", "fingerprint", "of others"), ("environment", "supplied_by", {"rule": "mine.py 0123456789abcdef"})],
)
def test_a_run_on_other_data_or_by_another_plugin_is_not_taken_for_this_one(
    copied: Path, table: str, name: str, value: object
) -> None:
    folder = run_folders(copied)[0]
    record = read_config(folder)
    record[table][name] = value
    write_config(folder, record)
    said = compare(copied)
    assert said.code == 0, said.out
    assert len(run_folders(copied)) == 5


def test_a_rule_that_diverges_is_left_out_and_the_others_are_compared(
    copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverges(*_: object) -> Any:
        raise Diverged("training diverged at step 3")

    monkeypatch.setattr(run_record, "start", diverges)
    said = compare(copied, rules=f"{RULES},hsic")
    assert said.code == 0, said.out
    last = said.document[-1]
    assert (last["rule"], last["seed_count"], last["valid_accuracy_mean"]) == ("hsic", 0, None)
    assert "hsic with seed 0 is left out: training diverged at step 3" in (copied / "index.html").read_text()


def test_an_option_of_one_rule_is_given_under_its_name(tmp_path: Path) -> None:
    said = compare(tmp_path / "out", "--set", "hsic.beta=7", "--set", "seed=5", rules="hsic,backprop", seeds=1)
    assert said.code == 0, said.out
    texts = [(folder / "config.toml").read_text() for folder in run_folders(tmp_path / "out")]
    assert all("\nseed = 5\n" in text for text in texts)
    assert sum("\nbeta = 7" in text for text in texts) == 1


def test_a_mixture_is_a_rule_among_others(tmp_path: Path) -> None:
    mixture = "layers.0=local-ce,*=hsic"
    said = compare(tmp_path / "out", rules=f"{mixture}; backprop", seeds=1)
    assert said.code == 0, said.out
    assert [(row["rule"], row["class"]) for row in said.document] == [
        (mixture, "local-labels"),
        ("backprop", "backprop"),
    ]


def test_the_folder_has_a_record_with_more_for_scripts(done: Path) -> None:
    record = json.loads((done / "comparison.json").read_text())
    ours, control = record["rows"]
    assert record["settings"]["model"] == {"hidden": [12, 8], "name": "mlp"}
    assert control["difference"] is None
    assert ours["difference_to"] == "backprop"
    gap = ours["valid_accuracy_mean"] - control["valid_accuracy_mean"]
    assert ours["difference"]["mean"] == pytest.approx(gap)
    assert ours["difference"]["low"] <= gap <= ours["difference"]["high"]
    assert all(Path(folder).is_dir() for folder in ours["runs"])


def test_a_user_who_stops_it_is_told_how_to_go_on(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object) -> Any:
        raise LocalRulesError("stopped at step 3 of 7", fix="localrules run --resume runs/x")

    monkeypatch.setattr(run_record, "start", stopped)
    said = compare(copied, rules=f"{RULES},hsic")
    assert said.code == 1
    assert said.error["fix"].startswith("localrules run --resume runs/x; or repeat the comparison")


def test_on_weights_and_biases_the_runs_are_a_group_called_like_the_folder(tmp_path: Path) -> None:
    said = compare(tmp_path / "my comparison", "--wandb", "auto", rules="hsic,backprop", seeds=1)
    assert said.code == 0, said.out
    configs = [read_config(folder) for folder in run_folders(tmp_path / "my comparison")]
    assert [config["trackers"]["wandb"]["group"] for config in configs] == ["my comparison"] * 2


CLAIMS_TOO_MUCH = """
from localrules import RuleEntry, hookimpl
from localrules_backprop.backprop import Backprop


class Modest(Backprop):
    info = Backprop.info.replace(locality="local")


@hookimpl
def localrules_rules():
    return [RuleEntry(name="modest", target=f"{__name__}:Modest", summary="Says that it is local.", reference="")]
"""


def test_the_class_is_measured_and_a_claim_that_does_not_hold_is_said(tmp_path: Path) -> None:
    plugin = tmp_path / "modest.py"
    plugin.write_text(CLAIMS_TOO_MUCH)
    said = compare(tmp_path / "out", "--plugin", plugin, rules="backprop,modest", seeds=1)
    assert said.code == 0, said.out
    assert [row["class"] for row in said.document] == ["backprop", "backprop"]
    page = html.unescape((tmp_path / "out" / "index.html").read_text())
    assert "modest declares 'local' and is 'backprop'" in page


def test_where_the_class_cannot_be_measured_it_is_what_the_rule_declares(
    copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> Any:
        raise RuntimeError("too small")

    monkeypatch.setattr(comparison, "measured_locality", fails)
    said = compare(copied)
    assert [row["class"] for row in said.document] == ["local-labels", "backprop"]
    assert "it could not be measured: too small" in (copied / "index.html").read_text()
