"""The page of a run shows what its files have, and leads on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from helpers.tiny_runs import FACES, MLP, train


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    words = ["--batch-size", "32", "--threads", "1", "--steps", "8", "--diagnose", "all", "--set", "log_every=2"]
    return train(tmp_path_factory.mktemp("page"), "--rule", "hsic", setting=[*FACES, *MLP, *words])


@pytest.fixture(scope="module")
def page(done: dict[str, Any]) -> str:
    return (Path(done["run_dir"]) / "index.html").read_text(encoding="utf-8")


def test_it_has_the_results_and_every_section(done: dict[str, Any], page: str) -> None:
    sections = re.findall(r"<h2 id=\"([a-z]+)\"", page)
    assert sections == ["curves", "layers", "diagnostics", "evaluation", "images", "settings", "next"]
    assert f"{100 * done['valid_accuracy']:.1f} %" in page
    assert "hsic trains mlp on faces, seed 0" in page


def test_layers_are_named_with_the_absolute_values_of_their_objectives(page: str) -> None:
    for layer in ("layers.0", "layers.1", "readout"):
        assert re.search(rf"</svg>{re.escape(layer)} <span class=\"muted\">-?[\d.]+ to -?[\d.]+</span>", page), layer


def test_diagnostics_have_units_and_begin_before_training(page: str) -> None:
    titles = re.findall(r"<h4>(.*?)</h4>", page)
    assert "Accuracy of a linear probe, of the images" in titles
    assert "Angle to back-propagation, degrees" in titles
    assert "Information plane" in titles
    probe = page[page.index("Accuracy of a linear probe") :]
    assert re.findall(r"<text class=\"middle\"[^>]*>([\d,]+)</text>", probe)[0] == "0"


def test_the_whole_valid_split_is_in_the_confusion_matrix(done: dict[str, Any], page: str) -> None:
    assert f"hsic, valid split: {100 * done['valid_accuracy']:.1f} % of 70 images right" in page


def test_the_next_commands_name_the_folder(done: dict[str, Any], page: str) -> None:
    folder = done["run_dir"]
    assert f"localrules eval {folder} --split valid" in page
    assert f"localrules run --config {folder}/config.toml --rule backprop --out {Path(folder).parent}" in page


def test_a_run_without_plots_has_no_page(tmp_path: Path) -> None:
    assert not (Path(train(tmp_path, "--rule", "hsic")["run_dir"]) / "index.html").exists()
