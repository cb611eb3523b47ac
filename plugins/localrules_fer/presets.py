"""The paper's settings, as printed."""

from __future__ import annotations

from typing import Any

PAPER: dict[str, Any] = {
    "rule": {"preset": "paper"},
    "steps": 10_000,
    "batch_size": 128,
    "phases": "two-phase",
    "optimizer": {"name": "adam", "lr": 0.005},
    "schedule": {"name": "constant"},
}
"""Han et al. 2023, https://doi.org/10.12677/sea.2023.122019, section 4: Adam, learning rate 0.005, batch 128, 10,000
steps; the hidden layers first, attention and classifier on their frozen features afterwards. How the steps are divided
between the two is not printed; the default of ``two-phase`` is ours."""
