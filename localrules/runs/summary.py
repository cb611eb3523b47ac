"""The end of a run: what it came to, in metrics and in images."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from localrules.auditing.in_run import InRunAudit
from localrules.callbacks.base import Plot, RunInfo
from localrules.engine.checkpoint import weights_sha256
from localrules.engine.inference import subsample
from localrules.engine.profiling import process_peak_mib
from localrules.engine.rule_border import rule_border
from localrules.engine.scores import Scores
from localrules.engine.session import Session
from localrules.engine.trainer import Trainer
from localrules.runs.evaluate import find_leaks, is_implausible
from localrules.tracking.plots.curves import plot_confusion, plot_curves
from localrules.tracking.plots.dependence_matrix import plot_dependence
from localrules.tracking.plots.diagnostics import plot_diagnostics
from localrules.tracking.plots.sheets import plot_feature_maps, plot_filters, plot_samples
from localrules.tracking.run_folder import METRICS
from localrules.utils.plotting import save_figure

SHOWN_SAMPLES = 40


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


def score(session: Session) -> FinalScores:
    """Score the last weights in eval mode, without augmentation."""
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
        "parallel": config.parallel if config.devices > 1 else None,
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


def save_plots(session: Session, folder: Path, scored: FinalScores) -> list[Plot]:
    """Draw what was learned: curves, confusion, first filters, feature maps, a sheet of samples with predictions.

    Nothing is drawn where the configuration has ``plots = false``.
    """
    if not session.config.plots:
        return []
    of = session.config.description
    of_images = f"{of}: {scored.images}"
    split = session.data.splits[scored.split]
    shown = split if (few := subsample(split, SHOWN_SAMPLES)) is None else split.subset(few)
    answers = session.predictor.scores(shown)
    counts, classes, sheet = scored.scores.confusion.numpy(), session.data.classes, folder / "samples.png"
    found = [
        Plot("curves", plot_curves(folder / METRICS, folder / "curves.png", of=of), False),
        Plot("confusion", plot_confusion(counts, classes, folder / "confusion.png", of=of_images), False),
        Plot("samples", plot_samples(shown.images, answers.labels, answers.predictions, classes, sheet, of=of), True),
    ]
    first = _first_filters(session)
    if first is not None:
        found.append(Plot("filters", plot_filters(first, folder / "filters.png", of=of), False))
    maps = _pick_layers(session.predictor.feature_maps(split.images[:1]))
    if maps:
        found.append(Plot("feature_maps", plot_feature_maps(maps, folder / "feature_maps.png", of=of), True))
    if session.config.diagnostics:
        diagnostics = plot_diagnostics(folder / METRICS, folder / "diagnostics.png", of=of)
        found.append(Plot("diagnostics", diagnostics, False))
    with rule_border(session.rule, session.network, "plots"):
        of_rule = session.rule.plots(session.network)
    for name, figure in of_rule.items():
        # Nobody knows what a rule draws: data may be seen in it.
        found.append(Plot(name, save_figure(figure, folder / f"{name}.png"), True))
    return found


def save_audit_plot(session: Session, folder: Path, audit: InRunAudit) -> Plot:
    """Draw which layers were found to depend on others."""
    layers, at = [layer.name for layer in session.network.layers], ", ".join(map(str, sorted(audit.points)))
    title, of = f"{session.config.rule.label}: {audit.measured} (steps {at})", session.config.description
    drawn = plot_dependence(layers, audit.depends, audit.upstream, title, folder / "audit.png", of=of)
    return Plot("audit", drawn, False)


def _first_filters(session: Session) -> Tensor | None:
    """The weights of the first layer that has convolutions."""
    for parameter in session.network.layers[0].module.parameters():
        if parameter.dim() == 4:
            return parameter.detach().float().cpu()
    return None


def _pick_layers(maps: dict[str, Tensor]) -> dict[str, Tensor]:
    """Those of a shallow, some middle and the last layer."""
    names = list(maps)
    chosen = [names[round(i * (len(names) - 1) / 4)] for i in range(5)] if len(names) > 5 else names
    return {name: maps[name] for name in chosen}
