"""The page shows all there is, leads to the runs, and needs no network."""

from __future__ import annotations

import shlex
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest
from helpers.comparisons import RULES, run_folders

from localrules.comparison.plots import learning_curves
from localrules.comparison.results import RuleResult, group_by_config
from localrules.comparison.run_record import read_run_record
from localrules.utils.plotting import COLOURS


class Elements(HTMLParser):
    """The elements of a page, and its text."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.fixture(scope="module")
def page(done: Path) -> Elements:
    return Elements(done / "index.html")


def test_nothing_is_fetched(page: Elements) -> None:
    assert [tag for tag, _ in page.found if tag in ("script", "link", "iframe")] == []
    assert [attributes["src"][:11] for tag, attributes in page.found if tag == "img"] == 3 * ["data:image/"]


def test_each_run_is_linked_to_from_where_the_page_is(page: Elements, done: Path) -> None:
    links = [attributes["href"] for tag, attributes in page.found if tag == "a"]
    assert sorted(links) == [f"runs/{folder.name}" for folder in run_folders(done)]


def test_the_table_has_every_rule_and_every_column(page: Elements) -> None:
    head = [tag for tag, _ in page.found].count("th")
    assert head == 10 + 8 + 8 + 2  # the evaluation, the recalls, the versions
    for word in (*RULES.split(","), "to backprop", "train accuracy", "memory", "parameters"):
        assert word in page.text
    for word in ("balanced", "without duplicates", "one against rest", "calibration error", "surprise"):
        assert word in page.text


def test_it_says_how_to_do_it_again_and_on_what_it_ran(page: Elements, done: Path) -> None:
    (command,) = [text for text in page.text if text.startswith("localrules compare")]
    words = shlex.split(command)
    assert words[words.index("--rules") + 1] == RULES
    assert words[words.index("--out") + 1] == str(done)
    assert words.count("--set") == 5
    for word in ("torch", "processor", "threads", "drawn by localrules"):
        assert any(word.lower() in text.lower() for text in page.text), word


def test_curves_are_told_apart_without_colour_and_by_name(done: Path) -> None:
    results = [
        RuleResult(label, runs, None)
        for label, runs in group_by_config(map(read_run_record, run_folders(done))).items()
    ]
    left, right = learning_curves(results).axes
    for axes in (left, right):
        curves = [line for line in axes.lines if line.get_marker() not in ("None", "")]
        assert len({line.get_marker() for line in curves}) == len(results)
        assert [line.get_color() for line in curves] == list(COLOURS[: len(results)])
        assert {one.label for one in results} <= {text.get_text() for text in axes.texts}


def test_names_of_curves_that_end_together_do_not_lie_on_each_other(done: Path) -> None:
    run = read_run_record(run_folders(done)[0])
    axes = learning_curves([RuleResult(f"rule {index}", (run,), None) for index in range(5)]).axes[0]
    heights = sorted(text.xy[1] for text in axes.texts if text.get_text().startswith("rule"))
    low, high = axes.get_ylim()
    assert min(b - a for a, b in pairwise(heights)) > 0.04 * (high - low)
