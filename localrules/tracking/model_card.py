"""The model card of a run: what was trained, how well it does, and how to use it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from localrules.callbacks.base import RunInfo
from localrules.utils.formatting import percent


def model_card(run: RunInfo, facts: Mapping[str, Any], place: str) -> str:
    """The card in Markdown.

    Args:
        run: The run.
        facts: Its summary, or what is known of it yet.
        place: What ``localrules eval`` takes to find the weights.
    """
    accuracy, train = facts.get("valid_accuracy"), facts.get("train_accuracy")
    known = {
        "rule": run.rule,
        "class of locality": run.locality,
        "model": run.model,
        "data set": run.data,
        "classes": ", ".join(run.classes),
        "parameters": f"{sum(layer['parameters'] for layer in run.layers):,}",
        "seed": facts.get("seed"),
        "steps": facts.get("steps"),
        "accuracy on valid": None if accuracy is None else percent(accuracy),
        "accuracy on train": None if train is None else percent(train),
        "SHA-256 of the weights": facts.get("weights_sha256"),
    }
    rows = [f"| {name} | {value} |" for name, value in known.items() if value not in (None, "")]
    terms = (
        "Images of the data set may be redistributed."
        if run.redistributable
        else "Images of the data set may not be redistributed; this artifact holds none."
    )
    lines = [
        f"# {run.model} trained by {run.rule}",
        "",
        "Trained with [localrules](https://pypi.org/project/localrules/). `config.toml` has all settings and versions.",
        "",
        "| | |",
        "|---|---|",
        *rows,
        "",
        "```bash",
        f"localrules eval {place}",
        f"localrules predict {place} IMAGE",
        "```",
        "",
        f"{terms} Accuracy is that of the last weights, on the valid split.",
    ]
    return "\n".join(lines) + "\n"
