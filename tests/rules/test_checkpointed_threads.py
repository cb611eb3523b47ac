"""Checkpoints are recomputed as the forward pass was, also on a thread of autograd's, as on a GPU."""

from __future__ import annotations

import threading
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from helpers.two_ranks import Regularized
from torch import Tensor, nn

from localrules import Batch, Network
from localrules.engine.ranks import Ranks
from localrules.engine.split_batch import SplitBatch
from localrules_backprop.backprop import Backprop
from localrules_backprop.checkpointed import BackpropCheckpointed


class Context:
    """Leaves gradients where they are."""

    def autocast(self) -> Any:
        return nullcontext()

    def backward(self, loss: Any) -> None:
        loss.backward()

    def step_layer(self, layer: Any) -> None:
        pass


def gradients(rule: Any, network: Network) -> list[Tensor]:
    """The gradients of a step whose batch is a part of another, so that dropout draws for both."""
    network.zero_grad()
    torch.manual_seed(3)
    batch = Batch(torch.rand(6, 1, 8, 8), torch.tensor([0, 1, 2, 0, 1, 2]), 3)
    with SplitBatch(Ranks(1, 2), 6, sync_batchnorm=False):
        rule.step(network, batch, Context())
    return [parameter.grad.clone() for parameter in network.parameters() if parameter.grad is not None]


@pytest.fixture
def network() -> Network:
    torch.manual_seed(0)
    model: nn.Module = Regularized(3)
    return Network.wrap(model, layers=["first", "second", "readout"], readout="readout")


def test_dropout_drops_the_same_when_another_thread_recomputes(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = gradients(Backprop(), network)
    backward, threads = Tensor.backward, []

    def on_another_thread(*args: Any) -> None:
        thread = threading.Thread(target=backward, args=args)
        thread.start()
        thread.join()
        threads.append(thread)

    monkeypatch.setattr(Tensor, "backward", on_another_thread)
    statistics = [buffer.clone() for buffer in network.buffers()]
    found = gradients(BackpropCheckpointed(), network)
    assert len(threads) == 1
    assert len(found) == len(wanted) == len(list(network.parameters()))
    assert all(torch.equal(one, other) for one, other in zip(found, wanted, strict=True))
    assert any(not torch.equal(one, other) for one, other in zip(network.buffers(), statistics, strict=True))
