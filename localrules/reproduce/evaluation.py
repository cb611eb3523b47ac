"""What every experiment with rows shows, whatever else it shows: all that an evaluation says of them."""

from __future__ import annotations

from localrules.evaluation.comparison_plots import (
    CAPTION,
    CONFUSIONS_CAPTION,
    RECALLS_CAPTION,
    RELIABILITY_CAPTION,
    plot_confusions,
    plot_recalls,
    plot_reliability,
    score_table,
)
from localrules.evaluation.metric import metric_entries
from localrules.reproduce.artifacts import ArtifactWriter
from localrules.reproduce.ranking import ranking_sentences
from localrules.utils.plotting import save_figure


def write_evaluation(exhibition: ArtifactWriter) -> None:
    """How rows stand; tables of all figures and of the classes' recalls; confusion and calibration as pictures."""
    for text in ranking_sentences(exhibition.outcomes):
        exhibition.text(text)
    scored = {outcome.case.name: outcome.scores for outcome in exhibition.outcomes if outcome.scores}
    if not scored:
        return
    exhibition.table("evaluation", CAPTION, *score_table(scored, metric_entries(exhibition.registry)))
    exhibition.table("recalls", RECALLS_CAPTION, *plot_recalls(scored))
    exhibition.plot("confusion", CONFUSIONS_CAPTION, lambda path: save_figure(plot_confusions(scored), path))
    exhibition.plot("calibration", RELIABILITY_CAPTION, lambda path: save_figure(plot_reliability(scored), path))
