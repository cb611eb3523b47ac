"""Our own cases of published values: well formed, and they run."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from helpers.tiny_runs import localrules

from localrules.engine.resolve import resolve_run
from localrules.engine.schedules import learning_rate
from localrules.registry.registry import Registry
from localrules.reproduce.registry import select_experiments
from localrules.reproduce.spec import Budget, Case

REGISTRY = Registry.load(allow=[])
EXPERIMENTS = select_experiments("published", REGISTRY)
CASES = [(name, case) for name, experiment in EXPERIMENTS.items() for case in experiment.cases]


@pytest.mark.parametrize(("name", "case"), CASES, ids=lambda part: part.name if isinstance(part, Case) else part)
def test_a_case_is_a_whole_run_with_its_source_and_a_metric_or_why_there_is_none(name: str, case: Case) -> None:
    resolve_run({**case.settings, "threads": 1}, REGISTRY)
    assert Budget.of(case.name, case.settings, 1.0).is_full
    if case.published is None:
        assert any("No published number" in note for note in EXPERIMENTS[name].notes)
    else:
        assert 0 < case.published <= 100
    assert "http" in case.source
    assert case.seeds


@pytest.mark.parametrize("name", sorted({name for name, _ in CASES}))
def test_cases_of_an_experiment_have_names_of_their_own(name: str) -> None:
    names = [case.name for experiment, case in CASES if experiment == name]
    assert len(names) == len(set(names))


def test_phsic_under_two_learning_rates_is_the_papers() -> None:
    (case,) = [case for name, case in CASES if (name, case.name) == ("published-phsic", "MNIST, Gaussian, divisive")]
    config = resolve_run({**case.settings, "threads": 1}, REGISTRY).config
    options = config.rule.to_table()
    assert config.optimizer.lr == 1e-3
    assert options["weight"] * config.optimizer.lr == pytest.approx(1.0)
    assert (options["kernel"], options["width"], options["groups"], options["divisive"]) == ("gaussian", 5.0, 32, 0.2)
    rates = [learning_rate(config.schedule, config.optimizer.lr, epoch, 100) for epoch in (0, 49, 50, 74, 75, 89, 90)]
    assert rates == pytest.approx([1e-3, 1e-3, 2.5e-4, 2.5e-4, 6.25e-5, 6.25e-5, 1.5625e-5])  # the authors' milestones
    assert config.normalize is not None
    assert (config.normalize.mean, config.normalize.std) == ((0.5,), (0.5,))


@pytest.mark.slow
def test_cases_find_their_files_in_one_folder(tmp_path: Path) -> None:
    draws = np.random.default_rng(0)
    for name in ("mnist", "fashion_mnist"):
        np.savez(
            tmp_path / f"{name}.npz",
            x_train=draws.integers(0, 256, (256, 28, 28), dtype=np.uint8),
            y_train=draws.integers(0, 10, 256, dtype=np.uint8),
            x_test=draws.integers(0, 256, (20, 28, 28), dtype=np.uint8),
            y_test=draws.integers(0, 10, 20, dtype=np.uint8),
        )
    for prefix, count in (("train", 256), ("t10k", 20)):  # KMNIST has none of its own in one file
        for kind, shape, high in (("images-idx3", (count, 28, 28), 256), ("labels-idx1", (count,), 10)):
            header = bytes((0, 0, 8, len(shape))) + struct.pack(f">{len(shape)}I", *shape)
            place = tmp_path / "KMNIST" / "raw" / f"{prefix}-{kind}-ubyte"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(header + draws.integers(0, high, shape, dtype=np.uint8).tobytes())
    words = [
        "--cases",
        "*, cosine, divisive",
        "--cases",
        "*, readout alone, divisive",
        "--scale",
        "0.01",
        "--seeds",
        "1",
        "--threads",
        "1",
        "--set",
        "plots=false",
        "--json",
    ]
    said = localrules("reproduce", "published-phsic", *words, "--data-path", tmp_path, "--out", tmp_path / "out")
    assert said.code == 0, said.out
    names = ("mnist", "fashion_mnist", "kmnist")
    assert [run["summary"]["data"] for run in said.document] == [name for name in names for _ in range(2)]
    for run in said.document:  # in percent, of 20 images
        assert 0 < run["value"] <= 100
        assert run["value"] / 5 == pytest.approx(round(run["value"] / 5))
