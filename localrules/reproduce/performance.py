"""Experiments from their plan to the page: each row is kept as soon as it is done."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localrules.reproduce import report, results, rows
from localrules.reproduce.catalogue import found_in
from localrules.reproduce.outcome import Outcome, document
from localrules.reproduce.planning import data_asked_for, left_aside, plan

if TYPE_CHECKING:
    from localrules.engine.observers import Observer
    from localrules.plugins import Registry
    from localrules.reproduce.asked import Asked
    from localrules.reproduce.experiment import Experiment


def perform(
    experiments: dict[str, Experiment],
    asked: Asked,
    out: Path,
    registry: Registry,
    command: str,
    *,
    watchers: Callable[[], list[Observer]] = list,
    say: Callable[[str], Any] = lambda line: None,
    done: Callable[[Outcome], Any] = lambda outcome: None,
) -> tuple[list[Outcome], list[dict[str, Any]]]:
    """Run experiments, and write their tables, their pictures and the page.

    Args:
        experiments: By name.
        asked: What of them; ``below`` has all that they leave open.
        out: Where everything goes.
        registry: Where names are looked up.
        command: The line that was typed, for the page.
        watchers: Makes those who watch a run.
        say: Told in a line what happens next.
        done: Told of each row when its runs are done.

    Returns:
        What the rows came to; and what ``--json`` prints, which has a line for an experiment without rows, too.

    Raises:
        LocalRulesError: Something cannot be run, before anything has run; see :func:`plan`.
    """
    tasks = plan(experiments, asked, registry)
    outcomes: list[Outcome] = []
    documents: list[dict[str, Any]] = []
    for name, experiment in experiments.items():
        own: list[Outcome] = []
        mine = [task for task in tasks if task.experiment == name]
        for outcome in rows.carried_out(mine, out, registry, watchers, say):
            own.append(outcome)
            done(outcome)
            results.keep(outcome, out)
            report.write_page(out, found_in(out, registry), command)
        data = next((task.data for task in mine if task.data is not None), None)
        if not experiment.rows and asked.rows == "*":
            data = data_asked_for(asked, registry)
            documents.append(document(name, experiment.claim))
        if data is not None:
            # What an earlier command made of the other rows stays beside these.
            aside = rows.done_before(left_aside(name, experiment, asked, registry), out, registry)
            place = {row.name: number for number, row in enumerate(experiment.rows)}
            shown = sorted([*own, *aside], key=lambda outcome: place[outcome.row.name])
            rows.exhibit(name, experiment, shown, data, out, registry)
            report.write_page(out, found_in(out, registry), command)
        outcomes += own
        documents += [line for outcome in own for line in outcome.documents()]
    return outcomes, documents
