"""How rows stand to each other, in a sentence beside what was claimed: figures alone, and no more than they say."""

from __future__ import annotations

from collections.abc import Sequence

from localrules.reproduce.result import CaseResult


def ranking_sentences(outcomes: Sequence[CaseResult]) -> list[str]:
    """A sentence for the rows on one data set: best first, how far they are apart, and how far a row's own seeds."""
    on: dict[str, list[CaseResult]] = {}
    for outcome in outcomes:
        on.setdefault(outcome.on.get("data", ""), []).append(outcome)
    return [text for data, rows in on.items() if (text := _sentence(data, rows))]


def _sentence(data: str, rows: Sequence[CaseResult]) -> str:
    found = [(value, row) for row in rows if (value := row.scored_mean("top1")) is not None]
    if not found:
        return ""
    found.sort(key=lambda pair: -pair[0])  # rows of equal figures stay in the table's order
    split = found[0][1].scores[0]["split"]
    lengths = " or ".join(dict.fromkeys(str(row.budget) for _, row in found))
    order = ", ".join(f"{row.case.name} {value:.1f} %" for value, row in found)
    without = [f"{row.case.name}: {row.verdict}" for row in rows if not row.scores]
    parts = [f"Top-1 on the {split} split of {data} after {lengths}: {order}", *without]
    if len(found) > 1:
        parts.append(f"{found[0][0] - found[-1][0]:.1f} points from the first to the last")
    return "; ".join([*parts, _seeds([row for _, row in found])]) + "."


def _seeds(rows: Sequence[CaseResult]) -> str:
    spreads = [100 * (max(tops) - min(tops)) for row in rows if len(tops := [one["top1"] for one in row.scores]) > 1]
    if not spreads:
        return "of one seed each, so how much of that is chance is not known"
    return f"seeds of one row are up to {max(spreads):.1f} points apart"
