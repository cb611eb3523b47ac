"""A trained network, written for other programs, read back, and compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from localrules.engine.checkpoint import settings_sha256, steps_of_weights
from localrules.engine.environment import package_version
from localrules.engine.exported_weights import exported_record, is_export
from localrules.engine.resolve import resolve_config
from localrules.engine.weights_file import state_sha256, weights_sha256
from localrules.errors import LocalRulesError, UsageError, describe_exception, shorten, warn
from localrules.exporting.formats import ExportContext, ExportFormat, find_format
from localrules.exporting.push import check_push, push
from localrules.exporting.target import is_written, new_folder, write_record
from localrules.exporting.traced import INPUT, OUTPUT
from localrules.runs.load import TrainedRun, load_run, read_run
from localrules.runs.reference import locate_run
from localrules.tracking.records import read_summary
from localrules.utils.torch_utils import preserve_global_state

if TYPE_CHECKING:
    from localrules.registry.registry import Registry
    from localrules.runs.result import RunResult

_BATCHES = (1, 3, 8)  # images of random pixels on which both are compared, beside plain and dark ones (ours)
_IDENTITY = ("format", "weights_sha256", "rule_sha256", "settings_sha256", "done", "license", "half", "notes")
_TRAINING = ("done", "steps", "train_accuracy", "valid_accuracy")


@dataclass(frozen=True)
class ExportResult:
    """An export that was written and compared.

    Attributes:
        path: The folder, absolute.
        format: ``onnx``, ``torch`` or ``hub``.
        max_abs_difference: The largest difference of a probability from the run's own, as measured.
        url: The repository that it was uploaded to, if it was.
    """

    path: Path
    format: str
    max_abs_difference: float
    url: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """As ``export --json`` prints it."""
        found = {"path": str(self.path), "format": self.format, "max_abs_difference": self.max_abs_difference}
        return found if self.url is None else {**found, "url": self.url}


def export(
    run: str | Path | RunResult | TrainedRun,
    format: str,
    out: str | Path,
    *,
    license: str = "",
    half: bool = False,
    notes: str = "",
    push_to: str | None = None,
    plugins: Registry | Sequence[str | Path] = (),
) -> ExportResult:
    """Write the network of a run for other programs, with its last weights.

    ``onnx`` and ``torch`` hold the run's whole prediction in float32: from ``images``, in [0, 1], shape (batch,
    channels, height, width), to ``probabilities``, shape (batch, classes). Normalisation, votes of layers and flips,
    where the run has them, are inside. ``hub`` is a folder that :func:`localrules.load_run` reads. What was written is
    read back and compared with the run on random images before it takes its place. A run that is not done is exported
    with a warning, as it is in its last checkpoint.

    Args:
        run: The run folder, the result of :func:`localrules.train`, or a run that is loaded.
        format: ``onnx``, ``torch`` or ``hub``.
        out: The folder; it may hold the same export already, which is then compared and kept.
        license: The licence of the weights, for the model card: an identifier such as ``apache-2.0``.
        half: Store the parameters of a ``hub`` folder as float16, in half the space; they are read as float32.
        notes: Markdown that is added to the model card of a ``hub`` folder, such as the limits of its use.
        push_to: A repository on the Hugging Face Hub, ``USER/NAME``, to which a ``hub`` folder is uploaded.
        plugins: As for :func:`localrules.load_run`, with a folder; a result and a loaded run have their own.

    Raises:
        UsageError: The run cannot be loaded, its prediction has no such form, a package is missing, or the folder
            holds something else. Nothing is written then.
        LocalRulesError: What was written predicts something else, or cannot be uploaded.
    """
    kind = find_format(format, half=half)
    kind.check()
    if notes and format != "hub":
        raise UsageError(
            "only a hub folder has a model card", where="--notes", why=f"the format is {format}", fix="add --format hub"
        )
    if push_to is not None:
        if format != "hub":
            raise UsageError(
                "only a hub folder is uploaded", where="--push", why=f"the format is {format}", fix="add --format hub"
            )
        check_push(push_to)
    target = Path(out).expanduser().absolute()
    source, registry = locate_run(run, plugins)
    with preserve_global_state():
        loaded = kind.prepare(load_run(source, device="cpu", plugins=registry))
        if isinstance(run, TrainedRun) and not run.has_weights_of(loaded):
            raise UsageError(
                "the weights of the loaded run are not those of its folder",
                where=str(run.folder),
                why="they were changed after they were loaded, and the folder's are exported",
                fix="export the folder, or save the changed network by torch.save(run.model.state_dict(), FILE)",
            )
        facts = {**_facts(loaded, kind, license), "half": half, "notes": notes}
        if facts["done"] is False:
            steps = "" if facts["steps"] is None else f" after step {facts['steps']}"
            warn(f"the run in {source} is not done: its weights{steps} are exported")
        context = ExportContext(facts, license=license, repository=push_to or "", name=target.name, notes=notes)
        identity = {name: facts[name] for name in _IDENTITY}
        if identity["done"] is None:  # of an export that does not say
            del identity["done"]
        if is_written(target, identity):
            difference = _compared(loaded, kind, target)
        else:
            with new_folder(target) as folder:
                kind.write(loaded, folder, context)
                difference = _compared(loaded, kind, folder)
                write_record(folder, {**facts, "max_abs_difference": difference})
    url = None if push_to is None else push(target, push_to)
    return ExportResult(target, format, difference, url)


def _facts(run: TrainedRun, kind: ExportFormat, license: str) -> dict[str, Any]:
    """The content of ``export.json``, but for the difference."""
    config, trained_on = run.config, read_run(run.folder)[1]["trained_on"]
    network, rule = run.predictor.network, run.predictor.rule
    weights = weights_sha256(network)
    return {
        "format": kind.name,
        "rule": config.rule.name,
        "locality": resolve_config(config, run.registry, network_only=True).locality,
        "model": config.model.name,
        "data": config.data.name,
        "classes": list(run.classes),
        "input": f"{INPUT}: float32 in [0, 1], shape (batch, {', '.join(map(str, run.shape))})",
        "output": f"{OUTPUT}: float32, shape (batch, {len(run.classes)})",
        **_training(run.folder, weights),
        "license": license,
        "weights_sha256": weights,
        "rule_sha256": state_sha256(rule),
        "settings_sha256": settings_sha256(config.to_dict(), trained_on),
        "localrules": package_version("localrules"),
        "torch": torch.__version__,
    }


def _training(folder: Path, weights: str) -> dict[str, Any]:
    """The end of the training: whether the run is done, the steps that it took, and its accuracies; ``None``: unknown.

    Args:
        folder: The run, or an export, which has kept what was known of its run.
        weights: Their hash.
    """
    if is_export(folder):
        known = exported_record(folder)
    elif summary := read_summary(folder):
        known = {**summary, "done": summary.get("status") == "done"}
    else:
        known = {"done": False, "steps": steps_of_weights(folder, weights)}
    return {name: known.get(name) for name in _TRAINING}


def _compared(run: TrainedRun, kind: ExportFormat, folder: Path) -> float:
    """The largest difference between the probabilities of what is written and of the run.

    Raises:
        LocalRulesError: It is too large.
    """
    draw = torch.Generator().manual_seed(0)
    images = [torch.randint(256, (count, *run.shape), generator=draw, dtype=torch.uint8) for count in _BATCHES]
    plain = torch.tensor([0, 128, 255], dtype=torch.uint8).view(-1, *[1] * len(run.shape)).expand(-1, *run.shape)
    images += [plain.clone(), images[-1] // 16]  # where layers may be silent
    try:
        answers = kind.predict(run, folder, images)
    except LocalRulesError:
        raise
    except Exception as error:  # of torch, of ONNX Runtime
        raise LocalRulesError(
            "the export cannot be read back",
            where=str(folder),
            why=shorten(describe_exception(error), 400),
            fix="if the folder was there before, remove it and export again",
        ) from error
    pairs = zip(answers, map(run.predictor.probabilities, images), strict=True)
    difference = max(_distance(found, expected) for found, expected in pairs)
    if not difference <= kind.tolerance:
        raise LocalRulesError(
            "the export predicts something else than the run",
            where=f"--format {kind.name}",
            why=f"a probability differs by {difference:.3g}; up to {kind.tolerance:g} is rounding",
            fix="export it in another format; if the folder was there before, remove it and export again",
        )
    return difference


def _distance(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max()) if found.shape == expected.shape else float("inf")
