"""Metrics, exporters and experiments of plugins fail as rules do: one error that names the code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers.fake_distributions import Site
from helpers.tiny_runs import FACES, MLP, SHORT, localrules, train

from localrules.errors import PluginCodeError
from localrules.evaluation.metric import Metric, compute_metric
from localrules.registry.registry import Registry

PLUGIN = """
import os
import torch
from localrules import ExperimentEntry, ExporterEntry, hookimpl
def entry(cls, name):
    return cls(name=name, target=f"{__name__}:{name}", summary="Fails.")
@hookimpl
def localrules_exporters():
    return [entry(ExporterEntry, name) for name in ("fails", "exits", "returns", "changes")]
@hookimpl
def localrules_experiments():
    return [ExperimentEntry(name=name, target=f"{__name__}:{name}", summary="Fails.", suite="mine")
            for name in ("exits", "returns", "changes")]
def fails(data=None, out=None): raise ValueError("bad value")
def exits(data=None, out=None): raise SystemExit(0)
def returns(data=None, out=None): return "text"
def changes(data=None, out=None): torch.set_default_dtype(torch.float64)
"""
WHY = {
    "fails": "ValueError: bad value",
    "exits": "SystemExit: 0",
    "returns": "it must return",
    "changes": "set torch's default dtype to torch.float64, which was put back",
}


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plugin") / "functions.py"
    path.write_text(PLUGIN)
    return path


@pytest.mark.parametrize("name", WHY)
def test_an_exporter(name: str, plugin: Path, tmp_path: Path) -> None:
    said = localrules(
        *("data", "export", "faces", "--format", name, "--out", tmp_path / "f", "--plugin", plugin, "--json"),
        *("--set", "data.train=14", "--set", "data.valid=7", "--set", "data.test=7"),
    )
    assert said.code == 1
    assert WHY[name] in said.error["why"]
    assert str(plugin) in said.error["where"]


@pytest.mark.parametrize("name", ["exits", "returns", "changes"])
def test_an_experiment(name: str, plugin: Path, tmp_path: Path) -> None:
    said = localrules("reproduce", name, "--plugin", plugin, "--out", tmp_path, "--json")
    assert said.code == 1
    assert WHY[name] in said.error["why"]
    assert str(plugin) in said.error["where"]


class Broken(Metric):
    def __init__(self, path: Path, data: Any, split: str) -> None:
        self.answer = data

    def compute(self, scores: Any) -> dict[str, Any]:
        return self.answer() if callable(self.answer) else self.answer  # type: ignore[no-any-return]


@pytest.mark.parametrize(("answer", "why"), [(3, "it must return a dict"), (lambda: 1 / 0, "ZeroDivisionError")])
def test_a_metric(answer: Any, why: str) -> None:
    with pytest.raises(PluginCodeError) as failed:
        compute_metric(Broken(Path(), answer, "valid"), None)  # type: ignore[arg-type]
    assert why in failed.value.why
    assert __file__ in failed.value.where


@pytest.mark.slow
def test_ten_thousand_names_are_listed_in_seconds(tmp_path: Path) -> None:
    import time

    path = tmp_path / "many.py"
    path.write_text(
        "from localrules import Objective\n"
        "class Mine(Objective):\n    'A rule.'\n    def forward(self, view): return view.output.mean()\n"
        "RULES = {f'mine-{number}': Mine for number in range(10_000)}\n"
    )
    began = time.perf_counter()
    registry = Registry.load(files=[path])
    for _ in range(10):
        assert registry.find("rule", "mine-77").status == "ok"
    assert time.perf_counter() - began < 10, "it took 17 s when it was quadratic"


METRICS = """
from localrules import MetricEntry, hookimpl
from localrules.evaluation.metric import Metric
class FirstLine(Metric):
    def __init__(self, path, data, split):
        self.line = path.read_text().splitlines()[0]
    def compute(self, scores):
        return {"line": self.line}
@hookimpl
def localrules_metrics():
    return [MetricEntry(name=name, target=f"{__name__}:FirstLine", summary="A line.", help="[A] file.")
            for name in ("first", "second")]
"""


@pytest.mark.slow
def test_each_metric_of_a_plugin_has_a_flag_and_a_file_of_its_own(site: Site, tmp_path: Path) -> None:
    site.install("localrules-lines", METRICS)
    run = train(tmp_path / "runs", "--rule", "backprop", setting=[*FACES, *MLP, *SHORT])["run_dir"]
    for name in ("first", "second"):
        (tmp_path / name).write_text(f"of {name}\n")
    words = ["--first", str(tmp_path / "first"), "--second", str(tmp_path / "second")]
    found = site.run("eval", run, *words, "--json").json
    assert (found["first"], found["second"]) == ({"line": "of first"}, {"line": "of second"})
    assert site.run("eval", run, "--second", str(tmp_path / "second"), "--json").json["first"] is None
    assert "[A] file." in site.run("eval", "--help").out
