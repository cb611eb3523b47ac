"""What every experiment with rows shows, whatever else it shows: all that an evaluation says of them."""

from __future__ import annotations

from localrules.evaluation.together import (
    CAPTION,
    CONFUSIONS_CAPTION,
    RECALLS_CAPTION,
    RELIABILITY_CAPTION,
    confusions,
    recalls,
    reliability,
    table,
)
from localrules.reproduce.exhibition import Exhibition
from localrules.reproduce.standing import standing
from localrules.tracking.figures import save


def show_evaluation(exhibition: Exhibition) -> None:
    """How rows stand; tables of all figures and of the classes' recalls; confusion and calibration as pictures."""
    for text in standing(exhibition.outcomes):
        exhibition.sentence(text)
    scored = {outcome.row.name: outcome.scores for outcome in exhibition.outcomes if outcome.scores}
    if not scored:
        return
    exhibition.table("evaluation", CAPTION, *table(scored))
    exhibition.table("recalls", RECALLS_CAPTION, *recalls(scored))
    exhibition.picture("confusion", CONFUSIONS_CAPTION, lambda path: save(confusions(scored), path))
    exhibition.picture("calibration", RELIABILITY_CAPTION, lambda path: save(reliability(scored), path))
