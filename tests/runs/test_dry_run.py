"""A dry run builds everything, says what it would be, and writes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.tiny_runs import DENSE, FACES, SHORT, STEPS, localrules

KEYS = ["name", "inputs", "in_shape", "out_shape", "parameters", "macs", "rule"]


@pytest.mark.parametrize("how", [[], ["--json"]])
def test_nothing_is_written(how: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said = localrules("run", "--rule", "hsic", *FACES, *DENSE, *SHORT, "--dry-run", "--track", "tensorboard", *how)
    assert said.code == 0
    assert list(tmp_path.iterdir()) == []
    if not how:
        assert "Nothing was written." in said.out


def test_the_layers_are_a_list_of_objects_with_these_keys() -> None:
    document = localrules("run", "--rule", "hsic", *FACES, *DENSE, *SHORT, "--dry-run", "--json").document
    layers = document["layers"]
    assert [list(layer) for layer in layers] == [KEYS] * len(layers)
    by_name = {layer["name"]: layer for layer in layers}
    assert by_name["stem"]["inputs"] == []
    assert by_name["stem"]["in_shape"] == [1, 48, 48]
    assert by_name["blocks.0.convs.0"]["inputs"] == ["stem"]
    assert by_name["laterals.0"]["inputs"] == ["stem", "blocks.0.convs.0"]
    assert [layer["rule"] for layer in layers] == ["hsic"] * (len(layers) - 1) + ["cross-entropy"]
    assert sum(layer["parameters"] for layer in layers) == document["parameters"]
    assert document["steps"] == STEPS
    assert document["step_seconds"] > 0
    assert document["peak_memory_mib"] > 0


def test_a_global_rule_owns_every_layer() -> None:
    document = localrules("run", "--rule", "backprop", *FACES, *DENSE, *SHORT, "--dry-run", "--json").document
    assert {layer["rule"] for layer in document["layers"]} == {"backprop"}


@pytest.mark.slow
def test_the_papers_network_has_about_seven_million_parameters_and_its_preset_ten_thousand_steps() -> None:
    words = ["run", "--preset", "paper", "--rule", "hsic", "--threads", "1", *FACES]
    document = localrules(*words, "--batch-size", "4", "--dry-run", "--json").document
    assert document["model"] == "dense_fpn"
    assert document["steps"] == 10_000
    assert 6.5e6 < document["parameters"] < 7.5e6
    assert 0.5e9 < sum(layer["macs"] for layer in document["layers"]) < 0.7e9
