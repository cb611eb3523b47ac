"""The league's tables, from the rows in ``docs/benchmarks/measured/league/``."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

from localrules.registry.registry import Registry
from localrules.reproduce.league.row import Row, load_rows
from localrules.reproduce.registry import find_league

ROWS = Path(__file__).resolve().parents[1] / "benchmarks" / "measured" / "league"


def rows_of(ground: str) -> list[Row]:
    """The rows of a ground, best first; rules that cannot run come last."""
    return [row for row in load_rows(ROWS) if row.ground == ground]


def league_table(ground: str) -> Iterator[str]:
    """Every rule on a ground, and which rules are missing."""
    rows = rows_of(ground)
    yield (
        "| | rule | class | accuracy | seeds | steps | step, to `backprop` | memory, to `backprop` | parameters "
        "| chosen |"
    )
    yield "|---:|---|---|---:|---:|---:|---:|---:|---:|---|"
    for place, row in enumerate([row for row in rows if row.accuracies], 1):
        assert row.accuracy_mean is not None
        spread = "" if row.accuracy_std is None else f" ± {100 * row.accuracy_std:.2f}"
        options = ", ".join([f"lr {row.lr:g}", *(f"{name} {value}" for name, value in row.options.items())])
        cells = (
            str(place),
            f"[`{row.rule}`](../rules/{row.rule}.md)",
            row.class_text,
            f"{100 * row.accuracy_mean:.2f}{spread}",
            str(len(row.accuracies)),
            f"{row.steps:,}",
            f"{row.step_ratio:.2f}",
            f"{row.memory_ratio:.2f}",
            f"{row.parameters:,}",
            options,
        )
        yield f"| {' | '.join(cells)} |"
    yield ""
    for row in rows:
        if row.reason:
            yield f"- `{row.rule}`: {row.reason}."
    registry = Registry.load(allow=[])
    missing = sorted({entry.entry.name for entry in registry.entries("rule")} - {row.rule for row in rows})
    if missing:
        yield f"- Not run yet: {', '.join(f'`{rule}`' for rule in missing)}."
    yield ""


def league_commands(ground: str) -> Iterator[str]:
    """Commands that repeat the first run of each row; the settings that all rows share come first."""
    rows = [row for row in rows_of(ground) if row.command]
    words = [_settings(row.command) for row in rows]
    shared = [setting for setting in words[0] if all(setting in other for other in words)] if words else []
    yield "<!-- not run: it needs the data set, and minutes -->"
    yield "```bash"
    yield f"localrules run {' '.join(shared)} --data-path PATH"
    yield "```"
    yield ""
    yield "```text"
    yield from (" ".join(setting for setting in each if setting not in shared) for each in words)
    yield "```"
    yield ""


def _settings(command: str) -> list[str]:
    """The options of a command, each with its value."""
    words = [shlex.quote(word) for word in shlex.split(command)[2:]]
    return [f"{flag} {value}" for flag, value in zip(words[::2], words[1::2], strict=True)]


def league_protocol() -> Iterator[str]:
    """The lengths of runs and trials."""
    league = find_league("league", Registry.load(allow=[]))
    assert league is not None
    yield "| ground | network | steps of `backprop` in a run | in a trial |"
    yield "|---|---|---:|---:|"
    for ground in league.grounds:
        model = dict(ground.settings["model"])
        options = ", ".join(f"{name} {value}" for name, value in model.items() if name != "name")
        yield f"| {ground.name} | `{model['name']}` ({options}) | {ground.steps:,} | {ground.trial_steps:,} |"
    yield ""
