"""Charts of a run: its curves, the objective of each layer, and the diagnostics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from localrules.auditing.in_run import InRunAudit
from localrules.reports.charts import Chart, HeatMap, Level, Series, XYChart
from localrules.reports.scales import Axis
from localrules.tracking.layer_metrics import KNOWN
from localrules.tracking.metrics_table import Curve, MetricsTable
from localrules.tracking.plots.dependence_matrix import MEANINGS, dependence_kinds
from localrules.utils.formatting import format_metric, percent

_STEP = Axis("step", integer=True)
_COLUMNS = 24  # of a heat map against steps: more would be too narrow to be seen


def curve_charts(table: MetricsTable, majority: float | None) -> list[XYChart]:
    """Accuracy and loss of training batches and of the valid split against steps."""
    charts = []
    levels = [] if majority is None else [Level(majority, "always the majority class")]
    for title, name, axis in (
        ("Accuracy", "accuracy", Axis("accuracy", percent=True)),
        ("Loss of the readout", "loss", Axis("cross-entropy, nats")),
    ):
        series = []
        if (train := table.curve(name)) is not None:
            smooth = train.smoothed()
            label = "training batches, running mean"
            series.append(Series(label, smooth.steps.tolist(), smooth.values.tolist(), 0, marks=False))
        if (valid := table.curve(f"valid_{name}")) is not None:
            series.append(Series("valid split", valid.steps.tolist(), valid.values.tolist(), 1))
        if series:
            charts.append(XYChart(title, _STEP, axis, series, levels if name == "accuracy" else ()))
    return charts


def objective_chart(layers: Mapping[str, Curve]) -> XYChart:
    """The change of each layer's objective since the start, as a fraction of its range; absolute values as notes."""
    series = []
    for index, (layer, curve) in enumerate(layers.items()):
        ends, change = curve.ends, curve.change()
        note = f"{format_metric(ends[0])} to {format_metric(ends[1])}" if ends else ""
        x, y = change.steps.tolist(), change.values.tolist()
        series.append(Series(layer, x, y, index, depth=_depth(index, len(layers)), note=note))
    return XYChart("Objective of each layer", _STEP, Axis("change since the start, as a fraction of its range"), series)


def diagnostic_charts(table: MetricsTable) -> list[Chart]:
    """A heat map of layers by steps for each diagnostic, with the last values; and the information plane."""
    found = table.diagnostics()
    charts: list[Chart] = []
    for name, layers in found.items():
        shown = KNOWN[name]
        axis = Axis(shown.unit, log=shown.log, percent=shown.percent)
        steps = sorted({float(step) for curve in layers.values() for step in curve.steps})
        steps = _evenly(steps, _COLUMNS)
        by_layer = [dict(zip(curve.steps.tolist(), curve.values.tolist(), strict=True)) for curve in layers.values()]
        last = [curve.ends[1] if curve.ends else None for curve in layers.values()]
        charts.append(
            HeatMap(
                shown.heading,
                [*layers],
                [f"{step:,.0f}" for step in steps],
                [[values.get(step) for step in steps] for values in by_layer],
                axis,
                x="step",
                ends=["-" if value is None else percent(value) if shown.percent else f"{value:.3g}" for value in last],
            )
        )
    if "hsic-input" in found and "hsic-labels" in found:
        charts.append(_information_plane(found["hsic-input"], found["hsic-labels"]))
    return charts


def _information_plane(given: Mapping[str, Curve], told: Mapping[str, Curve]) -> XYChart:
    """Dependence of each layer on the labels against that on the input; marks of later evaluations are larger."""
    series = []
    for index, layer in enumerate(given):
        x, y = given[layer].values.tolist(), told[layer].values.tolist()
        names = [f"{layer}, step {step:,.0f}" for step in given[layer].steps]
        sizes = [(place + 1) / len(x) / 3 for place in range(len(x))]
        depth = _depth(index, len(given))
        series.append(Series(layer, x, y, index, sizes=sizes, names=names, depth=depth))
    return XYChart("Information plane", Axis("dependence on the input, nHSIC"), Axis("on the labels, nHSIC"), series)


def dependence_chart(layers: Sequence[str], audit: InRunAudit) -> HeatMap:
    """The layers on whose parameters each layer's update was found to depend."""
    kinds = dependence_kinds(audit.depends, audit.upstream)
    return HeatMap(
        f"Measured: {audit.measured}, at steps {', '.join(map(str, sorted(audit.points)))}",
        layers,
        layers,
        [[float(kind) for kind in row] for row in kinds],
        x="whose parameters",
        y="whose update",
        categories=MEANINGS,
    )


def _depth(index: int, count: int) -> float:
    return index / max(1, count - 1)


def _evenly(items: list[float], most: int) -> list[float]:
    """At most so many of them, with the first and the last."""
    if len(items) <= most:
        return items
    return [items[round(index * (len(items) - 1) / (most - 1))] for index in range(most)]
