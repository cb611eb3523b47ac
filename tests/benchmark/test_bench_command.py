"""``localrules bench``: what all rules share may be set, what is each rule's own may not."""

from __future__ import annotations

import pytest
from helpers.tiny_runs import localrules

pytestmark = pytest.mark.slow

SMALL = ["bench", "--model", "mlp", "--rounds", "1", "--batch-size", "8", "--side", "8", "--threads", "1"]


def test_settings_of_the_network_reach_every_rule_and_the_title() -> None:
    words = ["--rules", "pred", "--set", "model.hidden=[4]", "--set", "optimizer.name=sgd"]
    said = localrules(*SMALL, *words, "--json")
    assert said.code == 0, said.err
    assert said.document["settings"]["overrides"] == ["model.hidden=[4]", "optimizer.name=sgd"]
    wide = localrules(*SMALL, "--rules", "pred", "--set", "model.hidden=[64]", "--json").document
    for few, many in zip(said.document["contenders"], wide["contenders"], strict=True):
        assert few["peak_memory_mib"] < many["peak_memory_mib"]
    assert "mlp, model.hidden=[4], optimizer.name=sgd, 8 x 8" in " ".join(localrules(*SMALL, *words).out.split())


def test_a_rule_that_is_named_twice_is_measured_once() -> None:
    said = localrules(*SMALL, "--rules", "pred,pred", "--json")
    assert [row["name"] for row in said.document["contenders"]].count("pred") == 1


@pytest.mark.parametrize("setting", ["rule.beta=10", "data.path=x.csv"])
def test_what_rules_do_not_share_is_refused(setting: str) -> None:
    said = localrules(*SMALL, "--rules", "hsic", "--set", setting, "--json")
    assert said.code == 2
    assert said.error["where"] == f"--set {setting}"


def test_a_flag_counts_more_than_the_same_setting() -> None:
    words = [*SMALL, "--rules", "pred", "--set", "batch_size=6", "--set", "precision=bf16", "--batch-size", "4"]
    settings = localrules(*words, "--json").document["settings"]
    assert (settings["batch_size"], settings["precision"]) == (4, "bf16")
