"""A run that was trained, loaded again to be scored."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localrules.data.dataset import DataSet
from localrules.data.duplicates import seen_before
from localrules.data.standard import Standard
from localrules.engine.building import build_learner, load_data, options_of
from localrules.engine.checkpoint import load_weights
from localrules.engine.config import Choice, RunConfig
from localrules.engine.predictor import Predictor
from localrules.engine.ranks import Ranks
from localrules.engine.reproducible import be_deterministic
from localrules.engine.settings import RECORDED, Tree
from localrules.errors import UsageError
from localrules.tracking.records import read_config

if TYPE_CHECKING:
    from localrules.plugins import Registry


def read_run(folder: Path) -> tuple[RunConfig, Tree]:
    """What a run was asked for, and its whole ``config.toml``, which also says what it ran on.

    Raises:
        UsageError: The folder is no run folder.
    """
    record = read_config(folder)
    if missing := [table for table in RECORDED if table not in record]:
        raise UsageError(
            "this is not a run folder",
            where=str(folder),
            why=f"its config.toml has no table {missing[0]!r}, which every run writes",
            fix="name a folder that 'localrules run' made; settings of your own are given with --config FILE",
        )
    config = options_of(RunConfig, {key: value for key, value in record.items() if key not in RECORDED}, "")
    assert isinstance(config, RunConfig)
    return config, record


@dataclass(frozen=True)
class FinishedRun:
    """A run with its last weights.

    Attributes:
        folder: The run folder.
        config: What it was asked to do.
        classes: Names of the labels it learned.
        shape: One picture's channels, height, width.
        predictor: Its network.
    """

    folder: Path
    config: RunConfig
    classes: tuple[str, ...]
    shape: tuple[int, ...]
    predictor: Predictor

    @classmethod
    def load(cls, folder: Path, registry: Registry) -> FinishedRun:
        """Build a run's network and load its last weights. The training data is not needed.

        Raises:
            UsageError: The folder is no run folder, or holds no checkpoint yet.
        """
        folder = folder.expanduser().resolve()
        config, record = read_run(folder)
        known = record["trained_on"]
        ranks = Ranks(config)
        be_deterministic(config.threads, ranks.device)
        shape, classes = tuple(known["shape"]), tuple(known["classes"])
        network, rule = build_learner(config, registry, shape, len(classes), ranks.device)
        load_weights(folder, network, rule)
        standard = Standard(tuple(known["mean"]), tuple(known["deviation"]))
        predictor = Predictor(network, rule, ranks, standard, config.channels_last, config.eval_batch_size)
        return cls(folder, config, classes, shape, predictor)

    def data(self, registry: Registry, choice: Choice | None = None) -> DataSet:
        """The run's own data set, or another that fits its network.

        Raises:
            UsageError: The pictures have another size, or the labels other names.
        """
        data = load_data(choice or self.config.data, registry)
        if tuple(data.shape) != self.shape or data.classes != self.classes:
            raise UsageError(
                f"data set {data.name!r} does not fit the run",
                where=str(self.folder),
                why=f"it has pictures of shape {data.shape} and labels {', '.join(data.classes)}; "
                f"the network learned {self.shape} and {', '.join(self.classes)}",
                fix="choose a data set of the same kind",
            )
        return data

    def score(self, data: DataSet, split: str) -> dict[str, Any]:
        """Score a split.

        Returns:
            ``split, n, top1, balanced_accuracy, one_vs_rest_accuracy``; ``top1_without_duplicates``, leaving out the
            ``n - n_without_duplicates`` rows whose pixels also occur in an earlier split; ``recalls`` by class;
            ``confusion``, rows by label, columns by prediction.

        Raises:
            DataError: There is no such split.
        """
        pictures = data.split(split)
        scores = self.predictor.scores(pictures)
        fresh = ~seen_before(data, split)
        return {
            "split": split,
            "n": len(pictures),
            "top1": scores.top1,
            "balanced_accuracy": scores.balanced_accuracy,
            "one_vs_rest_accuracy": scores.one_vs_rest_accuracy,
            "top1_without_duplicates": scores.only(fresh).top1 if bool(fresh.any()) else None,
            "n_without_duplicates": int(fresh.sum()),
            "loss": scores.loss,
            "recalls": dict(zip(self.classes, scores.recalls.tolist(), strict=True)),
            "confusion": scores.confusion.tolist(),
        }
