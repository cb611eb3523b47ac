"""A rule trained without the framework, in one readable file, ends with the framework's weights."""

from __future__ import annotations

import runpy
from pathlib import Path

import torch
from helpers.digits import digits_session

from localrules.engine.phases import apply_phase
from localrules.engine.step import train_step
from localrules_hsic.hsic import HSIC

# Not Adam, as the example has it: it divides by a gradient's size, and would make steps of rounding errors.
DESCENT = {"name": "sgd", "lr": 0.01, "momentum": 0.0}
EXAMPLE = Path(__file__).parents[2] / "examples" / "hsic_without_localrules.py"


def test_the_framework_learns_what_plain_pytorch_learns() -> None:
    plain_pytorch_step = runpy.run_path(str(EXAMPLE))
    session = digits_session(HSIC, hidden=(16, 16, 16), optimizer=DESCENT, schedule={"name": "constant"})
    theirs, (hidden, readout) = session.network.model, plain_pytorch_step["network"](width=16)
    for ours, layer in zip([*hidden, readout], [*theirs.layers, theirs.readout], strict=True):
        ours.load_state_dict(layer.state_dict())
    parts = [*hidden, readout]
    optimizers = [torch.optim.SGD(part.parameters(), lr=0.01) for part in parts]
    start = hidden[0][0].weight.detach().clone()

    phase = session.phases[0]
    apply_phase(phase, session.network, session.trainable)
    for step in range(5):
        train_step(session, phase, step)
        batch = session.batches.batch(step)
        plain_pytorch_step["step"](hidden, readout, optimizers, batch.images, batch.labels)

    for ours, layer in zip(parts, [*theirs.layers, theirs.readout], strict=True):
        for (name, one), other in zip(ours.state_dict().items(), layer.state_dict().values(), strict=True):
            torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4, msg=name)
    assert (hidden[0][0].weight - start).abs().mean() > 1e-3
