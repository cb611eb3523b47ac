"""Checkpoints: a kill at any moment loses nothing but the steps since the last one."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save_file
from torch import Tensor, nn

from localrules.config.diff import identity_settings
from localrules.core.network import Network
from localrules.core.rule import Rule
from localrules.engine.session import Session
from localrules.errors import LocalRulesError, UsageError
from localrules.utils.atomic_io import keep_copy, write_atomic
from localrules.utils.text import shell_quote

WEIGHTS = "last.safetensors"
STATE = "last.pt"
PREVIOUS = "previous.pt"
PACKED_WEIGHTS = "model.safetensors"
PACKED_RULE = "rule.safetensors"
EXPORT_RECORD = "export.json"
_LARGEST_HEADER = 1 << 26  # of a safetensors file; theirs is 100 MB


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
        "network": _contiguous_cpu(session.network.model.state_dict()),
        "rule": session.rule.state_dict(),
        "optimizers": session.optimizers.state_dict(),
    }
    if session.loss_scaling is not None:
        state["loss_scaling"] = session.loss_scaling.state_dict()
    if session.weight_average is not None:
        state["weight_average"] = {
            part: _contiguous_cpu(values) for part, values in session.weight_average.state_dict().items()
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
        raise _load_error(path, _describe(error)) from error
    # The weights may be of another checkpoint, if the run was killed between the two files.
    _write_weights(folder, _kept_weights(state), session)
    return dict(state["progress"])


def refuse_export(run: Path) -> None:
    """Raises UsageError for a folder that was exported: it has weights, and not the state of a run."""
    if (run / PACKED_WEIGHTS).exists() and not (run / "checkpoints").exists():
        raise UsageError(
            "an export has no state of training",
            where=str(run),
            why=f"it holds the last weights of a run, {PACKED_WEIGHTS}, and no checkpoints/",
            fix="name the run folder that it was exported from",
        )


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
        _read_weights(folder / WEIGHTS)
    except UsageError:  # it must not be read, which is not damage
        raise
    except LocalRulesError:
        if (folder / STATE).exists():
            _write_hashed(folder, _kept_weights(read_state(folder / STATE)), settings)


def load_weights(run: Path, network: Network, rule: Rule) -> None:
    """Load a run's last weights, and its rule's state, for evaluation.

    Args:
        run: The run folder, or a folder with what :func:`write_weights` writes.
        network, rule: Where they go.

    Raises:
        UsageError: The run has no checkpoint yet.
        LocalRulesError: A file is damaged, or of another network or rule.
    """
    folder = run / "checkpoints"
    if not folder.exists() and (run / PACKED_WEIGHTS).exists():
        _load_packed(run, network, rule)
        return
    if not (folder / WEIGHTS).exists():
        raise _no_checkpoint(run)
    weights, digest = _read_weights(folder / WEIGHTS)
    try:
        if rule.state_dict():
            if not (folder / STATE).exists():
                raise lost_checkpoint_error(run)
            state = read_state(folder / STATE)
            if _sha256(_kept_weights(state)) != digest:  # of another step: the run was killed between the two files
                weights = _kept_weights(state)
            rule.load_state_dict(_kept_weights(state, "rule"))
        network.model.load_state_dict(weights)
    except (KeyError, RuntimeError, TypeError) as error:
        raise _load_error(folder, _describe(error)) from error


def write_weights(folder: Path, network: Network, rule: Rule, *, half: bool = False) -> None:
    """Write what :func:`load_weights` needs, and no more: the weights, and the state of a rule that has one.

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
    tensors = _contiguous_cpu(module.state_dict())
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
    write_atomic(path, lambda place: save_file(tensors, place, {"format": "pt", "sha256": _sha256(tensors)}))


def _check_tensors(rule: Rule) -> None:
    for name, value in rule.state_dict().items():
        if not isinstance(value, Tensor):
            raise UsageError(
                f"the state of {type(rule).__name__} cannot be written as safetensors",
                where=name,
                why=f"it is of type {type(value).__name__}, and such a file holds tensors alone",
                fix="keep the run folder itself, whose last.pt has the whole state",
            )


def _load_packed(folder: Path, network: Network, rule: Rule) -> None:
    try:
        network.model.load_state_dict(_read_weights(folder / PACKED_WEIGHTS)[0])
        if rule.state_dict():
            rule.load_state_dict(_read_weights(folder / PACKED_RULE)[0])
    except (KeyError, RuntimeError, TypeError) as error:
        raise _load_error(folder, _describe(error)) from error


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
    try:
        with (run / "checkpoints" / WEIGHTS).open("rb") as file:
            length = file.read(8)
            header = file.read(min(int.from_bytes(length, "little"), _LARGEST_HEADER))
            return _hashes(length + header)[1]
    except (OSError, ValueError, AttributeError):  # it is absent, or damaged, which is an error where it is read
        return ""


def exported_settings(run: Path) -> str:
    """The same of a folder that was exported, as computed on a CPU."""
    try:
        found = json.loads((run / EXPORT_RECORD).read_text(encoding="utf-8")).get("settings_sha256", "")
    except (OSError, ValueError, AttributeError):
        return ""
    return str(found) if (run / PACKED_WEIGHTS).exists() else ""


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
    metadata = {"sha256": f"{_sha256(weights)} {settings}"}
    write_atomic(folder / WEIGHTS, lambda path: save_file(weights, path, metadata))


def _read_weights(path: Path) -> tuple[dict[str, Tensor], str]:
    """The weights, and their hash; without a hash, which other writers leave out, that of what was read."""
    try:
        content = path.read_bytes()  # safetensors itself opens no file whose name is not UTF-8
        weights = load(content)
        kept, _ = _hashes(content)
    except PermissionError as error:
        raise _permission_error(path) from error
    except Exception as error:
        raise _load_error(path, _describe(error)) from error
    digest = _sha256(weights)
    if kept and kept != digest:
        raise _load_error(path, "its checksum does not fit its contents: the file is damaged")
    return weights, digest


def _hashes(content: bytes) -> tuple[str, str]:
    """The hashes of weights and settings in a safetensors file, whose header is JSON behind a length of eight bytes.

    They are empty in a file that another program wrote.
    """
    length = int.from_bytes(content[:8], "little")
    kept = json.loads(content[8 : 8 + length]).get("__metadata__", {}).get("sha256", "")
    weights, _, settings = str(kept).partition(" ")
    return weights, settings


def read_state(path: Path) -> dict[str, Any]:
    """The whole state, once every part of the file has been held against its checksum."""
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is None:
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
            return state
    except PermissionError as error:
        raise _permission_error(path) from error
    except Exception as error:
        raise _load_error(path, _describe(error)) from error
    raise _load_error(path, f"the checksum of {damaged} does not fit its contents: the file is damaged")


def weights_sha256(network: Network) -> str:
    """A hash over the names, dtypes, shapes and bytes of the network's weights and buffers, in order of name."""
    return state_sha256(network.model)


def state_sha256(module: nn.Module) -> str:
    """The same of any module whose state is made of tensors."""
    return _sha256(_contiguous_cpu(module.state_dict()))


def _sha256(weights: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _load_error(path: Path, why: str) -> LocalRulesError:
    previous = path.with_name(PREVIOUS)
    fix = "the file was changed after it was written: start a new run"
    if path.name == STATE and previous.exists():
        ended = " and summary.json" if (path.parent.parent / "summary.json").exists() else ""
        fix = f"continue from the checkpoint before, {PREVIOUS}: remove {path.name}{ended}, then run --resume again"
    elif path.name in (PACKED_WEIGHTS, PACKED_RULE) or (path / PACKED_WEIGHTS).exists():
        fix = "export or download it again"
    elif path.name == WEIGHTS:
        fix = "run --resume again, which writes it anew, or start a new run"
    return LocalRulesError("the checkpoint cannot be loaded", where=str(path), why=why, fix=fix)


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


def _permission_error(path: Path) -> UsageError:
    return UsageError(
        "the checkpoint cannot be read",
        where=str(path),
        why="permission denied",
        fix="ask its owner for read permission (chmod a+r), or copy the run",
    )


def _describe(error: Exception) -> str:
    """The type and the first line: torch lists every tensor that does not fit."""
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"


def _contiguous_cpu(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Row-major CPU tensors that share no memory: the same bytes whatever the layout in memory was."""
    return {
        name: torch.empty(tensor.shape, dtype=tensor.dtype).copy_(tensor.detach()) for name, tensor in state.items()
    }
