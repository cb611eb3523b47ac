"""The benchmark compares what it says it compares. Its metrics are not tested: time is measured, never asserted."""

from __future__ import annotations

import time
from typing import Any

import pytest
import torch

from localrules.benchmark import suite
from localrules.benchmark.candidates import Candidate, engine_step, noise_dataset, plain_pytorch_step
from localrules.benchmark.measure import (
    Work,
    _covered,
    device_fraction,
    step_memory,
    step_work,
    time_interleaved,
)
from localrules.benchmark.processes import WAYS, bench_processes
from localrules.cli.bench import _processes
from localrules.config.schema import OptimizerConfig, ScheduleConfig
from localrules.engine.resolve import resolve_run
from localrules.engine.resolved_run import ResolvedRun
from localrules.registry.registry import Registry

pytestmark = pytest.mark.slow

TINY = {
    "model": {"name": "dense_fpn_small", "blocks": 2, "convolutions": 2, "growth": 4, "stem": 8, "lateral": 8},
    "batch_size": 16,
    "threads": 1,
}


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry.load()


def config(registry: Registry, rule: str = "backprop") -> ResolvedRun:
    return resolve_run({"rule": {"name": rule}, "data": {"name": "faces"}, "steps": 10_000, **TINY}, registry)


def weights_of(candidate: Candidate) -> list[torch.Tensor]:
    """The state of the model that a candidate trains."""
    held = [cell.cell_contents for cell in candidate.step.__closure__ or ()]
    models = [each.network.model if hasattr(each, "network") else each for each in held]
    return list(next(model for model in models if isinstance(model, torch.nn.Module)).state_dict().values())


def test_the_loop_written_by_hand_does_what_backprop_under_the_engine_does(registry: Registry) -> None:
    data = noise_dataset((1, 48, 48), 7, 64)
    constant = config(registry).with_settings(schedule=ScheduleConfig(name="constant"))
    engine, hand = engine_step("backprop", constant, data), plain_pytorch_step(constant, data)
    for step in range(3):
        engine.step(step)
        hand.step(step)
    for ours, theirs in zip(*(weights_of(candidate) for candidate in (engine, hand)), strict=True):
        assert torch.equal(ours, theirs)


def test_the_work_of_a_step_is_counted() -> None:
    left, right = torch.ones(4, 8), torch.ones(8, 2)
    work = step_work(Candidate("product", lambda step: (left @ right).T, torch.device("cpu")))
    assert work == Work(macs=4 * 8 * 2, bytes=4 * (4 * 8 + 8 * 2 + 4 * 2))


def test_the_device_computes_while_operations_run() -> None:
    large, cpu = torch.ones(400, 400), torch.device("cpu")
    assert device_fraction(Candidate("product", lambda step: large @ large, cpu)) > 0.2
    assert device_fraction(Candidate("nothing", lambda step: time.sleep(0.02), cpu)) == 0
    assert _covered([(5, 8), (0, 3), (1, 2), (6, 9)]) == 7


def test_processes_are_timed_beside_one_or_refused_with_the_reason(registry: Registry) -> None:
    data = {"name": "faces", "train": 32, "valid": 7, "test": 7}
    small = {"model": {"name": "mlp", "hidden": [12, 8]}, "data": data, "batch_size": 16, "threads": 2}
    rows = bench_processes(["backprop", "local-ce"], small, registry, count=2, rounds=1)
    (control, local) = rows
    assert [row["name"] for row in rows] == ["backprop", "local-ce"]
    assert control["layers"] is control["stage_seconds"] is None
    assert control["refused"]["layers"].startswith("its class of locality is backprop")
    assert local["refused"] == {}
    assert min(control["alone"], control["one"], control["data"], *(local[way] for way in WAYS)) > 0
    assert control["threads"] == {"alone": 1, "one": 2, "data": 1}
    assert local["samples_per_second"]["layers"] == 16 / local["layers"]
    assert min(local["peak_memory_mib"].values()) > 0
    assert len(local["stage_seconds"]) == 2
    assert 0 <= local["bubble_fraction"] < 1
    table = _processes(rows)
    assert table.row_count == 3 + 4
    ratio = next(reversed(list(table.columns[7].cells)))  # layers, to backprop that divides batches
    assert ratio == f"{control['data'] / local['layers']:.2f}"


def test_candidates_take_turns_and_none_always_follows_the_same_other() -> None:
    calls: list[str] = []
    both = [Candidate(name, lambda step, name=name: calls.append(name), torch.device("cpu")) for name in "ab"]
    seconds = time_interleaved(both, rounds=3)
    assert {name: len(times) for name, times in seconds.items()} == {"a": 3, "b": 3}
    assert calls[:4] == ["a", "b", "b", "a"]


def test_a_local_step_needs_less_memory_than_backprop_and_no_more_for_a_deeper_network(registry: Registry) -> None:
    data = noise_dataset((1, 48, 48), 7, 64)
    memory = {rule: step_memory(engine_step(rule, config(registry, rule), data)) for rule in ("backprop", "hsic")}
    assert memory["hsic"] < 0.6 * memory["backprop"]
    rows = {row["name"]: row["growth"] for row in suite.depth(["hsic"], TINY, registry)}
    assert rows["hsic"] < 1.15 < rows["backprop"]


def test_a_bench_names_its_settings_and_weighs_every_candidate(registry: Registry) -> None:
    found = suite.bench(["hsic", "backprop-checkpointed@block"], TINY, registry, rounds=2)
    names = [row["name"] for row in found["contenders"]]
    assert names == ["by hand", "backprop", "hsic", "backprop-checkpointed@block"]
    assert found["settings"] == {
        "model": "dense_fpn_small",
        "batch_size": 16,
        "precision": "fp32",
        "threads": 1,
        "rounds": 2,
        "side": 48,
        "parallel_layers": 1,
    }
    for row in found["contenders"]:
        assert row["step_seconds"] > 0
        assert row["peak_memory_mib"] > 0
    assert found["contenders"][1]["ratio"]["median"] == 1.0
    assert 0 < found["input_share"] < 1


def test_layers_that_can_learn_at_once_share_the_threads_out_and_the_others_have_them_all(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: dict[str, tuple[int, int]] = {}
    real = suite.engine_step

    def watched(name: str, run: ResolvedRun, *rest: Any) -> Candidate:
        built.setdefault(name, (run.config.parallel_layers, run.config.threads))  # the timed ones come first
        return real(name, run, *rest)

    monkeypatch.setattr(suite, "engine_step", watched)
    found = suite.bench(["hsic", "fa"], TINY | {"threads": 4}, registry, rounds=1, parallel_layers=2)
    assert built == {"backprop": (1, 4), "hsic": (2, 2), "fa": (1, 4)}
    assert [row["name"] for row in found["contenders"]] == ["by hand", *built]
    alone = suite.bench(["hsic"], TINY, registry, rounds=1)
    for key in ("macs_ratio", "bytes_ratio"):
        assert found["contenders"][2][key] == pytest.approx(alone["contenders"][2][key], rel=0.01)


def test_a_granularity_in_a_name_counts_more_than_that_of_all(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: dict[str, object] = {}
    real = suite.engine_step

    def watched(name: str, run: ResolvedRun, *rest: Any) -> Candidate:
        built[name] = run.config.granularity
        return real(name, run, *rest)

    monkeypatch.setattr(suite, "engine_step", watched)
    suite.bench(["hsic@block", "hsic"], TINY | {"granularity": "layer"}, registry, rounds=1)
    assert built == {"backprop": "layer", "hsic@block": "block", "hsic": "layer"}


@pytest.mark.parametrize("name", ["sgd", "adamw", "muon"])
def test_the_loop_written_by_hand_has_the_optimizer_of_the_engine(registry: Registry, name: str) -> None:
    data = noise_dataset((1, 48, 48), 7, 64)
    run = config(registry).with_settings(
        schedule=ScheduleConfig(name="constant"), optimizer=OptimizerConfig(name=name, lr=0.01, weight_decay=0.1)
    )
    engine, hand = engine_step("backprop", run, data), plain_pytorch_step(run, data)
    for step in range(2):
        engine.step(step)
        hand.step(step)
    for ours, theirs in zip(*(weights_of(candidate) for candidate in (engine, hand)), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-6)
