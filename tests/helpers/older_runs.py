"""Runs as a version that lacked a setting left them."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import torch
from safetensors.torch import load_file

from localrules.engine.checkpoint import settings_sha256
from localrules.engine.weights_file import header_hashes, write_tensors


def remove_setting(folder: Path, setting: str) -> None:
    """Take a setting out of a run's ``config.toml``, its state, and the hash of its settings beside its weights."""
    *sections, name = setting.split(".")
    file = folder / "config.toml"
    text, count = re.subn(rf"^{name} = .*\n", "", file.read_text(), flags=re.MULTILINE)
    assert count == 1
    file.write_text(text)
    state = torch.load(folder / "checkpoints" / "last.pt", weights_only=True)
    config = state["progress"]["config"]
    for section in sections:
        config = config[section]
    del config[name]
    torch.save(state, folder / "checkpoints" / "last.pt")
    weights = folder / "checkpoints" / "last.safetensors"
    written = settings_sha256(state["progress"]["config"], tomllib.loads(text)["trained_on"])
    write_tensors(weights, load_file(weights), {"sha256": f"{header_hashes(weights)[0]} {written}"})
