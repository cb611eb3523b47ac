"""Weights without the state of a run: what an export holds in the place of checkpoints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from localrules.core.network import Network
from localrules.core.rule import Rule
from localrules.engine.weights_file import (
    contiguous_cpu,
    describe,
    load_error,
    read_weights,
    tensors_sha256,
    write_tensors,
)
from localrules.errors import UsageError

PACKED_WEIGHTS = "model.safetensors"
PACKED_RULE = "rule.safetensors"
EXPORT_RECORD = "export.json"
_AGAIN = "export or download it again"


def is_export(folder: Path) -> bool:
    """Whether a folder has weights, and not the state of a run."""
    return (folder / PACKED_WEIGHTS).exists() and not (folder / "checkpoints").exists()


def write_weights(folder: Path, network: Network, rule: Rule, *, half: bool = False) -> None:
    """Write what :func:`load_export` needs, and no more: the weights, and the state of a rule that has one.

    ``model.safetensors`` has the names of the plain module's ``state_dict``, ``rule.safetensors`` those of the rule's.

    Args:
        folder: In the place of a run folder.
        network, rule: As they are now.
        half: Store parameters as float16, which reading turns into float32. Buffers stay as they are: the running
            variance of a norm may be beyond its range.

    Raises:
        UsageError: The rule's state has values that are not tensors.
    """
    _check_tensors(rule)
    _write_packed(folder / PACKED_WEIGHTS, network.model, half=half)
    if rule.state_dict():
        _write_packed(folder / PACKED_RULE, rule, half=half)


def _write_packed(path: Path, module: nn.Module, *, half: bool) -> None:
    tensors = contiguous_cpu(module.state_dict())
    if half:
        names = [name for name, _ in module.named_parameters(remove_duplicate=False) if name in tensors]
        for name in names:
            if tensors[name].numel() and tensors[name].abs().max() > torch.finfo(torch.float16).max:
                raise UsageError(
                    "the weights do not fit into half precision",
                    where=name,
                    why=f"float16 ends at {torch.finfo(torch.float16).max:g}",
                    fix="leave out --half",
                )
        tensors |= {name: tensors[name].half() for name in names}
    write_tensors(path, tensors, {"format": "pt", "sha256": tensors_sha256(tensors)})


def _check_tensors(rule: Rule) -> None:
    for name, value in rule.state_dict().items():
        if not isinstance(value, Tensor):
            raise UsageError(
                f"the state of {type(rule).__name__} cannot be written as safetensors",
                where=name,
                why=f"it is of type {type(value).__name__}, and such a file holds tensors alone",
                fix="keep the run folder itself, whose last.pt has the whole state",
            )


def load_export(folder: Path, network: Network, rule: Rule) -> None:
    """Load what :func:`write_weights` wrote.

    Args:
        folder: The folder.
        network, rule: Where it goes.

    Raises:
        LocalRulesError: A file is damaged, or of another network or rule.
    """
    try:
        network.model.load_state_dict(read_weights(folder / PACKED_WEIGHTS, _AGAIN)[0])
        if rule.state_dict():
            rule.load_state_dict(read_weights(folder / PACKED_RULE, _AGAIN)[0])
    except (KeyError, RuntimeError, TypeError) as error:
        raise load_error(folder, describe(error), _AGAIN) from error


def refuse_export(run: Path) -> None:
    """Raises UsageError for a folder that was exported: it has weights, and not the state of a run."""
    if is_export(run):
        raise UsageError(
            "an export has no state of training",
            where=str(run),
            why=f"it holds the last weights of a run, {PACKED_WEIGHTS}, and no checkpoints/",
            fix="name the run folder that it was exported from",
        )


def exported_record(run: Path) -> dict[str, Any]:
    """The content of ``export.json`` beside exported weights; empty where it is not there, or damaged."""
    try:
        found = json.loads((run / EXPORT_RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) and (run / PACKED_WEIGHTS).exists() else {}


def exported_settings(run: Path) -> str:
    """The hash of its settings that an export recorded, as computed on a CPU; empty if that is not known."""
    return str(exported_record(run).get("settings_sha256", ""))
