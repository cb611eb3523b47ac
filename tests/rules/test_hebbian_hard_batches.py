"""Hebbian rules on two images, in half precision and on black images."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from helpers.tiny_sessions import DATASET, dense, perceptron, state, train

from localrules.data.dataset import Split
from localrules_unsupervised.oja import Oja
from localrules_unsupervised.softhebb import SoftHebb

BLACK = replace(DATASET, splits={"train": Split(torch.zeros(32, 1, 16, 16, dtype=torch.uint8), torch.zeros(32).long())})


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings", [{"batch_size": 2}, {"precision": "bf16"}, {"data": BLACK}], ids=["two images", "bf16", "black"]
)
@pytest.mark.parametrize("network", [dense, perceptron])
@pytest.mark.parametrize("rule", [Oja, SoftHebb])
def test_hard_batches_stay_finite(rule: Any, network: Any, settings: dict[str, Any]) -> None:
    session = network(rule, optimizer={"name": "sgd", "lr": 0.05}, **settings)
    train(session)
    assert all(bool(tensor.isfinite().all()) for tensor in state(session).values())
