"""A run that was trained, loaded again to be scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from pydantic import BaseModel, Field, PositiveInt
from torch import Tensor

from localrules.config.overrides import RUN_METADATA, Tree, diff
from localrules.config.schema import RunConfig
from localrules.config.settings import Settings
from localrules.config.validate import validate_config
from localrules.data.dataset import Dataset, Split
from localrules.data.normalize import Normalize
from localrules.data.preprocess import Preprocessor
from localrules.engine.builder import build_network_and_rule, load_run_dataset
from localrules.engine.checkpoint import last_state, load_weights, recorded_settings, settings_sha256
from localrules.engine.device import Device, set_deterministic
from localrules.engine.exported_weights import exported_settings
from localrules.engine.inference import Predictor
from localrules.engine.resolve import resolve_component, resolve_config
from localrules.errors import DataError, UsageError
from localrules.evaluation.metrics import compute_metrics
from localrules.registry.registry import Registry
from localrules.runs.reference import locate_run
from localrules.runs.suppliers import name_suppliers
from localrules.tracking.records import CONFIG, SUMMARY, read_config
from localrules.tracking.run_folder import METRICS
from localrules.utils.text import shell_quote
from localrules.utils.torch_utils import preserve_global_state

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn

    from localrules.runs.result import RunResult


def load_run(
    run: str | Path | RunResult | TrainedRun,
    *,
    device: str | None = None,
    plugins: Registry | Sequence[str | Path] = (),
) -> TrainedRun:
    """Load the network of a run with its last weights. The training data is not needed.

    Args:
        run: The run folder, the result of :func:`localrules.train`, or a loaded run, to have its last weights again.
        device: Where to compute: ``auto``, ``cpu``, ``cuda`` or ``mps``; the run's setting if ``None``.
        plugins: As for :func:`localrules.train`, with a folder; a result and a loaded run have their own.

    Raises:
        UsageError: The folder is not a run folder, has no checkpoint yet, the device is not there, or plugins are given
            with a result or a loaded run.
    """
    folder, registry = locate_run(run, plugins)
    with preserve_global_state():
        return TrainedRun.load(folder, registry, device=device)


def read_run(folder: Path) -> tuple[RunConfig, Tree]:
    """The configuration of a run, and its whole ``config.toml``, which also records the environment.

    Raises:
        UsageError: The folder is not a run folder.
    """
    record = read_config(folder)
    for table in RUN_METADATA:
        if not isinstance(record.get(table), dict):
            has = f"gives {table!r} a value that is not a table" if table in record else f"has no table {table!r}"
            raise UsageError(
                "this is not a run folder",
                where=str(folder),
                why=f"its config.toml {has}, and every run writes one",
                fix="name a folder that 'localrules run' made; settings of your own are given with --config FILE",
            )
    _check_contents(folder)
    validate_config(_TrainedOn, record["trained_on"], "trained_on")
    settings = Settings.from_file(folder / CONFIG)
    config = validate_config(RunConfig, settings)
    _check_unedited(folder, settings.tree, config, record)
    return config, record


def _check_unedited(folder: Path, written: Tree, config: RunConfig, record: Tree) -> None:
    """Refuse a ``config.toml`` that is not the one that the run's weights were trained with.

    Raises:
        UsageError: It names the differences.
    """
    recorded = recorded_settings(folder)
    # As the file has them, and with the defaults of settings that the version which wrote it may not have had.
    trees = [written, config.to_dict()]
    if not recorded and (exported := exported_settings(folder)):
        if any(exported == settings_sha256({**tree, "device": "cpu"}, record["trained_on"]) for tree in trees):
            return
        raise UsageError(
            f"the settings in {CONFIG} differ from those of the run that was exported",
            where=str(folder),
            why="they, or the table [trained_on], were edited",
            fix="undo the edit, or export or download it again",
        )
    if not recorded or any(recorded == settings_sha256(tree, record["trained_on"]) for tree in trees):
        return
    changed = diff(RunConfig.complete(last_state(folder)["progress"]["config"]), config.to_dict())
    raise UsageError(
        f"the settings in {CONFIG} differ from those of the run",
        where=str(folder),
        why="; ".join(changed) or "its table [trained_on] was edited",
        fix="undo the edit; for other settings start a new run "
        f"(localrules run --config {shell_quote(folder / CONFIG)}), for other data name them to the command",
    )


class _TrainedOn(BaseModel):
    """The table of ``config.toml`` that describes the data."""

    fingerprint: str
    shape: tuple[PositiveInt, ...] = Field(min_length=1, description="As the run wrote it.")
    classes: tuple[str, ...] = Field(min_length=1, description="As the run wrote it.")
    mean: tuple[float, ...] = Field(min_length=1, description="As the run wrote it.")
    std: tuple[float, ...] = Field(min_length=1, description="As the run wrote it.")


def _check_contents(folder: Path) -> None:
    """Refuse a run folder in which a folder stands in the place of a file, or a file in that of a folder.

    Raises:
        UsageError: It names the place.
    """
    for name, is_folder in ((METRICS, False), (SUMMARY, False), ("checkpoints", True)):
        path = folder / name
        if path.exists() and path.is_dir() != is_folder:
            found, expected = ("a file", "a folder") if is_folder else ("a folder", "a file")
            raise UsageError(
                f"the run's {name} cannot be used",
                where=str(path),
                why=f"{found} stands where a run has {expected}",
                fix="put it back as the run left it, or name another run",
            )


@dataclass(frozen=True)
class TrainedRun:
    """A run with its last weights.

    Attributes:
        folder: The run folder.
        config: What it was asked to do.
        classes: Names of the labels it learned.
        shape: One image's channels, height, width.
        predictor: Its network.
        registry: Where names are looked up.
    """

    folder: Path
    config: RunConfig
    classes: tuple[str, ...]
    shape: tuple[int, ...]
    predictor: Predictor
    registry: Registry = field(repr=False)

    @property
    def model(self) -> nn.Module:
        """The plain PyTorch module, on its device."""
        return self.predictor.network.model

    def has_weights_of(self, other: TrainedRun) -> bool:
        """Whether network and rule have the same weights as those of another, such as the run folder's own."""
        mine, theirs = self.predictor, other.predictor
        pairs = (
            (mine.network.model.state_dict(), theirs.network.model.state_dict()),
            (mine.rule.state_dict(), theirs.rule.state_dict()),
        )
        return all(
            own.keys() == kept.keys() and all(torch.equal(own[name].cpu(), kept[name].cpu()) for name in own)
            for own, kept in pairs
        )

    def predict(self, images: Tensor | NDArray[Any]) -> Tensor:
        """Predict images, as ``localrules predict`` does.

        Args:
            images: Shape (images, channels, height, width), the last three as in :attr:`shape`: uint8, or floating
                point in [0, 1].

        Returns:
            Probabilities, float32 on the CPU, shape (images, classes); the classes are those of :attr:`classes`.

        Raises:
            DataError: The images have another shape, type or range.
        """
        found = images if isinstance(images, Tensor) else torch.from_numpy(np.array(images, order="C"))
        if found.dim() != 1 + len(self.shape) or tuple(found.shape[1:]) != self.shape or not len(found):
            raise DataError(
                "the images do not fit the run",
                why=f"their shape is {tuple(found.shape)}; the network learned images of {self.shape}",
                fix="give a batch, (images, channels, height, width); images[None] makes one of a single image",
            )
        if found.is_floating_point():
            if not bool(((found >= 0) & (found <= 1)).all()):
                raise DataError(
                    "the images do not fit the run",
                    why=f"their values lie between {float(found.min()):.3g} and {float(found.max()):.3g}",
                    fix="give uint8, or floating point in [0, 1]: normalisation is the run's own part",
                )
            found = found.float() * 255
        elif found.dtype != torch.uint8:
            raise DataError(
                "the images do not fit the run",
                why=f"they are of type {str(found.dtype).removeprefix('torch.')}",
                fix="give uint8, or floating point in [0, 1]",
            )
        with preserve_global_state():
            set_deterministic(self.config.threads, self.predictor.device.device)
            return self.predictor.probabilities(found)

    @classmethod
    def load(cls, folder: Path, registry: Registry, *, device: str | None = None) -> TrainedRun:
        """Build a run's network and load its last weights. The training data is not needed.

        Args:
            folder: The run folder.
            registry: Where names are looked up.
            device: Where to compute, as ``--device`` names it; the run's setting if ``None``.

        Raises:
            UsageError: The folder is not a run folder, holds no checkpoint yet, or the device is not there.
        """
        folder = folder.expanduser().resolve()
        config, record = read_run(folder)
        if device is not None:
            config = config.model_copy(update={"device": device})
        known = record["trained_on"]
        ranks = Device(config)
        set_deterministic(config.threads, ranks.device)
        shape, classes = tuple(known["shape"]), tuple(known["classes"])
        with name_suppliers(record):
            resolved = resolve_config(config, registry, network_only=True)
        network, rule = build_network_and_rule(resolved, shape, len(classes), ranks.device)
        load_weights(folder, network, rule)
        normalize = Normalize(tuple(known["mean"]), tuple(known["std"]))
        preprocess = Preprocessor(normalize, config.channels_last, ranks.device)
        predictor = Predictor.from_config(config, network, rule, ranks, preprocess)
        return cls(folder, config, classes, shape, predictor, registry)

    def data(self, choice: Tree | None = None, *, held_out: bool = True) -> Dataset:
        """The run's own data set, or another that fits its network.

        Args:
            choice: Name and options of another data set, or of the run's own at another place; the run's own where it
                found it if ``None``.
            held_out: What the run held out is the valid split; else the splits are the source's.

        Raises:
            UsageError: The images have another size, or the labels other names.
        """
        component = resolve_component("data", choice or self.config.data.model_dump(), self.registry)
        config = self.config if held_out else self.config.model_copy(update={"holdout_fraction": 0.0})
        data = load_run_dataset(config, component)
        if tuple(data.shape) != self.shape or data.classes != self.classes:
            raise UsageError(
                f"data set {data.name!r} does not fit the run",
                where=str(self.folder),
                why=f"it has images of shape {data.shape} and labels {', '.join(data.classes)}; "
                f"the network learned {self.shape} and {', '.join(self.classes)}",
                fix="choose a data set of the same kind",
            )
        return data

    def score(self, data: Dataset, split: str) -> dict[str, Any]:
        """All metrics of a split, as :func:`~localrules.evaluation.metrics.compute_metrics` lists them.

        Raises:
            DataError: There is no such split.
        """
        return compute_metrics(data, split, self.predictor.scores(data.split(split)))

    def training_split(self, scored: Dataset) -> Split:
        """The training samples: those of ``scored`` where it is the data set that the run learned from.

        Raises:
            LocalRulesError: The data set that the run learned from is gone, or has changed since.
        """
        fingerprint = read_run(self.folder)[1]["trained_on"]["fingerprint"]
        data = scored if scored.fingerprint == fingerprint else self.data()
        if data.fingerprint != fingerprint:
            raise DataError(
                "the data have changed since the run",
                where=data.origin,
                why="their fingerprint is another, so nobody can tell what the run has seen",
                fix="put the file back that the run was trained on",
            )
        return data.split("train")
