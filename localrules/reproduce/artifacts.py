"""Images and tables of an experiment: files of its folder, and in this order on the page."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from localrules.reports.charts import charts_to_json
from localrules.utils.atomic_io import write_atomic
from localrules.utils.text import joined

if TYPE_CHECKING:
    from localrules.data.dataset import Dataset
    from localrules.registry.registry import Registry
    from localrules.reports.charts import Chart
    from localrules.reproduce.result import CaseResult

ARTIFACTS = "artifacts.json"


@dataclass(frozen=True)
class Artifact:
    """One image or table, or a sentence.

    Attributes:
        file: A PNG or CSV in the experiment's folder, or the charts of a JSON file; empty of a sentence, which is its
            caption.
        caption: What it shows, and of which runs.
        private: Whether it shows images that may not be passed on.
    """

    file: str
    caption: str
    private: bool = False


class ArtifactWriter:
    """The argument of an experiment's ``report``: results of its runs, and methods to add plots and tables.

    Attributes:
        outcomes: Its cases, done.
        data: The data set of its cases; of an experiment without cases, the one that was asked for.
        registry: Where names are looked up.
    """

    def __init__(self, folder: Path, outcomes: Sequence[CaseResult], data: Dataset, registry: Registry) -> None:
        self.outcomes, self.data, self.registry = tuple(outcomes), data, registry
        self._folder = folder
        self._artifacts: list[Artifact] = []
        folder.mkdir(parents=True, exist_ok=True)

    def plot(self, name: str, caption: str, draw: Callable[[Path], object], *, shows_data: bool = False) -> None:
        """Add an image.

        Args:
            name: Of the file, without its ending.
            caption: What it shows.
            draw: Writes the PNG file whose path it is given.
            shows_data: Whether images of the data set can be seen in it.
        """
        draw(self._folder / f"{name}.png")
        self._add(Artifact(f"{name}.png", caption, shows_data and not self.data.redistributable))

    def charts(self, name: str, caption: str, charts: Sequence[Chart]) -> None:
        """Add charts, which follow the page's width and colours.

        Args:
            name: Of the file, without its ending.
            caption: What they show.
            charts: See :mod:`localrules.reports.charts`.
        """
        write_atomic(self._folder / f"{name}.json", charts_to_json(charts) + "\n")
        self._add(Artifact(f"{name}.json", caption))

    def table(
        self,
        name: str,
        caption: str,
        head: Sequence[str],
        rows: Sequence[Sequence[object]],
        *,
        shown: bool = True,
        shows_data: bool = False,
    ) -> None:
        """Add a table.

        Args:
            name: Of the file, without its ending.
            caption: What it holds.
            head: The columns' names.
            rows: A value for each column; ``None`` for what is not known.
            shown: Whether it is on the page too, and not only a file: the numbers behind an image need not be.
            shows_data: Whether images of the data set, or parts of them, are in it as numbers.
        """
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(head)
        table.writerows(["" if value is None else value for value in row] for row in rows)
        write_atomic(self._folder / f"{name}.csv", text.getvalue())
        if shown:
            self._add(Artifact(f"{name}.csv", caption, shows_data and not self.data.redistributable))

    def text(self, text: str) -> None:
        """Say in a sentence what was measured, to stand beside the claim.

        Args:
            text: Metrics, and of what they are.
        """
        self._artifacts.append(Artifact("", text))

    def close(self) -> None:
        """Keep what was added for the page; what an earlier command had added is taken down."""
        text = json.dumps([asdict(artifact) for artifact in self._artifacts], indent=2)
        write_atomic(self._folder / ARTIFACTS, text + "\n")

    def _add(self, artifact: Artifact) -> None:
        ran = [outcome for outcome in self.outcomes if outcome.on]
        on = " and ".join(dict.fromkeys(f"{one.on.get('model', '')} on {one.on['data']}" for one in ran))
        seeds = sorted({run.config.seed for one in self.outcomes for run in one.runs})
        lengths = "; ".join(dict.fromkeys(str(outcome.budget) for outcome in self.outcomes))
        which = f"seed{'s'[: len(seeds) != 1]} {joined(map(str, seeds))}" if seeds else ""
        of = ", ".join(part for part in (on or self.data.name, which, lengths) if part)
        self._artifacts.append(Artifact(artifact.file, f"{artifact.caption} ({of})", artifact.private))


def read_artifacts(folder: Path) -> list[Artifact]:
    """The artifacts in an experiment's folder; none if it was never reported."""
    path = folder / ARTIFACTS
    return [Artifact(**kept) for kept in json.loads(path.read_text(encoding="utf-8"))] if path.exists() else []
