"""A dashboard on W&B: a saved workspace of its own, and a report. It is written by the package wandb-workspaces."""

from __future__ import annotations

import importlib.util
from typing import Any

from localrules.errors import LocalRulesError, UsageError
from localrules.tracking.layer_metrics import HEADINGS

NAME = "localrules"
_VIEW = "nw-localrules-v"  # W&B's own names have eleven random letters between: this is nobody else's
_REPORT = "Written by `localrules dashboard wandb --report`, which replaces it."
_HEAT_MAP = "localrules-heatmap"
_TABLES = "Custom Chart Tables/{}_table"  # where wandb.plot keeps the table of a chart

HEAT_MAP: dict[str, Any] = {
    "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
    "data": {"name": "wandb"},
    "title": "${string:title}",
    "mark": {"type": "rect", "tooltip": True},
    "encoding": {
        "x": {"field": "${field:x}", "type": "ordinal", "sort": None},
        "y": {"field": "${field:y}", "type": "ordinal", "sort": None},
        "color": {"field": "${field:value}", "type": "quantitative", "scale": {"scheme": "viridis"}},
    },
}
"""A preset of W&B's custom charts, in Vega-Lite; W&B has no heat map of its own."""

Panel = dict[str, Any]


def specification() -> dict[str, Any]:
    """The dashboard: ``sections``, each with ``name`` and ``panels``, which have ``type``, ``title`` and more."""
    sections = {
        "Which rule": [
            _lines("Accuracy on valid", ["valid/accuracy"], x="epoch", by_rule=True),
            _lines("Loss on valid", ["valid/loss"], x="epoch", by_rule=True),
            _bars("Accuracy on valid at the end", "valid_accuracy"),
            _points("Accuracy against memory", "peak_memory_mib", "valid_accuracy"),
        ],
        "Where in the network": [
            *(_heat_map(title, f"charts/{name}", ("step", "layer", name)) for name, title in HEADINGS.items()),
            *(_layer_lines(title, name) for name, title in HEADINGS.items()),
            _chart("Accuracy gained by each layer", "charts/accuracy_gained", "bar", label="layer", value="gained"),
            _chart("Information plane", "charts/information_plane", "scatter", x="hsic-input", y="hsic-labels"),
        ],
        "Cost": [
            _lines("Time of a step, seconds", ["cost/step_seconds"], by_rule=True),
            _lines("Memory of the process, MiB", ["cost/memory_mib"], by_rule=True),
            _lines("Samples per second", ["cost/samples_per_second"], by_rule=True),
            _bars("Time of a step, seconds", "step_seconds"),
            _bars("Peak memory of a step, MiB", "peak_memory_mib"),
            _points("Accuracy against the time of a step", "step_seconds", "valid_accuracy"),
        ],
        "Trust": [
            _lines("Accuracy on train batches and valid", ["train/accuracy", "valid/accuracy"], x="epoch"),
            _chart(
                "Confusion matrix",
                "charts/confusion",
                "confusion_matrix",
                Actual="actual",
                Predicted="predicted",
                nPredictions="samples",
            ),
            _chart("Recall of each class", "charts/recall", "bar", label="class", value="recall"),
            _chart("Accuracy against confidence", "charts/calibration", "line", x="confidence", y="accuracy"),
            _heat_map(
                "Whose update depends on whose parameters",
                "charts/locality",
                ("parameters of", "update of", "depends"),
            ),
            {"type": "table", "title": "Predictions", "table": "charts/predictions"},
        ],
        "Images": [
            {"type": "media", "title": "Plots of the runs", "keys": [f"plots/{name}" for name in _PLOTS]},
        ],
    }
    return {"sections": [{"name": name, "panels": panels} for name, panels in sections.items()]}


_PLOTS = ("curves", "confusion", "diagnostics", "audit", "samples", "filters", "feature_maps")
_PRESETS = {"bar": "wandb/bar/v0", "scatter": "wandb/scatter/v0", "line": "wandb/line/v0"} | {
    "confusion_matrix": "wandb/confusion_matrix/v1"
}


def save_dashboard(project: str, entity: str | None, *, report: bool) -> dict[str, Any]:
    """Create or update the workspace, and the report.

    Args:
        project: Whose runs they show.
        entity: The user or team; the user's own if ``None``.
        report: Write the report, too.

    Raises:
        UsageError: The package is not installed, or the project is not there.
        LocalRulesError: W&B refuses.
    """
    if importlib.util.find_spec("wandb_workspaces") is None:
        raise UsageError(
            "wandb-workspaces is not installed",
            where="localrules dashboard wandb",
            why="it is an extra of localrules, and W&B's way to write workspaces and reports",
            fix="pip install 'localrules[dashboard]'; --dry-run works without",
        )
    import wandb

    from localrules_wandb import workspace

    try:
        api = wandb.Api()
        owner = str(entity or api.default_entity)
        _make_heat_map(api, owner)
        spec = specification()
        found: dict[str, Any] = {**spec, "url": workspace.save(spec, owner, project, NAME, _VIEW), "report_url": None}
        if report:
            found["report_url"] = workspace.save_report(api, spec, owner, project, _REPORT)
    except Exception as error:  # of W&B's client, whose errors have no common class
        raise LocalRulesError(
            "the dashboard cannot be saved on W&B",
            where=f"{entity or 'your own entity'}/{project}",
            why=f"{type(error).__name__}: {error}",
            fix="log in with 'wandb login', and name a project that you may write to",
        ) from error
    return found


def _make_heat_map(api: Any, entity: str) -> None:
    """Make the preset of the heat map, unless it is there."""
    try:
        api.create_custom_chart(entity, _HEAT_MAP, "Heat map of localrules", "vega2", "private", HEAT_MAP)
    except Exception as error:
        if "exist" not in str(error):
            raise


def _lines(title: str, metrics: list[str], *, x: str = "step", by_rule: bool = False) -> Panel:
    return {"type": "line", "title": title, "x": x, "y": metrics, "group_by": "rule.name" if by_rule else None}


def _layer_lines(title: str, name: str) -> Panel:
    return {"type": "line", "title": title, "x": "step", "regex": f"layer/.*/{name}", "y": [], "group_by": None}


def _bars(title: str, metric: str) -> Panel:
    return {"type": "bar", "title": title, "metric": metric, "group_by": "rule.name"}


def _points(title: str, x: str, y: str) -> Panel:
    return {"type": "scatter", "title": title, "x": x, "y": y}


def _chart(title: str, name: str, preset: str, **fields: str) -> Panel:
    return {
        "type": "custom",
        "title": title,
        "table": _TABLES.format(name),
        "preset": _PRESETS[preset],
        "fields": fields,
    }


def _heat_map(title: str, table: str, axes: tuple[str, str, str]) -> Panel:
    fields = dict(zip(("x", "y", "value"), axes, strict=True))
    return {"type": "custom", "title": title, "table": table, "preset": _HEAT_MAP, "fields": fields}
