"""Checkpoints: a kill at any moment loses nothing but the steps since the last one."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from localrules.config.diff import identity_settings
from localrules.core.network import Network
from localrules.core.rule import Rule
from localrules.engine.exported_weights import is_export, load_export, refuse_export
from localrules.engine.session import Session
from localrules.engine.weights_file import (
    contiguous_cpu,
    describe,
    header_hashes,
    load_error,
    permission_error,
    read_weights,
    tensors_sha256,
    write_tensors,
)
from localrules.errors import LocalRulesError, UsageError
from localrules.utils.atomic_io import keep_copy, write_atomic
from localrules.utils.text import shell_quote

WEIGHTS = "last.safetensors"
STATE = "last.pt"
PREVIOUS = "previous.pt"
_ANEW = "run --resume again, which writes it anew, or start a new run"


def save(folder: Path, session: Session, progress: dict[str, Any]) -> None:
    """Write a checkpoint: the whole state in one file first, then the weights alone for readers.

    Each file is replaced atomically, and only the first is needed to resume: a kill between the two is harmless. The
    checkpoint before stays as ``previous.pt``.

    Args:
        folder: The run's ``checkpoints/``.
        session: Whose state to keep.
        progress: Where the run stands; plain values only.
    """
    folder.mkdir(exist_ok=True)
    state = session_state(session, progress)
    if (folder / STATE).exists():
        keep_copy(folder / STATE, PREVIOUS)
    write_atomic(folder / STATE, lambda path: torch.save(state, path))
    _write_weights(folder, _kept_weights(state), session)


def session_state(session: Session, progress: dict[str, Any]) -> dict[str, Any]:
    """The whole state of a session, as ``last.pt`` holds it."""
    state = {
        "progress": progress,
        "network": contiguous_cpu(session.network.model.state_dict()),
        "rule": session.rule.state_dict(),
        "optimizers": session.optimizers.state_dict(),
    }
    if session.loss_scaling is not None:
        state["loss_scaling"] = session.loss_scaling.state_dict()
    if session.weight_average is not None:
        state["weight_average"] = {
            part: contiguous_cpu(values) for part, values in session.weight_average.state_dict().items()
        }
    return state


def _kept_weights(state: Mapping[str, Any], part: str = "network") -> dict[str, Any]:
    """The weights for readers, of the network or of the rule: where the run has averages, these."""
    weights: dict[str, Any] = state[part]
    if "weight_average" not in state:
        return weights
    averages = state["weight_average"][part]
    return {**weights, **{name: average.to(weights[name].dtype) for name, average in averages.items()}}


def apply_state(session: Session, state: Mapping[str, Any]) -> None:
    """Put a session into a state that :func:`session_state` gave."""
    session.network.model.load_state_dict(state["network"])
    session.rule.load_state_dict(state["rule"])
    session.optimizers.load_state_dict(state["optimizers"])
    if session.loss_scaling is not None:
        session.loss_scaling.load_state_dict(state["loss_scaling"])
    if session.weight_average is not None:
        session.weight_average.load_state_dict(state["weight_average"])


def last_state(run: Path) -> dict[str, Any]:
    """The state in a run's last checkpoint.

    Raises:
        UsageError: The run has no checkpoint yet.
        LocalRulesError: The file is damaged.
    """
    path = run / "checkpoints" / STATE
    if not path.exists():
        raise _no_checkpoint(run)
    return read_state(path)


def restore(folder: Path, session: Session) -> dict[str, Any] | None:
    """Put a session into the state of its last checkpoint, and return the progress saved with it.

    Nothing in the file is run: only tensors and plain values are read.

    Returns:
        ``None`` if the run was stopped before its first checkpoint.

    Raises:
        LocalRulesError: The file is damaged, or of another network or rule.
    """
    path = next((folder / name for name in (STATE, PREVIOUS) if (folder / name).exists()), None)
    if path is None:
        return None
    state = read_state(path)
    try:
        apply_state(session, state)
    except Exception as error:
        raise _state_error(path, describe(error)) from error
    # The weights may be of another checkpoint, if the run was killed between the two files.
    _write_weights(folder, _kept_weights(state), session)
    return dict(state["progress"])


def repair_weights(run: Path, settings: str) -> None:
    """Write the weights for readers anew from the whole state, where they are lost or damaged.

    Args:
        run: The run folder.
        settings: The :func:`settings_sha256` of the run.

    Raises:
        LocalRulesError: The whole state is damaged, too.
    """
    folder = run / "checkpoints"
    try:
        read_weights(folder / WEIGHTS)
    except UsageError:  # it must not be read, which is not damage
        raise
    except LocalRulesError:
        if (folder / STATE).exists():
            _write_hashed(folder, _kept_weights(read_state(folder / STATE)), settings)


def load_weights(run: Path, network: Network, rule: Rule) -> None:
    """Load a run's last weights, and its rule's state, for evaluation.

    Args:
        run: The run folder, or an export's folder.
        network, rule: Where they go.

    Raises:
        UsageError: The run has no checkpoint yet.
        LocalRulesError: A file is damaged, or of another network or rule.
    """
    folder = run / "checkpoints"
    if is_export(run):
        load_export(run, network, rule)
        return
    if not (folder / WEIGHTS).exists():
        raise _no_checkpoint(run)
    weights, digest = read_weights(folder / WEIGHTS, _ANEW)
    try:
        if rule.state_dict():
            if not (folder / STATE).exists():
                raise lost_checkpoint_error(run)
            state = read_state(folder / STATE)
            if tensors_sha256(_kept_weights(state)) != digest:  # killed between the two files
                weights = _kept_weights(state)
            rule.load_state_dict(_kept_weights(state, "rule"))
        network.model.load_state_dict(weights)
    except (KeyError, RuntimeError, TypeError) as error:
        raise load_error(folder, describe(error)) from error


def steps_of_weights(run: Path, sha256: str) -> int | None:
    """The steps that a run's weights have learned in; ``None`` if no whole checkpoint that it keeps has them.

    Args:
        run: The run folder.
        sha256: The hash of the weights for readers, which may be of the checkpoint before, as after a kill.
    """
    for name in (STATE, PREVIOUS):
        try:
            state = read_state(run / "checkpoints" / name)
        except LocalRulesError:  # it is absent or damaged, which is an error where the run is resumed
            continue
        if tensors_sha256(_kept_weights(state)) == sha256:
            return int(state["progress"]["step"])
    return None


def settings_sha256(config: Mapping[str, Any], trained_on: Mapping[str, Any]) -> str:
    """A hash of what a run's weights were trained with, and of what it takes to use them.

    Args:
        config: The settings, as a tree; those that change no result, the number of processes, and the place of the data
            are left out.
        trained_on: At least ``fingerprint, shape, classes, mean, std`` of the data.
    """
    used = {name: trained_on[name] for name in ("fingerprint", "shape", "classes", "mean", "std")}
    # A run may be continued by another number of processes, and is still that of its config.toml.
    settings = {**identity_settings(config), "seed": config["seed"], "devices": 1}
    return hashlib.sha256(json.dumps([settings, used], sort_keys=True, default=str).encode()).hexdigest()


def recorded_settings(run: Path) -> str:
    """The :func:`settings_sha256` of the run when its last weights were written; empty if that is not known."""
    return header_hashes(run / "checkpoints" / WEIGHTS)[1]


def _write_weights(folder: Path, weights: dict[str, Tensor], session: Session) -> None:
    data, normalize = session.data, session.batches.preprocess.normalize
    trained_on = {
        "fingerprint": data.fingerprint,
        "shape": list(data.shape),
        "classes": list(data.classes),
        "mean": list(normalize.mean),
        "std": list(normalize.std),
    }
    _write_hashed(folder, weights, settings_sha256(session.config.to_dict(), trained_on))


def _write_hashed(folder: Path, weights: dict[str, Tensor], settings: str) -> None:
    # Under one name: the library writes several in any order, and the same weights are to be the same bytes.
    write_tensors(folder / WEIGHTS, weights, {"sha256": f"{tensors_sha256(weights)} {settings}"})


def read_state(path: Path) -> dict[str, Any]:
    """The whole state, once every part of the file has been held against its checksum."""
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is None:
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
            return state
    except PermissionError as error:
        raise permission_error(path) from error
    except Exception as error:
        raise _state_error(path, describe(error)) from error
    raise _state_error(path, f"the checksum of {damaged} does not fit its contents: the file is damaged")


def _state_error(path: Path, why: str) -> LocalRulesError:
    if path.name != STATE or not path.with_name(PREVIOUS).exists():
        return load_error(path, why)
    ended = " and summary.json" if (path.parent.parent / "summary.json").exists() else ""
    fix = f"continue from the checkpoint before, {PREVIOUS}: remove {path.name}{ended}, then run --resume again"
    return load_error(path, why, fix)


def lost_checkpoint_error(run: Path) -> UsageError:
    """The error for a run that ended or was stopped, and so wrote a checkpoint, which is not there."""
    return UsageError(
        "the run's checkpoint is gone",
        where=str(run / "checkpoints"),
        why="the run has ended or was stopped, so it had one; it was removed since, or not copied",
        fix=f"write the weights anew from {STATE}: localrules run --resume {shell_quote(run)}"
        if (run / "checkpoints" / STATE).exists()
        else f"put it back, or start a new run: localrules run --config {shell_quote(run / 'config.toml')}",
    )


def _no_checkpoint(run: Path) -> UsageError:
    refuse_export(run)
    if (run / "summary.json").exists():  # which is written after a checkpoint
        return lost_checkpoint_error(run)
    return UsageError(
        "the run has no checkpoint yet",
        where=str(run / "checkpoints"),
        why="it was stopped before its first one",
        fix=f"continue it with: localrules run --resume {shell_quote(run)}",
    )
