"""The environment's part in a W&B run: every variable that ``wandb.init`` reads holds, unless an option is set here."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from localrules.callbacks.base import RunInfo

LONGEST_TAG = 64  # W&B refuses longer ones
_SETTINGS: dict[str, tuple[str, Any]] = {
    "silent": ("WANDB_SILENT", True),
    "console": ("WANDB_CONSOLE", "off"),
    # Seconds at the end for what is not sent yet: a connection that was lost would hold the end up for hours. What is
    # left stays in the run folder, for `wandb sync`.
    "finish_timeout": ("WANDB_FINISH_TIMEOUT", 300.0),
    "save_code": ("WANDB_SAVE_CODE", False),
    # The commit is in the configuration; W&B's address of the remote may hold a token.
    "disable_git": ("WANDB_DISABLE_GIT", True),
    "disable_job_creation": ("WANDB_DISABLE_JOB_CREATION", True),
}


def from_environment(variable: str, default: str) -> str:
    """The value of a variable that ``wandb.init`` reads, else ours."""
    # Not left to W&B, which reads the environment once in a process, and code of a plugin may have started it before.
    return os.environ.get(variable) or default


def own_settings() -> dict[str, Any]:
    """The settings of W&B for which we have a default of our own and the environment says nothing."""
    return {name: ours for name, (variable, ours) in _SETTINGS.items() if not os.environ.get(variable)}


def run_tags(info: RunInfo, asked: Sequence[str]) -> list[str]:
    """Tags: rule, model, data and class of the run, those of ``WANDB_TAGS``, and those of the option."""
    environment = [tag.strip() for tag in os.environ.get("WANDB_TAGS", "").split(",") if tag.strip()]
    ours = [tag[:LONGEST_TAG] for tag in (info.rule, info.model, info.data, info.locality) if tag]
    return list(dict.fromkeys([*ours, *environment, *asked]))


def run_facts(info: RunInfo) -> dict[str, Any]:
    """Facts that the configuration of a W&B run has beside the settings, to filter and group runs by."""
    return {
        "locality": info.locality,
        "parameters": sum(layer["parameters"] for layer in info.layers),
        "macs": sum(layer["macs"] for layer in info.layers),
        "layers": len(info.layers),
    }
