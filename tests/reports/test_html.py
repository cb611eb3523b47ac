"""A page is one file that needs nothing else, and text in it stays text."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from jinja2 import UndefinedError

from localrules.reports.html import Page, code, link, muted, strong
from localrules.utils.plotting import new_figure, save_figure

pytestmark = pytest.mark.draws

VOID = {"meta", "img", "link", "br", "hr", "input"}


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
    page.figure(new_figure(1, 1), bad, caption=bad)
    found = Reader(page.html())
    assert found.all("script") == []
    assert found.all("b") == []
    assert found.text.count(bad) == 14
    assert found.all("img")[0]["alt"] == bad


def test_a_page_fetches_nothing(page: Page) -> None:
    page.figure(new_figure(2, 1), "a plot")
    page.paragraph(link("a paper", "https://arxiv.org/abs/1908.01580"))
    found = Reader(page.html())
    assert [tag for tag, _ in found.elements if tag in ("script", "link", "iframe", "object")] == []
    assert all(image["src"].startswith("data:image/") for image in found.all("img"))
    assert "url(" not in page.html()
    assert "@import" not in page.html()
    policy = next(meta["content"] for meta in found.all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")


def test_figures_and_png_files_lie_in_the_page(page: Page, tmp_path: Path) -> None:
    png = save_figure(new_figure(1, 1), tmp_path / "a.png")
    page.figure(new_figure(1, 1), "drawn")
    page.figure(png, "a file")
    page.figure(png.read_bytes(), "bytes")
    kinds = re.findall(r'src="data:(image/[a-z+]+);base64,([^"]+)"', page.html())
    assert [kind for kind, _ in kinds] == ["image/svg+xml", "image/png", "image/png"]
    assert base64.b64decode(kinds[1][1]) == base64.b64decode(kinds[2][1]) == png.read_bytes()
    assert b"<svg" in base64.b64decode(kinds[0][1])


def test_other_image_formats_are_refused(page: Page) -> None:
    with pytest.raises(ValueError, match="PNG"):
        page.figure(b"GIF89a", "no png")


def test_the_same_page_is_the_same_bytes() -> None:
    pages = [Page("same"), Page("same")]
    for page in pages:
        figure = new_figure(2, 1)
        figure.subplots().plot([1, 2])
        page.figure(figure, "a line")
    assert pages[0].html() == pages[1].html()


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
