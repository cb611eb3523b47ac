"""Whatever code of a plugin does wrong ends a run with one error that names it; a tracker's is a warning."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from helpers import faulty_plugin
from helpers.tiny_runs import FACES, MLP, localrules

pytestmark = pytest.mark.slow

FILE = Path(faulty_plugin.__file__)
STEPS = ["--steps", "2", "--batch-size", "16", "--threads", "1", "--set", "plots=false"]


def run(out: Path, *words: str, rule: str = "local-ce", data: list[str] = FACES, model: list[str] = MLP):  # type: ignore[no-untyped-def]
    before = sys.stdout, sys.stderr, torch.get_default_dtype(), torch.get_default_device(), torch.is_grad_enabled()
    said = localrules("run", "--rule", rule, *data, *model, *STEPS, "--out", out, "--plugin", FILE, *words)
    now = sys.stdout, sys.stderr, torch.get_default_dtype(), torch.get_default_device(), torch.is_grad_enabled()
    assert now == before
    return said


def check(error: dict[str, str], code: int) -> None:
    assert code in (1, 2)
    assert "did not foresee" not in error["what"]
    assert error["fix"]
    assert FILE.name in error["where"]
    assert "line" in error["where"]


@pytest.mark.parametrize("rule", [name for name in faulty_plugin.RULES if not name.startswith("closes-")])
def test_a_rule(rule: str, tmp_path: Path) -> None:
    said = run(tmp_path, "--json", rule=rule)
    check(said.error, said.code)
    assert faulty_plugin.RULES[rule].__name__ in said.error["what"] + said.error["where"]


@pytest.mark.parametrize("rule", ["dict-config", "undefined-config"])
def test_a_rule_whose_options_cannot_be_shown(rule: str) -> None:
    said = localrules("rules", "show", rule, "--plugin", FILE, "--json")
    check(said.error, said.code)


@pytest.mark.exhaustive
def test_a_network_that_fails_does_not_keep_rules_from_being_shown() -> None:
    said = localrules("rules", "show", "greedy-infomax", "--plugin", FILE)
    assert said.code == 0
    assert "it cannot be tried" in said.out


@pytest.mark.parametrize("data", faulty_plugin.DATA)
def test_a_data_set(data: str, tmp_path: Path) -> None:
    said = run(tmp_path, "--json", data=["--data", data])
    check(said.error, said.code)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("model", faulty_plugin.MODELS)
def test_a_model(model: str, tmp_path: Path) -> None:
    said = run(tmp_path, "--json", model=["--model", model])
    check(said.error, said.code)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("tracker", faulty_plugin.TRACKERS)
def test_a_tracker_never_ends_a_run(tracker: str, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=r"tracker|exits|SystemExit"):
        said = run(tmp_path, "--json", "--track", tracker)
    assert said.code == 0
    assert said.document["status"] == "done"


def test_a_tracker_never_ends_a_run_where_warnings_are_errors(tmp_path: Path) -> None:
    import warnings

    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*left out.*")
        said = run(tmp_path, "--json", "--track", "fails-on-log")
    assert said.code == 0, said.out
    assert "left out of the rest of this run" in said.err
