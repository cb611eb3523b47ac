"""The model card of a trained network: what was trained, how well it does, and how to use it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from localrules.callbacks.base import RunInfo
from localrules.utils.formatting import percent


@dataclass(frozen=True)
class ModelDescription:
    """The facts of a run that a model card needs beside its summary.

    Attributes:
        rule: The rule's name.
        model: The model's name.
        data: The data set's name.
        classes: Label names.
        parameters: Of the network.
        locality: The rule's declared class of locality.
        redistributable: Whether images of the data may leave the machine.
    """

    rule: str
    model: str
    data: str
    classes: Sequence[str]
    parameters: int
    locality: str
    redistributable: bool

    @classmethod
    def of_run(cls, run: RunInfo) -> ModelDescription:
        """Of a run that is being trained."""
        parameters = sum(layer["parameters"] for layer in run.layers)
        return cls(run.rule, run.model, run.data, run.classes, parameters, run.locality, run.redistributable)


def model_card(
    about: ModelDescription,
    facts: Mapping[str, Any],
    place: str,
    *,
    license: str = "",
    download: str = "",
    notes: str = "",
) -> str:
    """The card in Markdown, with the header that the Hugging Face Hub reads.

    Args:
        about: The run.
        facts: Its summary, or what is known of it yet; ``done`` is ``False`` of a run that should learn on.
        place: What ``localrules eval`` takes to find the weights.
        license: The licence of the weights, an identifier such as ``apache-2.0``; empty: none is given.
        download: The command that fetches the folder at ``place``; empty: it is there.
        notes: More Markdown, such as the limits of its use.
    """
    rows = [f"| {name} | {value} |" for name, value in _known(about, facts).items() if value not in (None, "")]
    images = (
        "Images of the data set may be redistributed."
        if about.redistributable
        else "Images of the data set may not be redistributed; none are included. "
        "Its terms may restrict what the weights may be used for."
    )
    terms = f"Licence of the weights: {license}." if license else "No licence is given for the weights."
    lines = [
        *_header(about, facts, license),
        f"# {about.model} trained by {about.rule}",
        "",
        "Trained with [localrules](https://pypi.org/project/localrules/). `config.toml` has all settings and versions.",
        "",
        *([_unfinished(facts), ""] if facts.get("done") is False else []),
        "| | |",
        "|---|---|",
        *rows,
        "",
        *([_conditions(facts), ""] if facts.get("valid_accuracy") is not None else []),
        "## Use",
        "",
        "```bash",
        *([download] if download else []),
        f"localrules eval {place}",
        f"localrules predict {place} IMAGE",
        "```",
        "",
        *([notes.strip(), ""] if notes.strip() else []),
        "## Terms",
        "",
        f"{images} {terms}",
    ]
    return "\n".join(lines) + "\n"


def _unfinished(facts: Mapping[str, Any]) -> str:
    steps = facts.get("steps")
    return f"**The run is not done.** These are its weights {'so far' if steps is None else f'after step {steps}'}."


def _conditions(facts: Mapping[str, Any]) -> str:
    """The weights and the images that the accuracies are of."""
    weights = "moving average of the weights" if facts.get("ema_decay") else "last weights"
    images = "averaged over each image and its flip" if facts.get("tta_flip") else "without augmentation"
    return f"Accuracies are those of the {weights}, in eval mode, {images}."


def _known(about: ModelDescription, facts: Mapping[str, Any]) -> dict[str, Any]:
    accuracies = {f"accuracy on {split}": facts.get(f"{split}_accuracy") for split in ("valid", "train")}
    return {
        "rule": about.rule,
        "class of locality": about.locality,
        "model": about.model,
        "data set": about.data,
        "classes": ", ".join(about.classes),
        "parameters": f"{about.parameters:,}",
        "seed": facts.get("seed"),
        "steps": facts.get("steps"),
        **{name: None if value is None else percent(value) for name, value in accuracies.items()},
        "weights stored as": facts.get("stored_as"),
        "SHA-256 of the weights": facts.get("weights_sha256"),
    }


def _header(about: ModelDescription, facts: Mapping[str, Any], license: str) -> Iterator[str]:
    """YAML front matter; JSON values are YAML."""
    yield "---"
    yield "library_name: localrules"
    yield "pipeline_tag: image-classification"
    yield f"tags: {json.dumps(['localrules', about.rule, about.model])}"
    if license:
        yield f"license: {json.dumps(license)}"
    accuracy = facts.get("valid_accuracy")
    if accuracy is not None:
        result = {
            "task": {"type": "image-classification"},
            "dataset": {"name": about.data, "type": about.data, "split": "valid"},
            "metrics": [{"type": "accuracy", "value": round(accuracy, 4)}],
        }
        index = [{"name": f"{about.model} trained by {about.rule}", "results": [result]}]
        yield f"model-index: {json.dumps(index)}"
    yield "---"
