"""The page shows all there is, leads to the runs, and needs no network."""

from __future__ import annotations

import re
import shlex
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from helpers.comparisons import RULES, run_folders

from localrules.comparison.charts import learning_curves
from localrules.comparison.comparison import Comparison
from localrules.comparison.results import RuleResult, SeedStats, group_by_config
from localrules.comparison.run_record import read_run_record
from localrules.utils.bootstrap import Difference


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
    assert [tag for tag, _ in page.found if tag in ("link", "iframe", "img")] == []
    assert [attributes for tag, attributes in page.found if tag == "script"] == [{}]


def test_each_run_is_linked_to_from_where_the_page_is(page: Elements, done: Path) -> None:
    links = [attributes["href"] or "" for tag, attributes in page.found if tag == "a"]
    runs = [link for link in links if not link.startswith("#")]
    assert sorted(runs) == [f"runs/{folder.name}" for folder in run_folders(done)]


def test_the_table_has_every_rule_and_every_column(page: Elements) -> None:
    head = [tag for tag, _ in page.found].count("th")
    assert head == 11 + 8 + 8 + 2  # the evaluation, the recalls, the versions
    for word in (*RULES.split(","), "to backprop", "train accuracy", "memory", "parameters"):
        assert word in page.text
    for word in ("balanced", "without duplicates", "one against rest", "calibration error", "surprise"):
        assert word in page.text


def test_a_rule_has_one_style_in_all_charts(done: Path) -> None:
    text = (done / "index.html").read_text(encoding="utf-8")
    legends = re.findall(r'<li class="key c\d+ s(\d+)">.*?</svg>(.*?)</li>', text)
    assert len(legends) > len(set(legends)) == len(RULES.split(","))


def test_the_best_is_marked_and_comes_first(page: Elements, done: Path) -> None:
    rows = [attributes.get("class") for tag, attributes in page.found if tag == "tr"]
    assert rows.count("best") == 1
    results = {label: RuleResult(label, runs, None) for label, runs in _groups(done).items()}
    means = {label: stats.mean for label, one in results.items() if (stats := one.stats("valid_accuracy"))}
    place = page.text.index("best")  # the mark, behind its name
    before = [text for text in page.text[:place] if text in means]
    assert before[-1] == max(means, key=lambda label: means[label])


def test_it_says_how_to_do_it_again_and_on_what_it_ran(page: Elements, done: Path) -> None:
    (command,) = [text for text in page.text if text.startswith("localrules compare")]
    words = shlex.split(command)
    assert words[words.index("--rules") + 1] == RULES
    assert words[words.index("--out") + 1] == str(done)
    assert words.count("--set") == 5
    for word in ("torch", "processor", "threads", "drawn by localrules"):
        assert any(word.lower() in text.lower() for text in page.text), word


def test_curves_have_a_style_each_begin_before_training_and_say_the_majority_class(done: Path) -> None:
    results = [RuleResult(label, runs, None) for label, runs in _groups(done).items()]
    styles = {one.label: index for index, one in enumerate(results)}
    for chart in learning_curves(results, styles):
        assert [(one.label, one.style) for one in chart.series] == list(styles.items())
        assert all(one.x[0] == 0 and len(one.low) == len(one.x) for one in chart.series)
        assert [level.label for level in chart.levels] == ["always the majority class"]


def test_a_rule_with_one_seed_has_no_standard_deviation(done: Path) -> None:
    (run, *_), *_ = _groups(done).values()
    stats = RuleResult("alone", (run,), None).stats("valid_accuracy")
    assert stats == SeedStats(stats.mean, None, stats.mean, stats.mean) if stats else False
    assert RuleResult("alone", (run,), None).row()["valid_accuracy_std"] is None


def test_rules_whose_interval_holds_the_best_are_not_told_apart_from_it(done: Path) -> None:
    first, second = (RuleResult(label, runs, None) for label, runs in _groups(done).items())
    apart = {"a": Difference(-0.1, -0.2, 0.01), "b": Difference(-0.1, -0.2, -0.01)}
    found = Comparison((first, second), first, {}, first, apart, {first.label: ["data"]}, (), {}, {})
    assert found.tied == ["a"]
    assert [one.label for one in found.ranked] == [second.label, first.label]


def _groups(done: Path) -> dict[str, Any]:
    return group_by_config(map(read_run_record, run_folders(done)))
