"""A finished run, scored on a split: metrics, doubts and images."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from localrules.engine.device import set_deterministic
from localrules.errors import LocalRulesError, UsageError
from localrules.evaluation.leakage import LeakMask, check_leakage
from localrules.evaluation.metric import MetricFiles, build_metrics, compute_metric, metric_entries
from localrules.evaluation.metrics import Calibration, compute_metrics
from localrules.evaluation.predictions import write_predictions
from localrules.runs.load import TrainedRun, load_run, read_run
from localrules.runs.reference import locate_run
from localrules.utils.atomic_io import write_atomic
from localrules.utils.serialization import without_nonfinite
from localrules.utils.torch_utils import preserve_global_state

if TYPE_CHECKING:
    from localrules.data.dataset import Dataset, Split
    from localrules.engine.scores import Scores
    from localrules.registry.registry import Registry
    from localrules.runs.result import RunResult

NO_METRICS: MetricFiles = MappingProxyType({})
FOLDER = "evaluation"
SCORES = "scores.json"
PREDICTIONS = "predictions.csv"


def evaluate(
    run: str | Path | RunResult | TrainedRun,
    split: str = "valid",
    *,
    data: str | Mapping[str, Any] | None = None,
    flip: bool | None = None,
    metrics: MetricFiles = NO_METRICS,
    leak_check: bool = False,
    out: str | Path | None = None,
    device: str | None = None,
    plugins: Registry | Sequence[str | Path] = (),
) -> dict[str, Any]:
    """Score the last weights of a run on a split, and write the scores and plots into the run folder.

    Args:
        run: The run folder, the result of :func:`localrules.train`, or a run that is loaded.
        split: ``train``, ``valid`` or ``test``.
        data: Another data set, by name or as a mapping with ``name`` and options; a mapping without a name changes
            options of the run's own, e.g. ``{"path": "moved.csv"}``.
        flip: Average each image's probabilities with those of its flip; as the run has it if ``None``.
        metrics: Files of the metrics of plugins to compute, by name.
        leak_check: Look for the scored images among the training images whatever the score.
        out: The folder for scores and plots; as for :func:`evaluate_run` if ``None``.
        device, plugins: As for :func:`localrules.load_run`; a loaded run has its own.

    Returns:
        What :func:`evaluate_run` returns: ``top1``, ``balanced_accuracy``, ``n`` and so on.

    Raises:
        UsageError: The folder is not a run folder, the data set does not fit the run, the weights of a loaded run
            were changed and ``out`` is not given, or a device or plugins are given with a loaded run.
        DataError: There is no such split.
    """
    if isinstance(run, TrainedRun):
        loaded = run
        _check_loaded(run, device, plugins, own_scores=out is None)
    else:
        loaded = load_run(run, device=device, plugins=plugins)
    with preserve_global_state():
        set_deterministic(loaded.config.threads, loaded.predictor.device.device)
        choice = None
        if data is not None:
            asked = {"name": data} if isinstance(data, str) else dict(data)
            own = loaded.config.data
            options = own.options if asked.get("name", own.name) == own.name else {}
            choice = {"name": own.name, **options, **asked}
        # What the run held out is a part of its own data set: of another one the splits are the source's.
        another = isinstance(data, str) or (data is not None and "name" in data)
        scored = loaded.data(choice, held_out=not another)
        if (loaded.predictor.flip if flip is None else flip) and not scored.flip_preserves_label:
            warnings.warn(
                f"the flip of an image of {scored.name} need not have its label: averaging over both may do harm",
                stacklevel=2,
            )
        return evaluate_run(
            loaded,
            scored,
            split,
            flip=flip,
            metrics=metrics,
            leak_check=leak_check,
            out=None if out is None else Path(out),
        )


def _check_loaded(
    run: TrainedRun, device: str | None, plugins: Registry | Sequence[str | Path], *, own_scores: bool
) -> None:
    """Refuse a loaded run with another device or plugins, or changed weights whose scores would replace the folder's.

    Raises:
        UsageError: It says which.
    """
    folder, registry = locate_run(run, plugins)
    if device is not None:
        raise UsageError(
            "a device is given with a loaded run",
            where=f"device={device!r}",
            why=f"it is on a device already, {run.predictor.device.device}",
            fix=f"give the device to load_run, or name the run by its folder: {str(folder)!r}",
        )
    if own_scores and not run.has_weights_of(load_run(folder, plugins=registry)):
        raise UsageError(
            "the weights of the loaded run are not those of its folder",
            where=str(folder),
            why="they were changed after they were loaded, and the folder's scores are those of its own weights",
            fix="give another folder for the scores: out=...",
        )


def evaluate_run(
    run: TrainedRun,
    data: Dataset,
    split: str,
    *,
    flip: bool | None = None,
    metrics: MetricFiles = NO_METRICS,
    leak_check: bool = False,
    out: Path | None = None,
) -> dict[str, Any]:
    """Score a run, draw its confusion matrix and calibration, and look for leaks where the score is too good.

    Args:
        run: The run.
        data: What to score it on.
        split: Which split.
        flip: Average each image's probabilities with those of its flipped image; as the run has it if ``None``.
        metrics: The files of plugins' metrics to compute, by name.
        leak_check: Look for leaks whatever the score.
        out: Where images and metrics go; ``None``: ``evaluation/<data>-<split>/`` in the run folder. Behind it stand
            eight digits of the data's fingerprint where they are not what the run was trained on, and ``-flip`` or
            ``-no-flip`` where that is not as the run has it.

    Returns:
        What :func:`~localrules.evaluation.metrics.compute_metrics` lists, and ``data, device, flip``; each metric of
        a plugin, and ``leak_check``, ``None`` where there is none; ``plots``, paths by name. ``scores.json`` beside
        them has it all, and ``predictions.csv`` a row for each image.

    Raises:
        DataError: There is no such split, or a metric's file does not fit it.
        UsageError: Nothing can be written there.
    """
    found, scores, known = evaluate_split(run, data, split, flip=flip, metrics=metrics, leak_check=leak_check)
    found |= {"data": data.name, "device": str(run.predictor.device.device)}
    own = data.fingerprint == read_run(run.folder)[1]["trained_on"]["fingerprint"]
    others = "" if own else f"-{data.fingerprint[:8]}"
    asked = "" if flip in (None, run.predictor.flip) else "-flip" if flip else "-no-flip"
    folder = run.folder / FOLDER / f"{data.name}-{split}{others}{asked}" if out is None else out.expanduser().resolve()
    of = f"{run.config.description}: {len(scores.labels):,} images of the {split} split of {data.name}"
    _write(folder, found, scores, known, data.classes, of)
    return found


class Evaluation(NamedTuple):
    """The evaluation of a run on a split.

    Attributes:
        metrics: What :func:`~localrules.evaluation.metrics.compute_metrics` lists, with ``flip``, and with
            each metric of a plugin and ``leak_check``, ``None`` where there is none.
        scores: Of which they were found.
        leak_mask: The samples that are known from training, if they were looked for and could be.
    """

    metrics: dict[str, Any]
    scores: Scores
    leak_mask: LeakMask | None


def evaluate_split(
    run: TrainedRun,
    data: Dataset,
    split: str,
    *,
    flip: bool | None = None,
    metrics: MetricFiles = NO_METRICS,
    leak_check: bool = False,
) -> Evaluation:
    """Score a run, and look for leaks where the score is too good; the arguments are those of :func:`evaluate`.

    Raises:
        DataError: There is no such split, or a metric's file does not fit it.
    """
    built = build_metrics(metrics, data, split, run.registry)
    flip = run.predictor.flip if flip is None else flip
    scores = run.predictor.scores(data.split(split), flip=flip)
    found = compute_metrics(data, split, scores)
    found |= {"flip": flip, **dict.fromkeys(metric_entries(run.registry))}
    found |= {name: compute_metric(metric, scores) for name, metric in built.items()}
    known, found["leak_check"] = None, None
    if split != "train" and (leak_check or is_implausible(data, found["top1"])):
        known, found["leak_check"] = _leak_check(run, data, split, scores)
    return Evaluation(found, scores, known)


def is_implausible(data: Dataset, top1: float) -> bool:
    """Whether a top-1 on valid or test is above all that is published."""
    return data.max_plausible_accuracy is not None and top1 > data.max_plausible_accuracy


def find_leaks(data: Dataset, split: str, learned: Split, scores: Scores) -> dict[str, Any]:
    """The result of a leak check, with what was compared.

    Args:
        data: What was scored.
        split: Which split of it.
        learned: The training samples.
        scores: The network's answers to the split.
    """
    return _leak_report(data, LeakMask.find(data.split(split), learned), scores)


def _leak_check(run: TrainedRun, data: Dataset, split: str, scores: Scores) -> tuple[LeakMask | None, dict[str, Any]]:
    try:
        learned = run.training_split(data)
    except LocalRulesError as error:
        return None, {**_leak_context(data), "not_done": str(error)}
    known = LeakMask.find(data.split(split), learned)
    return known, _leak_report(data, known, scores)


def _leak_report(data: Dataset, known: LeakMask, scores: Scores) -> dict[str, Any]:
    return {**_leak_context(data), **check_leakage(known, scores).as_dict()}


def _leak_context(data: Dataset) -> dict[str, Any]:
    return {"max_plausible_accuracy": data.max_plausible_accuracy, "scored_on": data.origin}


def _write(
    folder: Path, found: dict[str, Any], scores: Scores, known: LeakMask | None, classes: tuple[str, ...], of: str
) -> None:
    from localrules.evaluation.plots import plot_calibration
    from localrules.tracking.plots.curves import plot_confusion

    try:
        folder.mkdir(parents=True, exist_ok=True)
        drawn = {
            "confusion": plot_confusion(scores.confusion.numpy(), classes, folder / "confusion.png", of=of),
            "calibration": plot_calibration(Calibration.of(scores), folder / "calibration.png", of=of),
        }
        found["plots"] = {name: str(path) for name, path in drawn.items()}
        write_predictions(folder / PREDICTIONS, scores, classes, known)
        write_atomic(folder / SCORES, json.dumps(without_nonfinite(found), indent=2, allow_nan=False) + "\n")
    except OSError as error:
        raise UsageError(
            "the evaluation cannot be written",
            where=str(folder),
            why=error.strerror or str(error),
            fix="name a folder that can be written with --out",
        ) from error
