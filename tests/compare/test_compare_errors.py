"""Wrong input is an error before anything is trained or written."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.comparisons import SHORT, compare, run_folders
from helpers.tiny_runs import FACES, localrules

pytestmark = pytest.mark.slow

DENSE = [*FACES, "--model", "dense_fpn_small", "--batch-size", "32", "--steps", "2"]
NEEDS_A_CHAIN = """
from localrules import Objective, Requirements, RuleEntry, RuleInfo, hookimpl


class Chained(Objective):
    info = RuleInfo(requires=Requirements(sequential=True))

    def forward(self, view):
        return view.output.pow(2).mean()


@hookimpl
def localrules_rules():
    return [RuleEntry(name="chained", target=f"{__name__}:Chained", summary="Needs a chain.", reference="")]
"""


@pytest.mark.parametrize(
    ("rules", "what", "fix"),
    [
        ("local-ce", "at least two rules", "--rules local-ce,backprop"),
        ("", "at least two rules", "--rules hsic,backprop"),
        ("hsic,backprop,hsic", "'hsic' is named twice", "once"),
        ("backprop,hsik", "no rule 'hsik'", "'hsic'"),
        ("backprop,layers.0=hsic,*=local-ce", "commas of its own", "semicolons"),
    ],
)
def test_rules_that_cannot_be_compared(tmp_path: Path, rules: str, what: str, fix: str) -> None:
    said = compare(tmp_path / "out", rules=rules)
    assert said.code == 2
    assert what in said.error["what"]
    assert fix in said.error["fix"]
    assert not (tmp_path / "out").exists()


def test_a_rule_that_does_not_fit_the_model_is_refused_before_the_others_train(tmp_path: Path) -> None:
    plugin = tmp_path / "chained.py"
    plugin.write_text(NEEDS_A_CHAIN)
    said = compare(tmp_path / "out", "--plugin", plugin, rules="backprop,chained", setting=DENSE)
    assert said.code == 2
    assert said.error["what"] == "rule 'chained' cannot train 'dense_fpn_small'"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("word", "what", "fix"),
    [
        ("rule.beta=1", "under its own name", "--set local-ce.OPTION=VALUE"),
        ("local-ce.betta=1", "no option 'rule.betta'", ""),
        ("model.hiden=[1]", "no option 'model.hiden'", "hidden"),
    ],
)
def test_settings_that_do_not_fit(tmp_path: Path, word: str, what: str, fix: str) -> None:
    said = compare(tmp_path / "out", "--set", word)
    assert said.code == 2
    assert what in said.error["what"]
    assert fix in said.error["fix"]
    assert not (tmp_path / "out").exists()


def test_a_folder_with_another_comparison_is_left_alone(copied: Path) -> None:
    before = {path: path.read_bytes() for path in copied.glob("*.*")}
    said = compare(copied, setting=["9" if word == "7" else word for word in SHORT])
    assert said.code == 2
    assert said.error["what"] == "the folder holds another comparison"
    assert "steps: 7 in the run, 9 now" in said.error["why"]
    assert {path: path.read_bytes() for path in copied.glob("*.*")} == before


def test_finished_runs_do_not_take_over_the_folder_of_a_comparison_of_rules(copied: Path) -> None:
    said = localrules("compare", *run_folders(copied), "--out", copied, "--json")
    assert said.code == 2
    assert said.error["what"] == "the folder holds another comparison"


@pytest.mark.parametrize("name", ["index.html", "runs"])
def test_a_folder_with_things_of_others_is_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    said = compare(tmp_path)
    assert said.code == 2
    assert said.error["what"] == "the folder holds something else"
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_run_that_is_not_finished_is_named_with_what_to_do(copied: Path, tmp_path: Path) -> None:
    one, other, *_ = run_folders(copied)
    (other / "summary.json").unlink()
    said = localrules("compare", one, other, "--out", tmp_path / "page", "--json")
    assert said.code == 2
    assert said.error["what"] == "the run is not finished"
    assert f"--resume {other}" in said.error["fix"]


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ([], "no argument says what to compare"),
        (["--rules", "a,b", "RUN"], "both given"),
        (["RUN", "--steps", "3"], "--steps is for runs that are yet to be made"),
        (["RUN", "--track", "tensorboard"], "--track is for runs that are yet to be made"),
        (["RUN", "--set", "lr=1"], "--set is for runs that are yet to be made"),
        (["NOWHERE"], "not a run folder"),
    ],
)
def test_what_is_compared_must_be_clear(done: Path, tmp_path: Path, words: list[str], what: str) -> None:
    words = [str(run_folders(done)[0]) if word == "RUN" else word for word in words]
    said = localrules("compare", *words, "--out", tmp_path / "out", "--json")
    assert said.code == 2
    assert what in said.error["what"]
    assert not (tmp_path / "out").exists()
