"""Checkpoints: a kill at any moment loses nothing but the steps since the last one."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from localrules.core.network import Network
from localrules.core.rule import Rule
from localrules.engine.session import Session
from localrules.errors import LocalRulesError, UsageError
from localrules.utils.atomic_io import write_atomic

WEIGHTS = "last.safetensors"
STATE = "last.pt"


def save(folder: Path, session: Session, progress: dict[str, Any]) -> None:
    """Write a checkpoint: the whole state in one file first, then the weights alone for readers.

    Each file is replaced atomically, and only the first is needed to resume: a kill between the two is harmless.

    Args:
        folder: The run's ``checkpoints/``.
        session: Whose state to keep.
        progress: Where the run stands; plain values only.
    """
    folder.mkdir(exist_ok=True)
    weights = _contiguous_cpu(session.network.model.state_dict())
    state = {
        "progress": progress,
        "network": weights,
        "rule": session.rule.state_dict(),
        "optimizers": session.optimizers.state_dict(),
    }
    write_atomic(folder / STATE, lambda path: torch.save(state, path))
    write_atomic(folder / WEIGHTS, lambda path: save_file(weights, path))


def restore(folder: Path, session: Session) -> dict[str, Any] | None:
    """Put a session into the state of its last checkpoint, and return the progress saved with it.

    Nothing in the file is run: only tensors and plain values are read.

    Returns:
        ``None`` if the run was stopped before its first checkpoint.

    Raises:
        LocalRulesError: The file is damaged, or of another network or rule.
    """
    path = folder / STATE
    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        session.network.model.load_state_dict(state["network"])
        session.rule.load_state_dict(state["rule"])
        session.optimizers.load_state_dict(state["optimizers"])
    except Exception as error:
        raise _load_error(path, error) from error
    # The weights may be one checkpoint behind, if the run was killed between the two files.
    write_atomic(folder / WEIGHTS, lambda file: save_file(_contiguous_cpu(session.network.model.state_dict()), file))
    return dict(state["progress"])


def load_weights(run: Path, network: Network, rule: Rule) -> None:
    """Load a run's last weights, and its rule's state, for evaluation.

    Raises:
        UsageError: The run has no checkpoint yet.
    """
    folder = run / "checkpoints"
    if not (folder / WEIGHTS).exists():
        raise UsageError(
            "the run has no checkpoint yet",
            where=str(folder),
            why="it was stopped before its first one",
            fix=f"continue it with: localrules run --resume {run}",
        )
    try:
        network.model.load_state_dict(load_file(folder / WEIGHTS))
        if rule.state_dict():
            rule.load_state_dict(torch.load(folder / STATE, map_location="cpu", weights_only=True)["rule"])
    except Exception as error:
        raise _load_error(folder, error) from error


def weights_sha256(network: Network) -> str:
    """A hash over the names, dtypes, shapes and bytes of the network's weights and buffers, in order of name."""
    digest = hashlib.sha256()
    for name, tensor in sorted(_contiguous_cpu(network.model.state_dict()).items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _load_error(path: Path, error: Exception) -> LocalRulesError:
    return LocalRulesError(
        "the checkpoint cannot be loaded",
        where=str(path),
        why=f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}",
        fix="the file was changed after it was written: start a new run",
    )


def _contiguous_cpu(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Row-major CPU tensors that share no memory: the same bytes whatever the layout in memory was."""
    return {
        name: torch.empty(tensor.shape, dtype=tensor.dtype).copy_(tensor.detach()) for name, tensor in state.items()
    }
