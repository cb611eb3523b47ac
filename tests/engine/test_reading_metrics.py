"""The metrics of a row are read from the device together, however many layers there are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from helpers.tiny_sessions import RULES, perceptron
from torch.utils._python_dispatch import TorchDispatchMode

from localrules.callbacks.base import RunInfo
from localrules.callbacks.callback_list import CallbackList
from localrules.engine.divergence import check_finite
from localrules.engine.phases import apply_phase
from localrules.engine.step import train_step
from localrules.engine.trainer import Trainer


class Operations(TorchDispatchMode):
    """Counts the operations of torch by name."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: dict[str, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        self.counts[name] = self.counts.get(name, 0) + 1
        return func(*args, **(kwargs or {}))


def test_no_value_of_a_logged_step_is_read_by_itself(tmp_path: Path) -> None:
    session = perceptron(RULES["local-ce"])
    info = RunInfo(tmp_path, "local-ce", "mlp", "toy", {}, [], (), True, 3, 3, 0, (), tuple(session.phases))
    trainer = Trainer(session, CallbackList([]), tmp_path, info.state)
    apply_phase(session.phases[0], session.network, session.trainable)
    taken = train_step(session, session.phases[0], 0)
    with Operations() as operations:
        assert check_finite(session, taken.report, 1) is None
        row = trainer._metrics_row(session.phases[0], taken)
    # float(tensor) and bool(tensor) are this operation: one wait for the device each.
    assert operations.counts.get("_local_scalar_dense", 0) == 0
    assert operations.counts["stack"] >= 2
    layers = [layer.name for layer in session.network.layers]
    assert [name for name in row if name.startswith("objective/")] == [f"objective/{layer}" for layer in layers]
    assert row["objective/readout"] == float(taken.report.objectives["readout"])
    assert row["loss"] == float(taken.report.loss)  # type: ignore[arg-type]
