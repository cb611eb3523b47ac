"""The hooks of the documentation site: links that leave docs/, formulas, and docstrings."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
from helpers.snippets import PAGES, ROOT

SITE = runpy.run_path(str(ROOT / "docs" / "scripts" / "site.py"))
RULE = ROOT / "docs" / "rules" / "hsic.md"


def test_a_link_out_of_docs_leads_to_the_page_that_shows_the_file() -> None:
    text = "[a](../../examples/myrule.py) [b](oja.md#options) [c](https://example.org/x) [d](../../examples/recipes)"
    assert SITE["relinked"](text, RULE, "rules/hsic.md") == (
        "[a](../source/examples/myrule.py.md) [b](oja.md#options) [c](https://example.org/x) "
        "[d](../source/examples/recipes/index.md)"
    )


def test_a_link_to_nothing_is_left_as_it_is_for_mkdocs_to_report() -> None:
    assert SITE["relinked"]("[a](../../absent.py)", RULE, "rules/hsic.md") == "[a](../../absent.py)"


def test_the_page_of_a_file_shows_it_and_that_of_a_folder_lists_it() -> None:
    example = ROOT / "examples" / "myrule.py"
    assert example.read_text(encoding="utf-8") in SITE["source_page"](example)
    listing = SITE["source_page"](ROOT / "examples" / "recipes")
    for recipe in (ROOT / "examples" / "recipes").glob("*.toml"):
        assert f"- [{recipe.name}](recipes/{recipe.name})" in listing


def test_every_page_of_docs_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2]
    pages = [page.removeprefix("docs/") for page in PAGES if page.startswith("docs/")]
    assert [page for page in pages if page not in navigation] == []


def test_formulas_become_mathml() -> None:
    pytest.importorskip("latex2mathml", reason="of the group docs")
    shown = SITE["on_page_content"]('<p><span class="arithmatex">\\(a &lt; \\beta\\)</span></p>')
    assert shown.startswith("<p><math")
    assert "arithmatex" not in shown
    assert "&#x003B2;" in shown
    assert "<mn>\N{MATHEMATICAL BOLD DIGIT ONE}</mn>" in SITE["mathml"](r"\mathbf{1}", block=True)


def test_roles_and_literal_blocks_of_docstrings_become_markdown() -> None:
    pytest.importorskip("griffe", reason="of the group docs")
    markdown = runpy.run_path(str(Path(ROOT, "docs", "scripts", "docstrings.py")))["markdown"]
    assert markdown("See :meth:`~localrules.Network.wrap`.\n\n::\n\n    x") == (
        'See <autoref optional identifier="localrules.Network.wrap"><code>wrap</code></autoref>.\n\n\n\n    x'
    )
    assert markdown("Such as::\n\n    x") == "Such as:\n\n    x"
