"""A folder that holds a trained network for others: weights, configuration and a model card.

``localrules eval``, ``predict`` and ``load_run`` read it as they read a run folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from localrules.config.overrides import Tree
from localrules.core.network import Network
from localrules.core.rule import Rule
from localrules.engine.exported_weights import write_weights
from localrules.tracking.records import write_config
from localrules.utils.atomic_io import write_atomic

CARD = "README.md"
_OF_THIS_MACHINE = ("trackers",)
_OF_THIS_MACHINE_BESIDE = ("command", "git")


def write_model_folder(
    folder: Path, record: Mapping[str, Any], network: Network, rule: Rule, card: str, *, half: bool = False
) -> None:
    """Write the folder's files.

    Args:
        folder: Where they go; it exists.
        record: The run's ``config.toml``.
        network, rule: As they are now.
        card: The model card, Markdown.
        half: Store parameters as float16.

    Raises:
        UsageError: The rule's state cannot be written as tensors.
    """
    write_weights(folder, network, rule, half=half)
    write_config(folder, portable_record(record))
    write_atomic(folder / CARD, card)


def portable_record(record: Mapping[str, Any]) -> Tree:
    """The content of ``config.toml`` without what holds on one machine alone.

    Left out are absolute paths among the options of rule, model and data set (data are then looked for in their usual
    places, or where ``--data-path`` says), trackers, the command line, the state of the git repository, and the path of
    the data's origin. The device becomes ``auto``. A model that started from trained weights does not need them again.
    """
    found = {name: value for name, value in record.items() if name not in _OF_THIS_MACHINE}
    for component in ("rule", "model", "data"):
        if component in found:
            found[component] = _without_paths(found[component])
    model = found.get("model")
    if isinstance(model, dict) and model.get("pretrained"):
        model["pretrained"] = False
    if "device" in found:
        found["device"] = "auto"
    if "environment" in found:
        about = found["environment"]
        found["environment"] = {name: about[name] for name in about if name not in _OF_THIS_MACHINE_BESIDE}
    origin = record.get("trained_on", {}).get("origin", "")
    if "/" in origin or "\\" in origin:
        found["trained_on"] = {name: value for name, value in record["trained_on"].items() if name != "origin"}
    return found


def _without_paths(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _without_paths(item) for name, item in value.items() if not _is_absolute(item)}
    if isinstance(value, list | tuple):
        return [_without_paths(item) for item in value if not _is_absolute(item)]
    return value


def _is_absolute(value: Any) -> bool:
    if isinstance(value, Path):
        return value.is_absolute()
    return isinstance(value, str) and (PurePosixPath(value).is_absolute() or PureWindowsPath(value).is_absolute())
