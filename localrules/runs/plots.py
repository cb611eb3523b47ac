"""The plots of a run that is done. Matplotlib comes with this module, which a run without plots does not import."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from localrules.auditing.in_run import InRunAudit
from localrules.callbacks.base import Plot
from localrules.engine.inference import subsample
from localrules.engine.rule_border import rule_border
from localrules.engine.session import Session
from localrules.runs.summary import FinalScores
from localrules.tracking.plots.curves import plot_confusion, plot_curves
from localrules.tracking.plots.dependence_matrix import plot_dependence
from localrules.tracking.plots.diagnostics import plot_diagnostics
from localrules.tracking.plots.sheets import plot_feature_maps, plot_filters, plot_samples
from localrules.tracking.run_folder import METRICS
from localrules.utils.plotting import save_figure

SHOWN_SAMPLES = 40


def save_plots(session: Session, folder: Path, scored: FinalScores) -> list[Plot]:
    """Draw what was learned: curves, confusion, first filters, feature maps, a sheet of samples with predictions."""
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
