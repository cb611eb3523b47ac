"""Hooks for mkdocs: formulas as MathML, and a page for each file of the repository that a page links to.

Pages link to files outside ``docs/`` by relative paths, which GitHub follows. The site has no such files, so each gets
a page below ``source/`` that shows it, and the links lead there. Formulas become MathML, which needs no script or font.
"""

from __future__ import annotations

import html
import os
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
LANGUAGES = {".cff": "yaml", ".py": "python", ".toml": "toml"}
_LINK = re.compile(r"(?<=\]\()(?!https?:|mailto:|#)([^)#\s]+)")
_BOLD = re.compile(r'<mn mathvariant="bold">(\d)</mn>')
_FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)


def on_files(files: Any, config: Any) -> Any:
    """Add a page for each file outside ``docs/`` that is linked to, by a page or by one of these."""
    from mkdocs.structure.files import File

    waiting = [
        path for file in files.documentation_pages() for path in linked(file.content_string, DOCS / file.src_uri)
    ]
    while waiting:
        path = waiting.pop()
        uri = source_uri(path)
        if uri and files.get_file_from_path(uri) is None:
            text = source_page(path)
            files.append(File.generated(config, uri, content=relinked(text, path, uri)))
            waiting += linked(text, path)
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Lead the links of a page that leave ``docs/`` to the pages that show those files."""
    uri = page.file.src_uri
    return markdown if uri.startswith("source/") else relinked(markdown, DOCS / uri, uri)


def on_page_content(content: str, **_: Any) -> str:
    """Replace the formulas of a page by MathML."""
    return _FORMULA.sub(lambda found: mathml(found[2], block=found[1] == "div"), content)


def linked(text: str, path: Path) -> list[Path]:
    """The targets of a Markdown file's relative links."""
    return [_target(target, path) for target in _LINK.findall(text)]


def relinked(text: str, path: Path, uri: str) -> str:
    """A Markdown file's text with its relative links as they are on the site, where its page is ``uri``."""

    def link(found: re.Match[str]) -> str:
        target = _target(found[1], path)
        there = target.relative_to(DOCS).as_posix() if target.is_relative_to(DOCS) else source_uri(target)
        return os.path.relpath(there, os.path.dirname(uri)) if there else found[1]

    return _LINK.sub(link, text)


def source_uri(path: Path) -> str:
    """The page below ``source/`` of a file or folder of the repository; empty for what is in ``docs/`` or absent."""
    if path.is_relative_to(DOCS) or not path.exists():
        return ""
    name = path.relative_to(ROOT).as_posix()
    return f"source/{name}/index.md" if path.is_dir() else f"source/{name.removesuffix('.md')}.md"


def source_page(path: Path) -> str:
    """A page that shows a file, or lists the files of a folder; Markdown is shown as it is."""
    hidden = "---\nsearch:\n  exclude: true\n---\n\n"
    if path.suffix == ".md":
        return hidden + path.read_text(encoding="utf-8")
    title = f"{hidden}# {path.relative_to(ROOT).as_posix()}\n\n"
    if path.is_dir():
        names = sorted(file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file())
        shown = (name for name in names if not re.search(r"(^|/)(\.|__pycache__/)", name))  # mkdocs skips dot files
        return title + "".join(f"- [{name}]({path.name}/{name})\n" for name in shown)
    text = path.read_text(encoding="utf-8")
    return f"{title}``````{LANGUAGES.get(path.suffix, 'text')}\n{text}``````\n"


def mathml(formula: str, block: bool) -> str:
    """A formula of TeX, escaped for HTML, as MathML."""
    from latex2mathml.converter import convert

    made = convert(html.unescape(formula).strip(), display="block" if block else "inline")
    # Browsers know bold letters and digits by their code points only; the converter leaves digits to an attribute.
    zero = ord("\N{MATHEMATICAL BOLD DIGIT ZERO}")
    return _BOLD.sub(lambda found: f"<mn>{chr(zero + int(found[1]))}</mn>", made)


def _target(link: str, path: Path) -> Path:
    # Resolved by name only: a file in a checkout may be a link to elsewhere.
    return Path(os.path.normpath(path.parent / link))
