"""A league gives every rule the same search and the same time, forgets nothing, and leaves no rule out."""

from __future__ import annotations

import csv
import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers.tiny_runs import localrules

from localrules import SearchChoice, SearchRange
from localrules.config.settings import Settings
from localrules.errors import UsageError
from localrules.registry.registry import Registry
from localrules.reproduce.league.report import PAGE, TABLE, write_report
from localrules.reproduce.league.row import Row, best_first, run_command
from localrules.reproduce.league.run import LeagueRunner
from localrules.reproduce.league.spec import Ground, League, candidates
from localrules.reproduce.request import ReproductionRequest

pytestmark = pytest.mark.slow

REGISTRY = Registry.load(allow=[])
TINY = League(
    grounds=(
        Ground(
            name="faces",
            settings={
                "model": {"name": "mlp", "hidden": [12, 8]},
                "data": {"name": "faces", "train": 140, "valid": 70, "test": 70},
                "batch_size": 28,
            },
            steps=20,
            trial_steps=10,
        ),
    ),
    controls=("backprop",),
    trials=2,
    best=1,
    seeds=2,
)


def league(folder: Path, *cases: str, spec: League = TINY, said: list[str] | None = None) -> list[Row]:
    asked = ReproductionRequest(cases=cases, incidental={"threads": 1})
    return LeagueRunner(spec, asked, folder, REGISTRY, say=(said if said is not None else []).append).run()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A league of the control, two rules that can train the network and one that cannot."""
    place = tmp_path_factory.mktemp("league")
    for cases in ("backprop", "local-ce", "lls", "greedy-infomax"):
        league(place, cases)
    return place


def test_the_control_and_the_best_have_all_seeds_the_others_one_and_what_cannot_run_says_why(folder: Path) -> None:
    rows = {row.rule: row for row in league(folder, "backprop")}
    assert set(rows) == {"backprop", "local-ce", "lls", "greedy-infomax"}
    assert len(rows["backprop"].accuracies) == 2
    # Each command gives seeds to what is the best so far.
    assert {len(rows[rule].accuracies) for rule in ("local-ce", "lls")} <= {1, 2}
    refused = rows["greedy-infomax"]
    assert refused.accuracies == ()
    assert "feature maps" in refused.reason


def test_a_row_has_measured_class_cost_and_parameters_of_heads_too(folder: Path) -> None:
    row = next(row for row in league(folder, "backprop") if row.rule == "local-ce")
    plain = next(row for row in league(folder, "backprop") if row.rule == "backprop")
    assert (row.locality, plain.locality) == ("local-labels", "backprop")
    assert row.parameters is not None
    assert plain.parameters is not None
    assert row.parameters > plain.parameters
    assert row.step_ratio is not None
    assert row.step_ratio > 1
    assert row.split == "test"
    document = row.document()
    assert {"rule", "model", "data", "seeds", "accuracy_mean", "accuracy_std", "step_ratio", "memory_ratio", "class",
            "command"} <= set(document)  # fmt: skip


def test_trials_are_on_held_out_data_and_steps_follow_from_the_time_of_a_step(folder: Path) -> None:
    row = next(row for row in league(folder, "backprop") if row.rule == "local-ce")
    first, second = row.trials
    assert first["lr"] != second["lr"]
    assert first["options"] == {}
    configs = [json.loads(path.read_text()) for path in folder.glob("runs/*local-ce*/summary.json")]
    assert len(configs) == 2 + len(row.accuracies)
    held_out = [
        path for path in folder.glob("runs/*local-ce*/config.toml") if "holdout_fraction = 0.1" in path.read_text()
    ]
    assert len(held_out) == 2


def test_nothing_is_done_twice(folder: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.glob("runs/*/summary.json")}
    said: list[str] = []
    league(folder, "l*", said=said)
    again = {path: path.stat().st_mtime_ns for path in folder.glob("runs/*/summary.json")}
    assert {path: again[path] for path in before} == before
    assert "faces, lls: done before" in said


def test_another_budget_is_another_league(folder: Path) -> None:
    asked = ReproductionRequest(scale=0.5, cases=("lls",), incidental={"threads": 1})
    assert LeagueRunner(TINY, asked, folder, REGISTRY).rows() == []


def test_page_and_table_have_every_rule(folder: Path, tmp_path: Path) -> None:
    rows = league(folder, "backprop")
    budgets: dict[str, Any] = {"faces": {"steps": 20, "trial_steps": 10, "trials": 2, "settings": ""}}
    write_report(tmp_path, TINY, rows, budgets, "localrules reproduce league")
    page = (tmp_path / PAGE).read_text()
    assert all(row.rule in page for row in rows)
    assert all(row.command.split(" --set")[0] in page for row in rows if row.command)
    with (tmp_path / TABLE).open() as file:
        table = list(csv.DictReader(file))
    assert [line["rule"] for line in table] == [row.rule for row in rows]
    assert float(table[0]["accuracy_mean"]) >= float(table[1]["accuracy_mean"])


def test_the_command_of_a_row_repeats_its_run(folder: Path, tmp_path: Path) -> None:
    row = next(row for row in league(folder, "backprop") if row.rule == "lls")
    said = localrules(*shlex.split(row.command)[1:], "--set", "plots=false", "--out", tmp_path, "--json")
    assert said.code == 0, said.err
    first = next(
        found
        for path in folder.glob("runs/*lls*/summary.json")
        if (found := json.loads(path.read_text()))["seed"] == 0 and found["steps"] == row.steps and "locality" in found
    )
    assert said.document["weights_sha256"] == first["weights_sha256"]


def test_a_class_is_shown_with_the_declared_one_where_that_is_another() -> None:
    row = Row("g", "r", "m", "d", {}, declared="feedback")
    assert row.class_text == "feedback (declared)"
    assert replace(row, locality="feedback").class_text == "feedback"
    assert replace(row, locality="backprop").class_text == "backprop (declared feedback)"


def test_a_pattern_may_name_the_ground(tmp_path: Path) -> None:
    asked = ReproductionRequest(cases=("faces/ll*",), incidental={"threads": 1})
    wanted = LeagueRunner(TINY, asked, tmp_path, REGISTRY).wanted()
    assert {ground.name: rules for ground, rules in wanted} == {"faces": ["lls"]}
    with pytest.raises(UsageError, match="no rule fits"):
        LeagueRunner(TINY, replace(asked, cases=("other/*",)), tmp_path, REGISTRY).wanted()


def test_patterns_add_up(tmp_path: Path) -> None:
    asked = ReproductionRequest(cases=("faces/ll*", "OJA"), incidental={"threads": 1})
    ((_, rules),) = LeagueRunner(TINY, asked, tmp_path, REGISTRY).wanted()
    assert rules == ["lls", "oja"]
    with pytest.raises(UsageError, match="no rule fits 'ojja'\n"):
        LeagueRunner(TINY, replace(asked, cases=("faces/ll*", "ojja")), tmp_path, REGISTRY).wanted()


def test_no_rule_of_that_name_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no rule fits"):
        league(tmp_path, "nothing*")


@pytest.mark.parametrize("given", [{"data": {"name": "noise"}}, {"model": {"name": "lenet"}}])
def test_another_model_or_data_set_is_refused_since_rows_stand_in_one_table(given: Any, tmp_path: Path) -> None:
    asked = ReproductionRequest(defaults=Settings.from_tree(given, "--data or --model"), incidental={"threads": 1})
    with pytest.raises(UsageError, match="changes nothing here"):
        LeagueRunner(TINY, asked, tmp_path, REGISTRY).run()


def test_a_rule_that_is_refused_when_it_is_built_has_a_row_and_stops_nothing(tmp_path: Path) -> None:
    narrow = replace(TINY.grounds[0], settings={**TINY.grounds[0].settings, "model": {"name": "mlp", "hidden": [4]}})
    rows = league(tmp_path, "channel-goodness", "local-ce", spec=replace(TINY, grounds=(narrow,), seeds=1))
    assert {row.rule: bool(row.accuracies) for row in rows} == {"local-ce": True, "channel-goodness": False}
    assert "cannot split" in rows[-1].reason


def test_an_accuracy_of_zero_is_an_accuracy() -> None:
    zero, none = (Row("faces", rule, "mlp", "faces", {}) for rule in ("b", "a"))
    zero = replace(zero, accuracies=(0.0,))
    assert best_first([none, zero]) == [zero, none]


def test_candidates_begin_with_the_rules_own_settings_and_are_always_the_same() -> None:
    space = {"beta": SearchRange(10, 1000, log=True)}
    found = candidates("hsic", "faces", 0.01, space, 4)
    assert found == candidates("hsic", "faces", 0.01, space, 4)
    assert (found[0].lr, found[0].options) == (0.01, {})
    assert all(0.001 <= one.lr <= 0.1 and 10 <= one.options["beta"] <= 1000 for one in found[1:])
    assert candidates("hsic", "other", 0.01, space, 4)[1:] != found[1:]
    assert [one.options for one in candidates("fa", "faces", 0.01, {}, 3)] == [{}, {}, {}]


def test_a_range_of_whole_numbers_has_whole_bounds() -> None:
    with pytest.raises(ValueError, match="needs whole bounds"):
        SearchRange(0.5, 3, integer=True)


def test_search_values_are_checked_and_drawn_within_bounds() -> None:
    from random import Random

    draws = Random(0)
    assert {SearchRange(1, 3, integer=True).sample(draws) for _ in range(50)} == {1, 2, 3}
    assert {SearchChoice(("a", "b")).sample(draws) for _ in range(20)} == {"a", "b"}
    for wrong in (lambda: SearchRange(2, 1), lambda: SearchRange(0, 1, log=True), lambda: SearchChoice((1,))):
        with pytest.raises(ValueError, match="search"):
            wrong()


def test_a_command_quotes_lists_and_leaves_out_where_data_lie() -> None:
    settings = {
        "rule": {"name": "hsic", "beta": 10.0},
        "model": {"name": "mlp", "hidden": [8, 4]},
        "data": {"path": "/x"},
    }
    assert (
        run_command(settings)
        == "localrules run --rule hsic --model mlp --set rule.beta=10.0 --set 'model.hidden=[8, 4]'"
    )
