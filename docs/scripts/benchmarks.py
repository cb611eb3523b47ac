"""Tables of measured runs, from the CSVs in ``docs/benchmarks/measured/`` and ``docs/paper/``."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from localrules.registry.registry import Registry
from localrules.reproduce.registry import select_experiments

DOCS = Path(__file__).resolve().parents[1]
RUNS = DOCS / "benchmarks" / "measured" / "one-network.csv"
COSTS = DOCS / "benchmarks" / "measured" / "cost-of-a-step.csv"
PUBLISHED = DOCS / "benchmarks" / "measured" / "published.csv"


def _rows(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def one_run(rule: str) -> Iterator[str]:
    """A rule's run beside its control, and its curves."""
    rows = _rows(RUNS)
    (own,) = (row for row in rows if row["rule"] == rule and row["shown"] == "yes")
    (control,) = (row for row in rows if row["rule"] == "backprop" and row["model"] == own["model"])
    other = "" if rule == "backprop" else f", where `backprop` reached {float(control['valid_accuracy']):.3f}"
    yield f"`{own['model']}` on `faces`, three epochs, seed 0, with the rule's own defaults: valid accuracy"
    yield f"**{float(own['valid_accuracy']):.3f}**{other} ([all rules](../benchmarks/measured.md))."
    yield ""
    yield f"![Loss, accuracy and objectives of {rule}](../images/rules/{rule}.png)"
    yield ""
    for cost in (row for row in _rows(COSTS) if row["rule"] == rule != "backprop"):
        low, high = float(cost["low"]), float(cost["high"])
        yield "A step on `mlp` (3 x 1024, images of 28 x 28, batch 128, one thread, the rule's own defaults) takes"
        yield f"**{float(cost['ratio']):.2f}** of `backprop`'s time (95 % interval {low:.2f} to {high:.2f}) and"
        how = "([how that was measured](../benchmarks/measured.md#all-rules-on-one-network))"
        yield f"{float(cost['memory_ratio']):.2f} of its memory {how}."
        yield ""


def all_runs() -> Iterator[str]:
    """Every rule on one network: accuracy, and what a step costs."""
    costs = {row["rule"]: row for row in _rows(COSTS)}
    yield from (
        "| rule | class | network | valid accuracy | step, to `backprop` | memory, to `backprop` |",
        "|---|---|---|---|---|---|",
    )
    rows = _rows(RUNS)
    rows.sort(key=lambda row: (row["model"] != "mlp", -float(row["valid_accuracy"])))
    for row in rows:
        name, cost = row["rule"], costs.get(row["rule"]) if row["model"] == "mlp" else None
        step = f"{float(cost['ratio']):.2f} ({float(cost['low']):.2f} to {float(cost['high']):.2f})" if cost else ""
        memory = f"{float(cost['memory_ratio']):.2f}" if cost else ""
        accuracy = f"{float(row['valid_accuracy']):.3f}"
        yield f"| [`{name}`](../rules/{name}.md) | {row['class']} | `{row['model']}` | {accuracy} | {step} | {memory} |"
    yield ""


@cache
def _rule_of() -> dict[str, str]:
    """By which rule each row of the suite is run, as the experiments themselves configure it."""
    registry = Registry.load(allow=[])
    return {
        f"{name.removeprefix('published-')}: {row.name}": row.settings["rule"]["name"]
        for name, experiment in select_experiments("published", registry).items()
        for row in experiment.cases
    }


def published(rule: str | None = None) -> Iterator[str]:
    """Published results beside ours, of all rules or of one."""
    rows = _rows(PUBLISHED)
    if unknown := [row["row"] for row in rows if row["row"] not in _rule_of()]:
        raise ValueError(f"no experiment of the suite has the rows {unknown} of {PUBLISHED.name}")
    rows = [row for row in rows if rule in (None, _rule_of()[row["row"]])]
    if rule is not None and not rows:
        yield "No row of the suite [`published`](../guides/reproduce.md) is run with this rule."
        if any(row["row"].startswith(f"{rule}: ") for row in _rows(PUBLISHED)):
            yield "Rows whose experiment has its name are run with another: the first word names the experiment."
        yield ""
        return
    if rule is not None:
        how = "([what differs, and the commands](../benchmarks/measured.md#published-results))"
        yield f"Run again here, test accuracy in percent {how}:"
        yield ""
    yield from (
        "| row | budget | published | ours | seeds | difference | verdict |",
        "|---|---|---|---|---|---|---|",
    )
    for row in rows:
        ours = f"{row['ours']} ({row['range']})" if row["range"] else row["ours"]
        cells = (
            row["row"],
            row["budget"],
            row["published"],
            ours,
            row["seed_count"],
            row["difference"],
            row["verdict"],
        )
        yield f"| {' | '.join(cells)} |"
    yield ""


def table(file: str) -> Iterator[str]:
    """A CSV below ``docs/`` as it is; columns of numbers at the right."""
    with (DOCS / file).open(encoding="utf-8", newline="") as lines:
        head, *rows = csv.reader(lines)
    numeric = [
        not any(row[column].strip("+-").replace(".", "", 1).strip("0123456789") for row in rows)
        for column in range(len(head))
    ]
    yield f"| {' | '.join(head)} |"
    yield f"|{'|'.join('---:' if number and column else '---' for column, number in enumerate(numeric))}|"
    yield from (f"| {' | '.join(row)} |" for row in rows)
    yield ""
