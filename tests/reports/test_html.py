"""A page is one file that needs nothing else, is whole without its script, and text in it stays text."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from jinja2 import UndefinedError

from localrules.reports.charts import Interval, IntervalChart, Series, XYChart
from localrules.reports.html import Keyed, Page, badge, code, link, muted, strong
from localrules.reports.scales import Axis

VOID = {"meta", "img", "link", "br", "hr", "input"}
PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGP4DwABAQEAGzmRWgAAAABJRU5ErkJggg==")


class Reader(HTMLParser):
    """Reads a page: its elements with their attributes, and its text; it complains of what is not closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture
def page() -> Page:
    return Page("A title", "and what is below it")


def test_text_is_never_markup(page: Page) -> None:
    bad = '<script>alert("x")</script> & <b>'
    page.heading(bad)
    page.paragraph(bad, strong(bad), muted(bad), code(bad), link(bad, 'runs/"><script>'))
    page.table([bad], [[bad], [(bad, strong(bad))]], caption=bad)
    page.items([bad])
    page.code(bad)
    page.figure(PNG, bad, caption=bad)
    page.note(bad, badge(bad))
    page.facts([(bad, bad, bad)])
    page.charts(
        [
            XYChart(bad, Axis(bad), Axis(bad), [Series(bad, [0, 1], [0, 1], names=[bad, bad])]),
            IntervalChart(bad, Axis(bad), [Interval(bad, 1.0, text=bad)]),
        ],
        caption=bad,
        of=bad,
    )
    with page.details(bad):
        page.paragraph(bad)
    found = Reader(page.html())
    assert len(found.all("script")) == 1
    assert found.all("b") == []
    assert found.text.count(bad) == 14 + 5 + 15
    assert found.all("img")[0]["alt"] == bad


def test_a_page_fetches_nothing(page: Page) -> None:
    page.figure(PNG, "a plot")
    page.paragraph(link("a paper", "https://arxiv.org/abs/1908.01580"))
    found = Reader(page.html())
    assert [tag for tag, _ in found.elements if tag in ("link", "iframe", "object")] == []
    assert all(image["src"].startswith("data:image/") for image in found.all("img"))
    assert "url(" not in page.html()
    assert "@import" not in page.html()
    policy = next(meta["content"] for meta in found.all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    for tag in ("style", "script"):
        (text,) = re.findall(f"<{tag}>(.*?)</{tag}>", page.html(), re.DOTALL)
        known = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{known}'" in policy
    assert not [attributes for _, attributes in found.elements if "style" in attributes or "onclick" in attributes]


def test_png_files_lie_in_the_page(page: Page, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PNG)
    page.figure(tmp_path / "a.png", "a file")
    page.figure(PNG, "bytes")
    kinds = re.findall(r'src="data:(image/[a-z+]+);base64,([^"]+)"', page.html())
    assert [(kind, base64.b64decode(content)) for kind, content in kinds] == 2 * [("image/png", PNG)]
    with pytest.raises(ValueError, match="PNG"):
        page.figure(b"GIF89a", "no png")


def test_the_same_page_is_the_same_bytes() -> None:
    pages = [Page("same"), Page("same")]
    for page in pages:
        page.charts([XYChart("a line", Axis(), Axis(), [Series("one", [1, 2], [1, 2])])])
    assert pages[0].html() == pages[1].html()


def test_a_list_of_contents_leads_to_the_sections_where_there_are_several(page: Page) -> None:
    for name in ("One", "Two"):
        page.heading(name)
    page.heading("Part of two", level=3)
    assert Reader(page.html()).all("nav") == []
    page.heading("Three")
    assert [found["href"] for found in Reader(page.html()).all("a")] == ["#one", "#two", "#three"]


def test_a_table_sorts_by_numbers_and_marks_the_best(page: Page) -> None:
    page.table(["", "time"], [["1", Keyed("2.0 s", 2.0)], ["2", Keyed("90 ms", 0.09)], ["3", Keyed("-", None)]],
               align="rr", best=[1])  # fmt: skip
    found = Reader(page.html())
    assert [cell["data-key"] for cell in found.all("td") if "data-key" in cell] == ["2", "0.09", ""]
    assert [row.get("class") for row in found.all("tr")] == [None, None, "best", None]
    assert found.all("table")[0]["class"] == "sortable ranked"


def test_every_chart_says_what_it_is_of_and_a_series_is_named_once() -> None:
    page = Page("Runs", of="mlp on digits, seed 0")
    series = [Series(name, [0, 1], [0, 1], style) for style, name in enumerate(("hsic", "dfa"))]
    page.charts([XYChart(title, Axis("step"), Axis(), series) for title in ("Accuracy", "Loss")], caption="Curves.")
    found = Reader(page.html())
    assert "Curves. mlp on digits, seed 0" in found.text
    assert len([item for item in found.all("li") if "key" in (item.get("class") or "")]) == 2


def test_sections_can_be_linked_to_and_have_names_of_their_own(page: Page) -> None:
    assert page.heading("Local-CE, at last") == "#local-ce-at-last"
    assert page.heading("Local CE at last", level=3) == "#local-ce-at-last-2"
    ids = [attributes["id"] for tag, attributes in Reader(page.html()).elements if tag in ("h2", "h3")]
    assert ids == ["local-ce-at-last", "local-ce-at-last-2"]


def test_paths_with_blanks_are_addresses(page: Page) -> None:
    page.paragraph(link("a run", "runs/a b#1"), link("there", "#there"))
    assert [link["href"] for link in Reader(page.html()).all("a")] == ["runs/a%20b%231", "#there"]


def test_a_page_without_subtitle_and_captions_has_no_empty_elements() -> None:
    page = Page("Alone")
    page.table(["a"], [["b"]])
    found = Reader(page.html())
    assert [tag for tag, _ in found.elements if tag in ("p", "figcaption")] == []


def test_a_missing_value_is_an_error_and_not_an_empty_text() -> None:
    page = Page("Alone")
    page._add("paragraph")
    with pytest.raises(UndefinedError, match="parts"):
        page.html()


def test_numbers_stand_at_the_right(page: Page) -> None:
    page.table(["rule", "accuracy"], [["hsic", "81.0 %"]], align="lr")
    assert [cell.get("class") for cell in Reader(page.html()).all("td")] == [None, "number"]


def test_a_row_of_another_length_is_refused(page: Page) -> None:
    with pytest.raises(ValueError, match="zip"):
        page.table(["rule", "accuracy"], [["hsic"]])


def test_a_page_is_written_into_a_folder_that_it_makes(page: Page, tmp_path: Path) -> None:
    path = page.write(tmp_path / "new" / "index.html")
    assert path.read_text(encoding="utf-8") == page.html()
    assert [child.name for child in path.parent.iterdir()] == ["index.html"]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere file systems refuse such names")
def test_paths_that_are_not_utf_8_are_addresses(page: Page) -> None:
    assert 'href="caf%E9"' in link("a run", os.fsdecode(b"caf\xe9"))
