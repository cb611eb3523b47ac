"""No rule looks at a value on the device during a step: on a GPU it would wait for all that is queued before it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from helpers.two_ranks import Case, registry, session
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from localrules.engine.phases import apply_phase
from localrules.engine.step import train_step
from localrules.kernels import normalization
from localrules.kernels.normalization import ridge_normalize

OPERATIONS = {"_local_scalar_dense", "equal", "nonzero", "masked_select", "unique_dim", "_unique2", "is_nonzero"}
METHODS = (Tensor.tolist, Tensor.numpy, Tensor.cpu)
RULES = [item.entry.name for item in registry().entries("rule")]


class Operations(TorchDispatchMode):
    """Collects operations whose result the host has to wait for."""

    def __init__(self, found: list[str]) -> None:
        super().__init__()
        self._found = found

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.name().partition("::")[2].partition(".")[0]
        masks = [index for index in (args[1] if name.startswith("index") and len(args) > 1 else []) if _is_mask(index)]
        if name in OPERATIONS or (masks and name != "index_put_"):
            self._found.append(name)
        return func(*args, **(kwargs or {}))


class Methods(TorchFunctionMode):
    """Collects calls that copy values to the host without an operation."""

    def __init__(self, found: list[str]) -> None:
        super().__init__()
        self._found = found

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in METHODS:
            self._found.append(func.__name__)
        before = len(self._found)
        result = func(*args, **(kwargs or {}))
        if func is functional.one_hot and (len(args) > 1 or kwargs):
            del self._found[before:]  # it checks the labels on a CPU alone, if it is given the number of classes
        return result


def _is_mask(index: Any) -> bool:
    return isinstance(index, Tensor) and index.dtype in (torch.bool, torch.uint8)


@contextmanager
def host_reads() -> Iterator[list[str]]:
    found: list[str] = []
    with Methods(found), Operations(found):
        yield found


@pytest.mark.slow
@pytest.mark.parametrize("rule", RULES)
def test_a_step_reads_nothing(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(normalization, "is_read_freely", lambda values: False)  # as on a GPU
    tiny = session(Case(rule), devices=1)
    phase = tiny.phases[0]
    apply_phase(phase, tiny.network, tiny.trainable)
    train_step(tiny, phase, 0)  # the first step checks what the rule does
    batch = tiny.batches.batch(1)  # draws are made on the host
    monkeypatch.setattr(tiny.batches, "batch", lambda step: batch)
    with host_reads() as found:
        taken = train_step(tiny, phase, 1)
        assert taken.accuracy is None or taken.accuracy.dim() == 0
    assert found == []


@pytest.mark.parametrize(
    "read",
    [
        lambda values: values.sum().item(),
        lambda values: bool(values.sum() > 0),
        lambda values: values.tolist(),
        lambda values: values[values > 0],
        lambda values: values.cpu(),
    ],
)
def test_a_read_is_seen(read: Any) -> None:
    with host_reads() as found:
        read(torch.ones(3))
    assert found


def test_the_inverse_on_a_gpu_is_that_on_a_cpu_and_survives_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    features = torch.randn(12, 40)
    positive = features @ features.T
    wanted = ridge_normalize(positive)
    monkeypatch.setattr(normalization, "is_read_freely", lambda values: False)
    assert torch.equal(ridge_normalize(positive), wanted)
    shifted = normalization.center(positive)
    shifted.diagonal().sub_(1e-7 * shifted.diagonal().max())  # of rank 11: an eigenvalue is below 0 now
    assert normalization._regularized_inverse(shifted, 1e-9).isfinite().all()
    assert normalization._regularized_inverse(torch.full((3, 3), torch.nan), 1e-3).isnan().all()
