"""Weights of a run as a W&B artifact, from which the run is rebuilt to be scored."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from localrules.tracking.model_card import ModelDescription, model_card
from localrules.tracking.model_folder import write_model_folder

if TYPE_CHECKING:
    from wandb import Artifact, Run

    from localrules.callbacks.base import RunInfo
    from localrules.core.network import Network
    from localrules.core.rule import Rule

_DESCRIBED = ("rule", "model", "data", "seed", "steps", "valid_accuracy", "parameters", "weights_sha256")


def pack_weights(
    run: Run, info: RunInfo, network: Network, rule: Rule, facts: Mapping[str, Any], alias: str
) -> Artifact:
    """An artifact of type ``model``: weights, ``config.toml`` and a model card.

    Args:
        run: The W&B run.
        info: The run.
        network, rule: As they are now.
        facts: The summary, or what is known of it yet.
        alias: Under which it is logged.
    """
    import wandb

    name = f"{run.id}-weights"
    metadata = {key: facts[key] for key in _DESCRIBED if facts.get(key) is not None}
    artifact = wandb.Artifact(
        name, type="model", metadata=metadata, description=f"{info.rule}, {info.model}, {info.data}"
    )
    place = f"wandb:{run.entity or 'ENTITY'}/{run.project}/{name}:{alias}"
    with TemporaryDirectory() as name_of_folder:
        folder = Path(name_of_folder)
        conditions = {name: info.config.get(name) for name in ("tta_flip", "ema_decay")}
        card = model_card(ModelDescription.of_run(info), {**conditions, **facts}, place)
        write_model_folder(folder, info.config, network, rule, card)
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            # Copied by W&B before the folder goes. Not add_dir, which prints.
            name_in_it = path.relative_to(folder).as_posix()
            artifact.add_file(str(path), name=name_in_it, policy="mutable", skip_cache=True)
    return artifact
