"""The published results on CIFAR-10: well formed, built in full, and trained for 20 steps at a small width."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers.cifar_files import cifar10, pickled
from helpers.exhaustive import REPRESENTATIVES, few
from helpers.tiny_sessions import train

from localrules.config.overrides import Tree
from localrules.config.settings import Settings
from localrules.data.dataset import Dataset
from localrules.engine.resolve import resolve_run
from localrules.engine.session import Session
from localrules.registry.registry import Registry
from localrules.reproduce.plan import plan_cases
from localrules.reproduce.registry import select_experiments
from localrules.reproduce.request import ReproductionRequest
from localrules.reproduce.result import CaseResult
from localrules.reproduce.spec import Budget, Case

REGISTRY = Registry.load(allow=[])
NAME = "published-cifar10"
EXPERIMENT = select_experiments(NAME, REGISTRY)[NAME]
CASES = EXPERIMENT.cases
SMALL: dict[str, Tree] = {
    "vgg8b": {"width": 0.03125},
    "resnet32": {"blocks": [1, 1], "width": 4},
    "resnet110": {"blocks": [1, 1], "width": 4},
    "resnet18": {"blocks": [1, 1], "width": 10},
}
PARTS = {"vgg8b": 7, "resnet32": 16, "resnet110": 55, "resnet18": 17}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CIFAR-10's files, with 20 images of noise to train on and four to test."""
    place = tmp_path_factory.mktemp("cifar") / "cifar10"
    place.mkdir()
    for name, content in pickled(cifar10()).items():
        (place / name).write_bytes(content)
    return place


@pytest.fixture(scope="module")
def data(folder: Path) -> Dataset:
    """They, read."""
    source = REGISTRY.resolve("data", "cifar10")
    return source(source.Config(path=folder, holdout=0)).load()


def built(settings: Tree, data: Dataset) -> Session:
    return Session.build(resolve_run({**settings, "threads": 1, "device": "cpu"}, REGISTRY), data)


def rule_of(case: Case) -> str:
    name: str = case.settings["rule"]["name"]
    return name


RULES = [rule_of(case) for case in CASES]
RUN = {CASES[RULES.index(rule)].name for rule in RULES if rule in REPRESENTATIVES}
"""The first case of each rule that stands for others."""


def named(case: Case) -> str:
    return case.name


@pytest.mark.parametrize("case", CASES, ids=named)
def test_a_case_has_a_source_a_percentage_and_what_differs(case: Case) -> None:
    assert Budget.of(case.name, case.settings, 1.0).is_full
    assert "https://" in case.source
    assert case.deviations
    if case.published is None:
        assert any("No published number" in note for note in EXPERIMENT.notes)
    else:
        assert 50 < case.published < 100  # none is an error or a fraction


@pytest.mark.slow
@pytest.mark.parametrize("case", few(CASES, RUN, named))
def test_a_case_is_built_in_full_and_a_small_one_learns_in_20_steps(case: Case, data: Dataset) -> None:
    model = case.settings["model"]
    dense = model.get("hidden") != []
    assert len(built({**case.settings, "batch_size": 4}, data).network.hidden) == PARTS[model["name"]] - (not dense)
    small = {**model, **SMALL[model["name"]], **({"hidden": [64]} if model["name"] == "vgg8b" and dense else {})}
    settings = {key: value for key, value in case.settings.items() if key != "epochs"}
    rate = {**settings["optimizer"], "lr": 1e-3}
    session = built({**settings, "model": small, "optimizer": rate, "batch_size": 4, "steps": 20}, data)
    before = [[weight.clone() for weight in layer.parameters()] for layer in session.network.hidden]
    train(session)
    for layer, old in zip(session.network.hidden, before, strict=True):
        assert all(bool(weight.isfinite().all()) for weight in layer.parameters())
        assert not all(map(torch.equal, old, layer.parameters())), layer.name


def verdict(case: Case, on: dict[str, str]) -> str:
    assert case.published is not None
    return CaseResult(NAME, case, Budget.of(case.name, case.settings, 1.0), (), (case.published,), on).verdict


def test_only_the_original_files_are_compared(folder: Path) -> None:
    small = Settings.from_tree({"batch_size": 4})
    alone = {"threads": 1}
    asked = ReproductionRequest(data_path=folder.parent, cases=("vgg8b, sim",), overrides=small, incidental=alone)
    (task,) = plan_cases({NAME: EXPERIMENT}, asked, REGISTRY)
    assert verdict(task.case, task.on) == "other data: not comparable"
    assert verdict(task.case, {**task.on, "data": "cifar10"}) == "matches"


def test_a_value_of_a_network_that_we_do_not_have_is_not_compared() -> None:
    other = [case for case in CASES if case.published_on]
    assert [case.settings["rule"]["name"] for case in other] == ["softhebb", "channel-goodness", "clapp"]
    for case in other:
        assert verdict(case, {"data": "cifar10", "model": case.settings["model"]["name"]}).startswith("other model")
