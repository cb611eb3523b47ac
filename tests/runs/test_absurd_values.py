"""Values that no run can have end in one message with exit code 2, or 1 where the machine refuses."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest
import torch
from helpers.tiny_runs import FACES, MLP, Said, localrules

from localrules.utils.allocation_limit import AllocationLimit, free_memory, machine_memory
from localrules.utils.memory_errors import size_error

DIGITS = "9" * 5000
HUGE = "1" + "0" * 30


def run(out: Path, *words: str, rule: str = "local-ce", model: list[str] = MLP, data: list[str] = FACES) -> Said:
    settings = ["--steps", "2", "--batch-size", "16", "--set", "plots=false", "--out", str(out)]
    return localrules("run", "--rule", rule, *data, *model, *settings, *words, "--json")


def check(said: Said, out: Path, code: int = 2) -> dict[str, str]:
    assert said.code == code
    assert "did not foresee" not in said.error["what"]
    assert said.error["fix"]
    assert len(said.out) < 1500
    assert not out.exists() or not list(out.iterdir())
    return said.error


REFUSED = {
    "threads, a float": ["--threads", "1e30"],
    "threads, a setting": ["--set", "threads=1e30"],
    "threads, too many": ["--threads", "100000"],
    "threads, no int of C": ["--set", f"threads={HUGE}"],
    "parallel layers": ["--set", "parallel_layers=1000000"],
    "batch size": ["--batch-size", HUGE],
    "evaluation batch": ["--set", f"eval_batch_size={HUGE}"],
    "steps": ["--steps", HUGE],
    "log every": ["--set", f"log_every={HUGE}"],
    "checkpoint every": ["--set", f"checkpoint_every={HUGE}"],
    "granularity": ["--granularity", DIGITS],
    "granularity, digits of another script": ["--granularity", "²"],
    "digits": ["--set", f"rule.grid={DIGITS}"],
    "digits of a float": ["--set", f"optimizer.lr={DIGITS}"],
    "400 digits": ["--set", f"optimizer.lr={DIGITS[:400]}"],
    "nested lists": ["--set", "model.hidden=" + "[" * 3000 + "]" * 3000],
    "no phases": ["--set", "phases=[]"],
    "infinite option": ["--set", "rule.beta=inf"],
    "infinite rate": ["--lr", "inf"],
    "betas": ["--set", "optimizer.betas=[2.0, 3.0]"],
    "shift": ["--set", "augment.shift=100"],
    "large shift": ["--set", f"augment.shift={HUGE}"],
    "units": ["--set", f"model.hidden=[{HUGE}]"],
    "samples": ["--set", f"data.train={HUGE}"],
}


@pytest.mark.slow
@pytest.mark.parametrize("case", REFUSED)
def test_a_value_is_refused(case: str, tmp_path: Path) -> None:
    check(run(tmp_path, *REFUSED[case], rule="hsic"), tmp_path)


COUNTS = {
    "convolutions": ("dense_fpn_small", "hsic", "model.convolutions=9223372036854775808"),
    "blocks": ("resnet18", "hsic", "model.blocks=[1, 1, 1000000]"),
    "depth": ("densenet_bc", "hsic", "model.depth=6000004"),
    "units of a head": ("mlp", "auglocal", "rule.depth=1000000"),
    "free steps": ("mlp", "equilibrium-propagation", "rule.free_steps=2147483648"),
    "iterations": ("mlp", "predictive-coding", "rule.iterations=2147483648"),
    "draws": ("mlp", "noprop", "rule.draws=2147483648"),
}


@pytest.mark.parametrize("case", COUNTS)
def test_a_count_of_modules_or_repetitions_has_an_end(case: str, tmp_path: Path) -> None:
    model, rule, setting = COUNTS[case]
    error = check(run(tmp_path, "--set", setting, rule=rule, model=["--model", model]), tmp_path)
    assert "less than or equal to" in error["why"]


@pytest.mark.parametrize("epochs", ["1e300", "inf", "nan"])
def test_epochs(epochs: str, tmp_path: Path) -> None:
    said = localrules("run", "--rule", "local-ce", *FACES, *MLP, "--epochs", epochs, "--out", tmp_path, "--json")
    check(said, tmp_path)


@pytest.mark.parametrize("kind", ["rule", "model", "data"])
def test_a_name_is_text(kind: str, tmp_path: Path) -> None:
    flags = {"rule": ["--rule", "local-ce"], "model": MLP[:2], "data": FACES[:2]}
    words = [word for name, own in flags.items() if name != kind for word in own]
    said = localrules("run", *words, "--set", f"{kind}.name=0", "--out", tmp_path, "--json")
    error = check(said, tmp_path)
    assert "not 0" in error["what"] or "'0'" in error["what"]


@pytest.mark.parametrize(("projection", "code"), [(2**40, 1), (2**63, 2), (2**64, 2)])
def test_a_projection(projection: int, code: int, tmp_path: Path) -> None:
    error = check(run(tmp_path, "--set", f"rule.projection={projection}", rule="hsic-projected"), tmp_path, code)
    assert ("GiB" in error["why"]) == (code == 1)


def test_units_that_the_machine_cannot_hold(tmp_path: Path) -> None:
    units = machine_memory() // (48 * 48 * 4) + 10**6
    error = check(run(tmp_path, "--set", f"model.hidden=[{units}]"), tmp_path, code=1)
    assert "GiB were asked for" in error["why"]
    assert "MLP" in error["where"]


def test_maps_that_the_machine_cannot_hold(tmp_path: Path) -> None:
    small = ["--model", "dense_fpn_small", "--set", f"model.lateral={2**31}"]
    error = check(run(tmp_path, model=small), tmp_path, code=1)
    assert "GiB were asked for" in error["why"]


def test_more_memory_than_is_free_is_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with AllocationLimit():
        torch.zeros(2**25)
        monkeypatch.setattr("localrules.utils.allocation_limit.free_memory", lambda: 2**26)
        with pytest.raises(MemoryError) as refused:
            torch.zeros(2**25)
    error = size_error(refused.value)
    assert error is not None
    assert error.why == "0.1 GiB were asked for at once, and 0.1 GiB are free"


def test_free_memory_is_a_part_of_the_machines() -> None:
    held = torch.ones(2**26)  # 256 MiB
    assert 0 < free_memory() <= machine_memory() - held.nbytes


def test_more_memory_than_the_machine_has_is_not_asked_for() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(MemoryError, match="GiB"), AllocationLimit():
        torch.zeros(machine_memory() // 4 + 1).uniform_()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before + 2**20
    with AllocationLimit():
        assert torch.zeros(3, 4).shape == (3, 4)
        assert torch.empty(2**50, device="meta").numel() == 2**50
