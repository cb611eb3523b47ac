"""Files of weights: safetensors with a hash of what they hold, written atomically and checked where they are read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load, save_file
from torch import Tensor, nn

from localrules.core.network import Network
from localrules.errors import LocalRulesError, UsageError
from localrules.utils.atomic_io import write_atomic

_LARGEST_HEADER = 1 << 26  # of a safetensors file; theirs is 100 MB
_CHANGED = "the file was changed after it was written: start a new run"


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors that :func:`contiguous_cpu` gave, with ``metadata`` in the header."""
    write_atomic(path, lambda place: save_file(tensors, place, dict(metadata)))


def read_weights(path: Path, fix: str = _CHANGED) -> tuple[dict[str, Tensor], str]:
    """The weights in a file, and their hash; without a hash, which other writers leave out, that of what was read.

    Args:
        path: The file.
        fix: What to do if it is damaged.

    Raises:
        UsageError: It must not be read.
        LocalRulesError: It is damaged.
    """
    try:
        content = path.read_bytes()  # safetensors itself opens no file whose name is not UTF-8
        weights = load(content)
        kept, _ = _hashes(content)
    except PermissionError as error:
        raise permission_error(path) from error
    except Exception as error:
        raise load_error(path, describe(error), fix) from error
    digest = tensors_sha256(weights)
    if kept and kept != digest:
        raise load_error(path, "its checksum does not fit its contents: the file is damaged", fix)
    return weights, digest


def header_hashes(path: Path) -> tuple[str, str]:
    """The hashes of weights and settings in a file, of which its header alone is read; empty where it has none."""
    try:
        with path.open("rb") as file:
            length = file.read(8)
            return _hashes(length + file.read(min(int.from_bytes(length, "little"), _LARGEST_HEADER)))
    except (OSError, ValueError, AttributeError):  # it is absent, or damaged, which is an error where it is read
        return "", ""


def _hashes(content: bytes) -> tuple[str, str]:
    """The hashes of weights and settings in a safetensors file, whose header is JSON behind a length of eight bytes.

    They are empty in a file that another program wrote.
    """
    length = int.from_bytes(content[:8], "little")
    kept = json.loads(content[8 : 8 + length]).get("__metadata__", {}).get("sha256", "")
    weights, _, settings = str(kept).partition(" ")
    return weights, settings


def weights_sha256(network: Network) -> str:
    """A hash over the names, dtypes, shapes and bytes of the network's weights and buffers, in order of name."""
    return state_sha256(network.model)


def state_sha256(module: nn.Module) -> str:
    """The same of any module whose state is made of tensors."""
    return tensors_sha256(contiguous_cpu(module.state_dict()))


def tensors_sha256(weights: Mapping[str, Tensor]) -> str:
    """The same of a dictionary of tensors."""
    digest = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def load_error(path: Path, why: str, fix: str = _CHANGED) -> LocalRulesError:
    """The error for a file, or a folder of files, that cannot be loaded."""
    return LocalRulesError("the checkpoint cannot be loaded", where=str(path), why=why, fix=fix)


def permission_error(path: Path) -> UsageError:
    """The error for a file that must not be read."""
    return UsageError(
        "the checkpoint cannot be read",
        where=str(path),
        why="permission denied",
        fix="ask its owner for read permission (chmod a+r), or copy the run",
    )


def describe(error: Exception) -> str:
    """The type and the first line: torch lists every tensor that does not fit."""
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"


def contiguous_cpu(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Row-major CPU tensors that share no memory: the same bytes whatever the layout in memory was."""
    return {
        name: torch.empty(tensor.shape, dtype=tensor.dtype).copy_(tensor.detach()) for name, tensor in state.items()
    }
