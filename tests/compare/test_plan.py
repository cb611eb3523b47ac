"""The runs of a comparison."""

from __future__ import annotations

import pytest

from localrules.comparison.plan import plan
from localrules.errors import UsageError
from localrules.registry.registry import Registry

RUN = {
    "model": {"name": "mlp", "hidden": [8, 8, 8]},
    "data": {"name": "faces", "train": 21, "valid": 7, "test": 7},
    "batch_size": 7,
    "steps": 1,
    "granularity": "window:2",
}


def test_the_control_learns_through_the_whole_network_where_others_learn_in_windows() -> None:
    planned = plan(["local-ce", "*0=hsic,*=local-ce", "backprop"], RUN, 1, Registry.load(allow=[]))
    assert [run.config.granularity for run in planned] == ["window:2", "window:2", "layer"]


def test_another_rule_that_cannot_learn_in_windows_is_refused() -> None:
    with pytest.raises(UsageError, match="'dfa' cannot train windows"):
        plan(["local-ce", "dfa"], RUN, 1, Registry.load(allow=[]))
