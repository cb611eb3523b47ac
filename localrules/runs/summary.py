"""The end of a run: what it came to, in metrics and in images."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from localrules.callbacks.base import RunInfo
from localrules.engine.inference import subsample
from localrules.engine.profiling import process_peak_mib
from localrules.engine.scores import Scores
from localrules.engine.session import Session
from localrules.engine.trainer import Trainer
from localrules.engine.weights_file import weights_sha256
from localrules.runs.evaluate import find_leaks, is_implausible


class FinalScores(NamedTuple):
    """The scores of the last weights.

    Attributes:
        split: The name of the split: valid, or train where there is no valid split.
        scores: Of the whole valid split, or of an even subset of the training split.
        size: Samples of the split.
    """

    split: str
    scores: Scores
    size: int

    @property
    def images(self) -> str:
        """The images that were scored, for plots."""
        scored = len(self.scores.labels)
        evenly = "" if scored == self.size else f" {self.size:,}, evenly drawn"
        return f"{scored:,}{' of' if evenly else ''}{evenly} images of the {self.split} split"


def score(session: Session, valid_scores: Scores | None = None) -> FinalScores:
    """Score the last weights in eval mode, without augmentation.

    Args:
        session: The run.
        valid_scores: Those of the valid split, where they are known.
    """
    if valid_scores is not None:
        return FinalScores("valid", valid_scores, len(session.data.splits["valid"]))
    name = "valid" if "valid" in session.data.splits else "train"
    split = session.data.splits[name]
    indices = subsample(split) if name == "train" else None
    return FinalScores(name, session.predictor.scores(split, indices), len(split))


def summarize(
    session: Session, trainer: Trainer, folder: Path, info: RunInfo, scored: FinalScores | None
) -> dict[str, Any]:
    """A run's metrics, as ``run --json`` prints and ``summary.json`` keeps them; without scores those of a stopped run.

    Accuracies are those of the last weights, in eval mode, without augmentation; a stopped run has none yet. Where the
    valid accuracy is too good to be true, and only there, ``leak_check`` has what was found when these were looked
    for among the training samples.
    """
    config, splits = session.config, session.data.splits
    train, valid = splits["train"], splits.get("valid")
    stopped = scored is None
    by_split = {scored.split: scored.scores} if scored is not None else {}
    if scored is not None and scored.split != "train":
        by_split["train"] = session.predictor.scores(train, subsample(train))
    step_seconds = trainer.timer.step_seconds
    summary: dict[str, Any] = {
        "status": "stopped" if stopped else "done",
        "stop_reason": trainer.stop_reason,
        "run_dir": str(folder),
        "rule": config.rule.name,
        "model": config.model.name,
        "data": config.data.name,
        "seed": config.seed,
        "threads": config.threads,
        "devices": config.devices,
        "parallel": None if config.devices == 1 else "layers" if config.stage_count > 1 else "data",
        "stages": config.stage_count if config.stage_count > 1 else None,
        "stage_seconds": trainer.stage_seconds,
        "bubble_fraction": trainer.bubble_fraction,
        "steps": trainer.step,
        "epochs": trainer.step / session.batches.steps_per_epoch,
        "parameters": session.parameter_count,
        "train_accuracy": by_split["train"].top1 if "train" in by_split else None,
        "valid_accuracy": by_split["valid"].top1 if "valid" in by_split else None,
        "majority_share": float((valid or train).labels.bincount().max() / len(valid or train)),
        "seconds": trainer.seconds,
        "step_seconds": step_seconds,
        "samples_per_second": config.batch_size / step_seconds if step_seconds else None,
        "peak_memory_mib": trainer.peak_memory_mib,
        "process_peak_mib": process_peak_mib(),
        "resumed_from_step": info.resumed_from_step,
        "weights_sha256": weights_sha256(session.network),
    }
    if "valid" in by_split and is_implausible(session.data, by_split["valid"].top1):
        summary["leak_check"] = find_leaks(session.data, "valid", train, by_split["valid"])
    return summary
