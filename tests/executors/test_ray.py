"""Runs on a Ray cluster of this machine."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pytest

pytest.importorskip("ray")

from localrules import Resources, WorkerLost
from localrules.registry.registry import Registry
from localrules.runs.executor import make_executor

REGISTRY = Registry.load(allow=[])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::FutureWarning:ray", "ignore::ResourceWarning")
def test_a_task_returns_its_result_and_one_that_dies_is_lost(tmp_path: Path) -> None:
    executor = make_executor("ray", 2, tmp_path, REGISTRY)
    assert executor is not None
    try:
        assert executor.execute(partial(divmod, 17, 5), Resources(threads=64)) == (3, 2)
        with pytest.raises(WorkerLost, match="WorkerCrashedError"):
            executor.execute(partial(os._exit, 3), Resources())
    finally:
        executor.close()
    with pytest.raises(WorkerLost, match="closed"):
        executor.execute(partial(divmod, 17, 5), Resources())
