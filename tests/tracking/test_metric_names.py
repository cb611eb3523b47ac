"""Names of metrics in all trackers."""

from __future__ import annotations

from localrules.tracking.metric_names import named, scalars


def test_every_column_has_a_name_with_its_section() -> None:
    columns = (
        "step",
        "epoch",
        "phase",
        "objective/a.b",
        "loss/head/a.b",
        "loss",
        "lr",
        "valid_loss",
        "memory_mib",
        "unforeseen",
    )
    assert list(named(dict.fromkeys(columns, 1))) == [
        "step",
        "epoch",
        "phase",
        "layer/a.b/objective",
        "layer/a.b/loss/head",
        "train/loss",
        "train/lr",
        "valid/loss",
        "cost/memory_mib",
        "train/unforeseen",
    ]
    assert named({"step": 1, "loss": None}) == {"step": 1}


def test_scalars_are_the_numbers_without_the_step() -> None:
    assert scalars({"step": 3, "phase": "joint", "loss": 0.5, "lr": None}) == {"train/loss": 0.5}
